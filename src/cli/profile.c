/* profile.c - `espalier profile`: what a network costs, counted; profile_latency.c measures. */
#include "cli/profile.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 32 };

/* --- the images --------------------------------------------------------------------------------- */
/* From --input and --outputs, --data, the run, or else those of fashion-mnist. */
static nas_status choose_input(cli_profiled *p, json_t *config) {
    cli_args *a = p->a;
    nas_space_config *c = &p->space.config;
    *c = (nas_space_config){.channels = 1, .height = 28, .width = 28, .outputs = 10};
    if (config && json_object_get(config, "network")) {
        cli_space_input_stored(&p->space, config, a->names[0]);
    }
    if (a->data) {
        nas_dataset *data = cli_data_open(a, "train");
        if (data) {
            cli_space_input(&p->space, nas_dataset_describe(data));
        }
        nas_dataset_free(data);
    }
    nas_status status = cli_input_option(a, c);
    p->dims[0] = c->channels;
    p->dims[1] = c->height;
    p->dims[2] = c->width;
    return status ? status : nas_error_status();
}

/* --- a fixed network ---------------------------------------------------------------------------- */
static char *read_architecture(const cli_args *a) {
    if (a->arch) {
        return nas__read_text(a->arch);
    }
    char *path = nas__join(a->names[0], "final_architecture.json"), *text = NULL;
    if (path && !nas__exists(path)) {
        nas__fail(NAS_NOT_FOUND, "%s has no final_architecture.json yet: its search has not found anything",
                  a->names[0]);
    } else if (path) {
        text = nas__read_text(path);
    }
    free(path);
    return text;
}

static nas_status profile_network(cli_profiled *p) {
    char *architecture = read_architecture(p->a);
    nas_status status = architecture ? nas_apply_fixed_architecture_text(p->model, architecture) : nas_error_status();
    if (architecture && status) {
        nas__error_context(p->a->arch ? "%s" : "%s/final_architecture.json", p->a->arch ? p->a->arch : p->a->names[0]);
    }
    status = status ? status : nas_model_cost(p->model, 3, p->dims, &p->macs, &p->parameters);
    json_t *json = architecture ? json_loads(architecture, 0, NULL) : NULL;
    json_object_set_new(p->result, "architecture", json ? json : json_null());
    status = status ? status : cli_profile_network(p, architecture);
    free(architecture);
    return status;
}

/* --- a space ------------------------------------------------------------------------------------ */
static int by_size(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* What the exported C files would need; of some networks that can only be said when they are fixed. */
static nas_status count_memory(cli_profiled *p, int sample, int64_t sizes[2][SAMPLES]) {
    nas_c_memory memory;
    if (sample < 0) {
        return NAS_OK;
    }
    if (nas_count_c(p->model, 3, p->dims, &memory)) {
        bool unknown = nas_error_status() == NAS_UNSUPPORTED;
        if (unknown) {
            nas_error_clear();
        }
        sizes[0][0] = -1;
        return nas_error_status();
    }
    sizes[0][sample] = memory.arena_bytes;
    sizes[1][sample] = memory.weight_bytes;
    return NAS_OK;
}

static void sum_up_memory(cli_profiled *p, int64_t sizes[2][SAMPLES]) {
    static const char *const names[] = {"ram", "flash"};
    for (int k = 0; sizes[0][0] >= 0 && k < 2; k++) {
        qsort(sizes[k], SAMPLES, sizeof **sizes, by_size);
        int64_t *of = p->memory[k];
        of[0] = sizes[k][0];
        of[1] = sizes[k][SAMPLES / 2];
        of[2] = sizes[k][SAMPLES - 1];
        json_object_set_new(p->result, names[k],
                            json_pack("{s:I, s:I, s:I}", "least", (json_int_t)of[0], "median", (json_int_t)of[1],
                                      "most", (json_int_t)of[2]));
    }
}

static nas_status sample_costs(cli_profiled *p, nas_space *space, nas_architecture *one) {
    nas_rng rng = nas_rng_new((uint64_t)p->a->seed, 0x70726f66);
    double sum = 0;
    int64_t sizes[2][SAMPLES] = {0};
    p->least = UINT64_MAX;
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t macs = 0;
        nas_architecture_random(one, &rng);
        nas_architecture_apply(one, space);
        if (nas_model_cost(p->model, 3, p->dims, &macs, NULL) || count_memory(p, sizes[0][0] < 0 ? -1 : i, sizes)) {
            return nas_error_status();
        }
        sum += (double)macs;
        p->least = macs < p->least ? macs : p->least;
        p->most = macs > p->most ? macs : p->most;
    }
    sum_up_memory(p, sizes);
    p->macs = (uint64_t)(sum / SAMPLES);
    p->parameters = nas_parameter_count(p->model);
    return NAS_OK;
}

