/* The built-in spaces: keys, shapes for every kind of image, parameters after fixing, canonical strings. */
#include "space/small_spaces.h"
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/io.h>
#include <espalier/space.h>

#include "space/spaces/nb201.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void every_space_works_for_every_image(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        for (size_t i = 0; i < sizeof space_images / sizeof *space_images; i++) {
            nas_module *model = space_small((*info)->name, space_images[i]);
            nas_space *space = nas_space_new(model);
            nas_architecture *a = nas_architecture_new(space);
            nas_rng rng = nas_rng_new(i, 1);
            for (int draw = 0; draw < 3; draw++) {
                nas_architecture_random(a, &rng);
                nas_architecture_apply(a, space);
                assert_int_equal(space_forward(model, space_images[i], true, NULL), 2 * space_images[i].outputs);
            }
            nas_architecture_free(a);
            nas_space_free(space);
            nas_module_free(model);
        }
    }
}

/* DARTS and those after it drop the batch norm behind their pools when they are fixed. */
static void avoid_pools(nas_architecture *a, const nas_space *space, bool keep) {
    for (int i = 0; !keep && i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        int op = __builtin_ctzll(nas_architecture_get(a, i));
        while (c->kind == NAS_LAYER && strstr(c->names[op], "pool")) {
            op = (op + 1) % c->n;
            nas_architecture_set(a, i, UINT64_C(1) << op);
        }
    }
}

static void fixed_networks_repeat_the_supernet(void **state) {
    (void)state;
    static const char *const names[] = {"chain",     "bender",     "nb201",      "superkernel", "mobilenet",
                                        "fbnet",     "enas-macro", "enas-micro", "darts",       "nasnet",
                                        "amoebanet", "pnas",       "signal1d",   "smash"};
    for (size_t s = 0; s < sizeof names / sizeof *names; s++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            float searched[20], fixed[20];
            nas_module *model = space_small(names[s], space_images[0]);
            nas_initialise(model, seed);
            nas_space *space = nas_space_new(model);
            nas_architecture *a = nas_architecture_new(space);
            nas_rng rng = nas_rng_new(seed, 1);
            nas_architecture_random(a, &rng);
            avoid_pools(a, space, s < 8);
            nas_architecture_apply(a, space);
            space_forward(model, space_images[0], false, searched);
            char *json = nas_architecture_json(a, true);
            nas_architecture_free(a);
            nas_space_free(space);
            assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
            space_forward(model, space_images[0], false, fixed);
            assert_memory_equal(searched, fixed, sizeof fixed);
            free(json);
            nas_module_free(model);
        }
    }
}

/* --- nb201 ----------------------------------------------------------------------------------------------------- */
static int64_t fixed_parameters(int code, uint64_t *macs) {
    nas_space_config cifar = {3, 32, 32, 10, NULL};
    nas_module *model = nas_space_build("nb201", &cifar);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas__nb201_decode(space, code);
    char *json = nas_architecture_json(a, false);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    int64_t parameters;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, macs, &parameters), NAS_OK);
    assert_int_equal(parameters, nas_parameter_count(model));
    free(json);
    nas_module_free(model);
    return parameters;
}

static void nb201_has_the_benchmarks_parameters(void **state) {
    (void)state;
    uint64_t none, all;
    assert_int_equal(fixed_parameters(0, &none), 73306);
    assert_int_equal(fixed_parameters(4 * 3906, &all), 73306); /* 3906 = 11111 to base 5, and one more digit */
    assert_int_equal(fixed_parameters(1 * 3906, &none), 73306);
    assert_int_equal(fixed_parameters(3 * 3906, &all), 1531546);
    /* six convolutions of 3x3 in five cells at each of three scales cost the same at every scale */
    assert_int_equal(all - none, UINT64_C(3) * 5 * 6 * 9 * 16 * 16 * 32 * 32);
}

