/* compare_train.c - `espalier compare RUN --random N`: random architectures are drawn first, all of them, and then
 * trained as `espalier retrain` trains the searched one, each in a run directory of its own that a repeated command
 * finds again. */
#include "cli/compare.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

enum { PURPOSE = 0x636d7072, VAIN_DRAWS = 1000 }; /* draws in a row that gave nothing new: the space has no more */

/* --- drawing ------------------------------------------------------------------------------------ */
static bool is_new(nas_architecture *const *drawn, int n, const nas_architecture *one) {
    for (int i = 1; i < n; i++) {
        if (nas_architecture_equal(drawn[i], one)) {
            return false;
        }
    }
    return true;
}

/* drawn[0] is the searched one, which may be drawn again: random sampling does not know it. Returns how many there are.
 */
static int draw(cli_comparison *c, const nas_space *space, nas_architecture **drawn, int most) {
    nas_rng rng = nas_rng_new((uint64_t)c->a->seed, PURPOSE);
    int n = 1;
    for (int vain = 0; n < most && vain < VAIN_DRAWS && !nas_error_status(); vain++) {
        nas_architecture *one = nas_architecture_new(space);
        if (!one) {
            break;
        }
        nas_architecture_random(one, &rng);
        if (is_new(drawn, n, one)) {
            drawn[n++] = one;
            vain = -1;
        } else {
            nas_architecture_free(one);
        }
    }
    if (n < most) {
        json_array_append_new(
            c->notes,
            json_sprintf("the space is tiny: %d different random architectures are all that were found", n - 1));
    }
    for (int i = 1; i < n; i++) {
        if (nas_architecture_equal(drawn[0], drawn[i])) {
            json_array_append_new(c->notes, json_sprintf("random-%d is the searched architecture, drawn by chance", i));
        }
    }
    return n;
}

static nas_status name_rivals(cli_comparison *c, nas_architecture *const *drawn, int n) {
    c->rivals = nas__alloc((size_t)n * sizeof *c->rivals);
    for (int i = 0; c->rivals && i < n; i++) {
        cli_rival *r = &c->rivals[c->n_rivals++];
        snprintf(r->name, sizeof r->name, i ? "random-%d" : "searched", i);
        r->architecture = nas_architecture_json(drawn[i], false);
        r->results = nas__alloc((size_t)c->n_seeds * sizeof(json_t *));
    }
    return nas_error_status();
}

static nas_status draw_rivals(cli_comparison *c, const cli_space *s) {
    char *path = nas__join(c->run, "final_architecture.json");
    char *text = path ? nas__read_text(path) : NULL;
    nas_module *model = text ? cli_space_model(s) : NULL;
    nas_space *space = model ? nas_space_new(model) : NULL;
    int most = 1 + (int)c->a->random, n = 0;
    nas_architecture **drawn = space ? nas__alloc((size_t)most * sizeof(nas_architecture *)) : NULL;
    if (drawn && (drawn[0] = nas_architecture_parse(space, text)) != NULL) {
        n = draw(c, space, drawn, most);
        if (n < 3 && !nas_error_status()) {
            nas__fail(NAS_UNSUPPORTED, "the space has too few architectures to compare with: %d", n - 1);
        }
        name_rivals(c, drawn, n);
    } else if (text) {
        nas__error_context("%s", path);
    }
    for (int i = 0; i < n; i++) {
        nas_architecture_free(drawn[i]);
    }
    free(drawn);
    nas_space_free(space);
    nas_module_free(model);
    free(text);
    free(path);
    return nas_error_status();
}

/* --- the settings that all retrainings share ------------------------------------------------------- */
static char *rival_directory(const cli_comparison *c, const cli_rival *r, int seed) {
    return seed ? nas__format("%s/%s-seed-%d", c->out, r->name, seed + 1) : nas__format("%s/%s", c->out, r->name);
}

/* config.json of an earlier call, as long as something was trained by it; NULL without an error: this is the first. */
static json_t *read_earlier(const cli_comparison *c) {
    char *first = nas__format("%s/searched/config.json", c->out);
    json_t *earlier = first && nas__exists(first) ? cli_json_read(c->out, "config.json") : NULL;
    free(first);
    return earlier;
}