static nas_status profile_space(cli_profiled *p) {
    nas_space *space = nas_space_new(p->model);
    nas_architecture *one = space ? nas_architecture_new(space) : NULL;
    nas_status status = one ? sample_costs(p, space, one) : nas_error_status();
    if (!status) {
        json_object_set_new(p->result, "choices", json_integer(nas_space_size(space)));
        json_object_set_new(p->result, "log10_architectures", json_real(nas_space_log10_size(space)));
        json_object_set_new(p->result, "macs_of", json_string("mean of random architectures"));
        json_object_set_new(p->result, "samples", json_integer(SAMPLES));
        json_object_set_new(p->result, "macs_least", json_integer((json_int_t)p->least));
        json_object_set_new(p->result, "macs_most", json_integer((json_int_t)p->most));
    }
    nas_architecture_free(one);
    nas_space_free(space);
    return status || !(p->a->out || p->a->validate) ? status : cli_profile_space(p);
}

/* --- what is printed ---------------------------------------------------------------------------- */
static void print_human(const cli_profiled *p, bool fixed) {
    char parameters[32], macs[32], least[32], most[32];
    printf("%s%s%s, %lldx%lldx%lld images, %d outputs\n", cli_bold(stdout), p->space.info->name, cli_plain(stdout),
           (long long)p->dims[0], (long long)p->dims[1], (long long)p->dims[2], p->space.config.outputs);
    cli_count((double)p->parameters, parameters, sizeof parameters);
    cli_count((double)p->macs, macs, sizeof macs);
    if (fixed) {
        printf("  parameters     %s (%lld)\n  multiply-adds  %s per image (%llu)\n", parameters,
               (long long)p->parameters, macs, (unsigned long long)p->macs);
        cli_profile_print_network(p);
    } else {
        printf("  choices        %lld, 10^%.1f architectures\n  parameters     %s, all candidates together\n",
               (long long)json_integer_value(json_object_get(p->result, "choices")),
               json_number_value(json_object_get(p->result, "log10_architectures")), parameters);
        printf("  multiply-adds  %s per image, mean of %d random architectures (%s to %s)\n", macs, SAMPLES,
               cli_count((double)p->least, least, sizeof least), cli_count((double)p->most, most, sizeof most));
        static const char *const names[] = {"ram of --c", "flash of --c"};
        for (int k = 0; k < 2 && p->memory[k][2]; k++) {
            printf("  %-14s %.1f KiB, median of them (%.1f to %.1f)\n", names[k], (double)p->memory[k][1] / 1024,
                   (double)p->memory[k][0] / 1024, (double)p->memory[k][2] / 1024);
        }
        cli_profile_print_space(p);
    }
}

static nas_status show(cli_profiled *p, bool fixed) {
    if (!p->a->json) {
        print_human(p, fixed);
        return NAS_OK;
    }
    json_object_set_new(p->result, "space", json_string(p->space.info->name));
    json_object_set_new(p->result, "input", json_pack("[i,i,i]", (int)p->dims[0], (int)p->dims[1], (int)p->dims[2]));
    json_object_set_new(p->result, "outputs", json_integer(p->space.config.outputs));
    json_object_set_new(p->result, "parameters", json_integer(p->parameters));
    json_object_set_new(p->result, "macs", json_integer((json_int_t)p->macs));
    return cli_print_json(json_incref(p->result));
}

static nas_status open_space(cli_profiled *p, json_t **config) {
    cli_args *a = p->a;
    if (a->n_names == 0 && !a->space) {
        return nas__fail(NAS_USAGE,
                         "what is to be profiled? espalier profile RUN, or espalier profile --space S [--arch FILE]");
    }
    nas_status status;
    if (a->n_names > 0) {
        *config = cli_config_read(a->names[0]);
        status = *config ? cli_space_stored(&p->space, a, *config, a->names[0]) : nas_error_status();
    } else {
        status = cli_space_open(&p->space, a->space);
        status = status ? status : cli_apply_settings(a, NULL, &p->space);
    }
    return status;
}

nas_status cli_profile(cli_args *a) {
    cli_profiled p = {.a = a, .result = json_object()};
    json_t *config = NULL;
    bool fixed = a->arch || a->n_names > 0;
    nas_status status = cli_profile_check(a, fixed);
    status = status ? status : open_space(&p, &config);
    status = status ? status : choose_input(&p, config);
    p.model = status ? NULL : cli_space_model(&p.space);
    status = !p.model ? nas_error_status() : fixed ? profile_network(&p) : profile_space(&p);
    if (!status) {
        show(&p, fixed);
    }
    nas_module_free(p.model);
    cli_space_close(&p.space);
    json_decref(config);
    json_decref(p.result);
    return nas_error_status();
}