static void nb201_strings_round_trip(void **state) {
    (void)state;
    nas_module *model = space_small("nb201", space_images[1]);
    nas_space *space = nas_space_new(model);
    const nas_space_info *info = nas_space_info_find("nb201");
    for (int code = 0; code < NAS__NB201_CELLS; code++) {
        char *text = nas__nb201_string(code);
        assert_int_equal(nas__nb201_parse(text), code);
        if (code % 97 == 0) {
            nas_architecture *a = info->parse(space, text);
            char *again = info->canonical(a);
            assert_int_equal(nas__nb201_code(a), code);
            assert_string_equal(text, again);
            free(again);
            nas_architecture_free(a);
        }
        free(text);
    }
    static const char *const text =
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|";
    assert_int_equal(nas__nb201_parse(text), ((((3 * 5 + 3) * 5 + 4) * 5 + 1) * 5 + 3) * 5 + 1);
    static const char *const wrong[] = {"",
                                        "|",
                                        "|none~0|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|none~3|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+",
                                        "none~0|+|none~0|none~1|+|none~0|none~1|none~2|"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(space, wrong[i]));
        assert_error(NAS_PARSE, "no cell of NAS-Bench-201");
    }
    nas_space_free(space);
    nas_module_free(model);
}

/* --- cost -------------------------------------------------------------------------------------------------------- */
static void the_cost_is_that_of_the_path(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        nas_module *model = space_small((*info)->name, space_images[0]);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(4, 1);
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, space);
        uint64_t macs, fixed_macs, live = nas_memory().live_bytes;
        int64_t parameters, fixed_parameters_;
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){1, 28, 28}, &macs, &parameters), NAS_OK);
        assert_int_equal(nas_memory().live_bytes, live);
        char *json = nas_architecture_json(a, false);
        nas_architecture_free(a);
        nas_space_free(space);
        nas_apply_fixed_architecture_text(model, json);
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){1, 28, 28}, &fixed_macs, &fixed_parameters_), NAS_OK);
        assert_int_equal(macs, fixed_macs);
        assert_true(macs > 0 && parameters > 0 &&
                    parameters <= fixed_parameters_); /* affine parameters come with fixing */
        assert_true(parameters > fixed_parameters_ * 3 / 4);
        free(json);
        nas_module_free(model);
    }
}

/* What the blocks of `bender` compute for their inputs: the sum of a 1x1 convolution per input is the 1x1 convolution
 * of the concatenated inputs with the weights side by side. */
static void a_sum_of_convolutions_is_that_of_the_concatenation(void **state) {
    (void)state;
    enum { OUT = 3, A = 2, B = 5, PIXELS = 12 };
    float *x = random_floats(1, (A + B) * PIXELS), *w = random_floats(2, OUT * (A + B));
    float parts[2][OUT * B], sum[OUT * PIXELS], whole[OUT * PIXELS];
    for (int o = 0; o < OUT; o++) {
        memcpy(parts[0] + o * A, w + o * (A + B), A * sizeof *w);
        memcpy(parts[1] + o * B, w + o * (A + B) + A, B * sizeof *w);
    }
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *in[2] = {nas_input(NAS_DIMS(1, A, 3, 4), x), nas_input(NAS_DIMS(1, B, 3, 4), x + A * PIXELS)};
    nas_tensor *a = nas_conv2d(in[0], nas_input(NAS_DIMS(OUT, A, 1, 1), parts[0]), NULL, (nas_conv_args){0});
    nas_tensor *b = nas_conv2d(in[1], nas_input(NAS_DIMS(OUT, B, 1, 1), parts[1]), NULL, (nas_conv_args){0});
    nas_tensor *weights = nas_input(NAS_DIMS(OUT, A + B, 1, 1), w);
    nas_tensor_read(nas_add(a, b), sum);
    nas_tensor_read(nas_conv2d(nas_concat(2, in, 1), weights, NULL, (nas_conv_args){0}), whole);
    assert_no_error();
    for (int i = 0; i < OUT * PIXELS; i++) {
        assert_true(fabsf(sum[i] - whole[i]) <= 1e-6f * fmaxf(1, fabsf(whole[i])));
    }
    nas_tape_free(tape);
    free(x);
    free(w);
}

/* 84, 196, 420 and 868 blocks of two to five inputs. */
static void bender_has_the_papers_cells(void **state) {
    (void)state;
    nas_module *model = nas_space_build("bender", NULL);
    nas_space *space = nas_space_new(model);
    double cells = 3.0 * 28 * 7 * 28 * 15 * 28 * 31 * 28;
    assert_true(fabs(nas_space_log10_size(space) - log10(cells)) < 1e-9);
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof key, "block_%d/inputs", i + 1);
        assert_int_equal(nas_space_choice(space, nas_space_find(space, key))->n, 2 + i);
    }
    nas_space_free(space);
    nas_module_free(model);
}