static nas_status write_config(const cli_comparison *c, json_t *settings) {
    json_t *architectures = json_object();
    for (int i = 0; i < c->n_rivals; i++) {
        json_object_set_new(architectures, c->rivals[i].name, json_loads(c->rivals[i].architecture, 0, NULL));
    }
    char *text =
        cli_config_text(c->a, settings, json_pack("{s:s, s:o}", "search", c->run, "architectures", architectures));
    char *path = text ? nas__join(c->out, "config.json") : NULL;
    nas_status status = path ? nas__make_directory(c->out) : nas_error_status();
    status = status ? status : nas__write_file(path, text, strlen(text));
    free(path);
    free(text);
    return status;
}

/* Command line, then an earlier call's config, then the search's data: what a plain retraining would take. */
static nas_status plan(cli_comparison *c) {
    cli_args *a = c->a;
    nas_budget budget;
    cli_space space = {0};
    json_t *search = cli_config_read(c->run), *earlier = search ? read_earlier(c) : NULL;
    nas_status status = nas_error_status();
    status = status    ? status
             : earlier ? cli_config_apply(a, earlier, NULL, c->out)
                       : cli_config_apply(a, search, "data data-dir seed", c->run);
    status = status ? status : cli_retrain_check(a, &budget);
    cli_args as_retrain = *a;
    as_retrain.command = cli_command_of(cli_retrain);
    status = status ? status : cli_space_stored(&space, &as_retrain, search, c->run);
    status = status ? status : cli_space_input_stored(&space, search, c->run);
    json_t *settings = status ? NULL : cli_settings_json(NULL, &space);
    status = status || !earlier ? status : cli_config_compare(a, settings, earlier, c->out, true);
    status = status ? status : cli_directory_check(c->out, true);
    status = status ? status : draw_rivals(c, &space);
    status = status ? status : write_config(c, settings);
    json_decref(settings);
    json_decref(search);
    json_decref(earlier);
    cli_space_close(&space);
    return status;
}

/* --- training ----------------------------------------------------------------------------------- */
static bool has_failed(json_t *result) {
    const char *status = json_string_value(json_object_get(result, "status"));
    return status && strcmp(status, "failed") == 0;
}

/* Exactly `espalier retrain RUN`, with everything said and the architecture given. */
static nas_status train(const cli_comparison *c, const cli_rival *r, int seed, const char *directory, json_t **result) {
    cli_args one = *c->a;
    one.command = cli_command_of(cli_retrain);
    one.names = (const char *[]){c->run};
    one.n_names = 1;
    one.out = directory;
    one.resume = true;
    one.seed += seed;
    for (int i = 0; i < cli_n_options; i++) {
        bool said = cli_options[i].resume != CLI_FREE && strcmp(cli_options[i].name, "space") != 0 &&
                    strcmp(cli_options[i].name, "threads") != 0 && cli_takes(c->a->command, &cli_options[i]);
        one.given[i] |= said;
    }
    *result = cli_json_read(directory, "result.json");
    if (has_failed(*result)) {
        return nas_error_status(); /* the same again would break in the same way */
    }
    json_decref(*result);
    *result = NULL;
    nas_status status = nas_error_status() ? nas_error_status() : cli_retrain_one(&one, r->architecture, result);
    if (status == NAS_NUMERIC && *result) {
        cli_note("%s breaks: %s", r->name, nas_error_message());
        nas_error_clear(); /* a result like others */
        status = NAS_OK;
    }
    if (!status) { /* the numbers as a repeated call reads them, to the last digit */
        json_decref(*result);
        *result = cli_json_read(directory, "result.json");
    }
    return status ? status : nas_error_status();
}

nas_status cli_compare_train(cli_comparison *c) {
    nas_status status = plan(c);
    int total = c->n_rivals * c->n_seeds, i = 0;
    for (; !status && !cli_signal && i < total; i++) { /* all networks with one seed before any has a second */
        cli_rival *r = &c->rivals[i % c->n_rivals];
        int seed = i / c->n_rivals;
        char *directory = rival_directory(c, r, seed);
        cli_note("retraining %d of %d: %s", i + 1, total, directory);
        status = directory ? train(c, r, seed, directory, &r->results[seed]) : nas_error_status();
        free(directory);
    }
    return status;
}

void cli_compare_close(cli_comparison *c) {
    for (int i = 0; i < c->n_rivals; i++) {
        for (int k = 0; c->rivals[i].results && k < c->n_seeds; k++) {
            json_decref(c->rivals[i].results[k]);
        }
        free(c->rivals[i].results);
        free(c->rivals[i].architecture);
    }
    free(c->rivals);
    json_decref(c->notes);
}