static void zero_candidates_cost_nothing(void **state) {
    (void)state;
    nas_module *model = space_small("nb201", space_images[1]);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas__nb201_decode(space, 0), *b = nas__nb201_decode(space, 3 * 3906);
    size_t peaks[2];
    for (int i = 0; i < 2; i++) {
        nas_architecture_apply(i ? b : a, space);
        space_forward(model, space_images[1], false, NULL);
        nas_memory_reset_peak();
        size_t live = nas_memory().live_bytes;
        space_forward(model, space_images[1], false, NULL);
        peaks[i] = nas_memory().peak_bytes - live;
    }
    assert_true(peaks[0] * 2 < peaks[1]);
    nas_architecture_free(a);
    nas_architecture_free(b);
    nas_space_free(space);
    nas_module_free(model);
}

static void unknown_spaces_and_bad_images_are_refused(void **state) {
    (void)state;
    assert_null(nas_space_build("dart", NULL));
    assert_error(NAS_NOT_FOUND, "did you mean \"darts\"");
    assert_null(nas_space_build("nb201", &(nas_space_config){.height = 4}));
    assert_error(NAS_INVALID, "8x8 pixels");
    assert_null(nas_space_build("darts", &(nas_space_config){.width = 7}));
    assert_error(NAS_INVALID, "8x8 pixels");
}

/* Rows of a table are space_images of one pixel, a series is one of a single row or column. */
static void chain_takes_any_size(void **state) {
    (void)state;
    static const nas_space_config sizes[] = {
        {5, 1, 1, 1, NULL}, {5, 40, 1, 1, NULL}, {1, 1, 9, 2, NULL}, {2, 3, 5, 3, NULL}, {1, 7, 30, 1, NULL}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        nas_module *model = space_small("chain", sizes[i]);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(i, 1);
        for (int draw = 0; draw < 8; draw++) {
            float out[6] = {NAN};
            nas_architecture_random(a, &rng);
            nas_architecture_apply(a, space);
            assert_int_equal(space_forward(model, sizes[i], false, out), 2 * sizes[i].outputs);
            assert_true(isfinite(out[0]));
        }
        nas_architecture_free(a);
        nas_space_free(space);
        nas_module_free(model);
    }
}

/* Arrays of a signal's values in every form that they come in: (N,L), (N,C,L), (N,C,1,L); also long ones, and lengths
 * that nothing halves. */
static void signals_take_any_form(void **state) {
    (void)state;
    static const struct {
        nas_space_config config;
        int ndim;
        int64_t dims[4];
    } forms[] = {{{50, 1, 1, 3, NULL}, 2, {2, 50}},        {{1, 6, 45, 3, NULL}, 3, {2, 6, 45}},
                 {{1, 6, 45, 3, NULL}, 4, {2, 1, 6, 45}},  {{6, 1, 45, 3, NULL}, 4, {2, 6, 1, 45}},
                 {{1, 1, 3001, 3, NULL}, 3, {2, 1, 3001}}, {{1, 2, 3, 3, NULL}, 3, {2, 2, 3}}};
    float outputs[6][6];
    for (int i = 0; i < 6; i++) {
        nas_module *model = space_small("signal1d", forms[i].config);
        nas_initialise(model, 1);
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
        float *x = random_floats(3, 2 * 3001);
        nas_tensor *y = nas_forward(model, nas_input(forms[i].ndim, forms[i].dims, x));
        assert_no_error();
        assert_int_equal(nas_tensor_count(y), 6);
        nas_tensor_read(y, outputs[i]);
        free(x);
        assert_null(nas_forward(model, nas_input(NAS_DIMS(2, 7), NULL)));
        assert_error(NAS_SHAPE, "a batch of signals");
        nas_tape_free(tape);
        nas_module_free(model);
    }
    assert_memory_equal(outputs[1], outputs[2], sizeof *outputs);
    assert_memory_equal(outputs[1], outputs[3], sizeof *outputs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_space_works_for_every_image),
        cmocka_unit_test(chain_takes_any_size),
        cmocka_unit_test(signals_take_any_form),
        cmocka_unit_test(fixed_networks_repeat_the_supernet),
        cmocka_unit_test(nb201_has_the_benchmarks_parameters),
        cmocka_unit_test(nb201_strings_round_trip),
        cmocka_unit_test(the_cost_is_that_of_the_path),
        cmocka_unit_test(zero_candidates_cost_nothing),
        cmocka_unit_test(a_sum_of_convolutions_is_that_of_the_concatenation),
        cmocka_unit_test(bender_has_the_papers_cells),
        cmocka_unit_test(unknown_spaces_and_bad_images_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
