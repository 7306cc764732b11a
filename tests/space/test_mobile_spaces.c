/* Spaces of inverted residuals: the papers' networks with their published sizes, keys, strings, strides of small
 * images, folding, and networks that do not fit. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

#include "core/options.h"
#include "space/spaces/spaces.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const nas_space_config imagenet = {3, 224, 224, 1000, NULL}, cifar = {3, 32, 32, 10, NULL};

/* Options from "name=value,name=value". */
static nas_module *build(const char *name, nas_space_config config, const char *settings) {
    const nas_space_info *info = nas_space_info_find(name);
    void *options = calloc(1, info->options_size);
    assert_int_equal(nas__options_read(info->options, options, name, settings), NAS_OK);
    config.options = options;
    nas_module *model = nas_space_build(name, &config);
    free(options);
    return model;
}

/* --- sizes --------------------------------------------------------------------------------------------------- */
typedef struct size {
    uint64_t macs;
    int64_t parameters;
} size;

/* Of the network that a string names, fixed. Takes the model over. */
static size fixed(const char *space_name, nas_module *model, const char *string, const nas_space_config *c) {
    const nas_space_info *info = nas_space_info_find(space_name);
    size s = {0};
    assert_non_null(model);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = info->parse(space, string);
    if (!a) {
        fail_msg("%s", nas_error_message());
    }
    char *again = info->canonical(a), *json = nas_architecture_json(a, false);
    assert_string_equal(again, string);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){c->channels, c->height, c->width}, &s.macs, &s.parameters),
                     NAS_OK);
    assert_int_equal(s.parameters, nas_parameter_count(model));
    free(again);
    free(json);
    nas_module_free(model);
    return s;
}

static const char fbnet_a[] = "skip,k3_e3,k3_e1,skip,skip,k5_e6,k3_e3,k5_e1,k3_e3,k5_e6,k5_e3,k5_e1_g2,k5_e6,"
                              "k3_e6,k5_e1_g2,k5_e3,k3_e1_g2,k5_e6,k5_e6,k5_e3,k5_e6,k5_e6";
static const char fbnet_c[] = "k3_e1,k3_e6,skip,k3_e1,k3_e1,k5_e6,k5_e3,k5_e6,k3_e6,k5_e6,k5_e3,k5_e6,k5_e6,"
                              "k5_e6,k5_e6,k5_e6,k5_e3,k5_e6,k5_e6,k5_e6,k5_e6,k3_e6";

/* 244.5 M and 4.30 M, 378.1 M and 5.57 M as released; 249.9 M and 385.0 M with the first 1x1 convolution everywhere. */
static void fbnets_have_their_published_sizes(void **state) {
    (void)state;
    size a = fixed("fbnet", build("fbnet", imagenet, "last=1504"), fbnet_a, &imagenet);
    size c = fixed("fbnet", build("fbnet", imagenet, ""), fbnet_c, &imagenet);
    assert_int_equal(a.macs, 244452664);
    assert_int_equal(a.parameters, 4304584);
    assert_int_equal(c.macs, 378136224);
    assert_int_equal(c.parameters, 5570664);
    a = fixed("fbnet", build("fbnet", imagenet, "last=1504,expand_e1=1"), fbnet_a, &imagenet);
    c = fixed("fbnet", build("fbnet", imagenet, "expand_e1=1"), fbnet_c, &imagenet);
    assert_int_equal(a.macs, 249921848);
    assert_int_equal(c.macs, 384960160);
}

/* As published by the authors of SPOS (323 M and 3.5 M), recomputed: 322.92 M and 3.558 M; and the four pure ones. */
static void shufflenets_have_their_published_sizes(void **state) {
    (void)state;
    size s =
        fixed("shufflenet", build("shufflenet", imagenet, ""), "2,1,0,1,2,0,2,0,2,0,2,3,0,0,0,0,3,2,3,3", &imagenet);
    assert_int_equal((s.macs + 5000) / 10000, 32292);
    assert_int_equal((s.parameters + 500) / 1000, 3558);
    static const int tenths[] = {2958, 3137, 3404, 3588};
    for (int k = 0; k < 4; k++) {
        char string[64] = "";
        for (int i = 0; i < 20; i++) {
            snprintf(string + strlen(string), sizeof string - strlen(string), "%s%d", i ? "," : "", k);
        }
        s = fixed("shufflenet", build("shufflenet", imagenet, ""), string, &imagenet);
        assert_int_equal((s.macs + 50000) / 100000, tenths[k]);
    }
}

/* Of the table of all 6,561 networks (nas-bench-macro.csv). */
static void macros_have_the_sizes_of_the_table(void **state) {
    (void)state;
    static const struct {
        const char *string;
        int64_t parameters;
        uint64_t macs;
    } rows[] = {
        {"00000000", 387882, 7713280},   {"00000001", 791594, 14115328},  {"22212202", 1985514, 85164544},
        {"22212220", 1985514, 85164544}, {"12021021", 2014602, 67092992}, {"22222222", 2932586, 105660928},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size s = fixed("macro", build("macro", cifar, ""), rows[i].string, &cifar);
        assert_int_equal(s.parameters, rows[i].parameters);
        assert_int_equal(s.macs, rows[i].macs);
    }
}

/* Multiply-adds of an inverted residual whose input is a square of `side` pixels. */
static double inverted(int in, int out, int kernel, int expansion, int stride, int side) {
    double wide = in * expansion, before = side * side, after = before / (stride * stride);
    return before * in * wide + after * wide * (kernel * kernel + out);
}

/* Against a sum over the paper's table. */
static void mobilenet_is_the_papers_network(void **state) {
    (void)state;
    static const int stages[6][4] = {{24, 4, 2, 112}, {40, 4, 2, 56},  {80, 4, 2, 28},
                                     {96, 4, 1, 14},  {192, 4, 2, 14}, {320, 1, 1, 7}};
    char string[256] = "";
    double macs = 112.0 * 112 * 27 * 32 + 112.0 * 112 * 32 * (9 + 16) + 49.0 * 320 * 1280 + 1280.0 * 1000;
    int in = 16;
    for (int s = 0, number = 0; s < 6; s++) {
        for (int i = 0, side = stages[s][3]; i < stages[s][1]; i++, number++) {
            int kernel = 3 + 2 * (number % 3), expansion = number % 2 ? 6 : 3, stride = i ? 1 : stages[s][2];
            bool zero = i == 2;
            size_t used = strlen(string);
            if (zero) {
                snprintf(string + used, sizeof string - used, ",zero");
                continue;
            }
            snprintf(string + used, sizeof string - used, "%s%de%d", number ? "," : "", kernel, expansion);
            macs += inverted(in, stages[s][0], kernel, expansion, stride, side);
            in = stages[s][0];
            side /= stride;
        }
    }
    size network = fixed("mobilenet", build("mobilenet", imagenet, ""), string, &imagenet);
    assert_int_equal(network.macs, (uint64_t)macs);
}

static void spaces_have_the_papers_choices(void **state) {
    (void)state;
    nas_module *model = nas_space_build("mobilenet", &imagenet);
    nas_space *space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 21);
    /* the first block of a stage that changes the shape has no zero */
    assert_true(fabs(nas_space_log10_size(space) - (6 * log10(6) + 15 * log10(7))) < 1e-9);
    const nas_choice *c = nas_space_choice(space, nas_space_find(space, "block_2"));
    static const char *const names[] = {"3e3", "3e6", "5e3", "5e6", "7e3", "7e6", "zero"};
    for (int i = 0; i < 7; i++) {
        assert_string_equal(c->names[i], names[i]);
    }
    nas_space_free(space);
    nas_module_free(model);
    model = nas_space_build("fbnet", &imagenet);
    space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 22);
    assert_int_equal(nas_space_choice(space, nas_space_find(space, "layer_1"))->n, 9);
    assert_int_equal(nas_space_choice(space, nas_space_find(space, "layer_2"))->n, 8);
    nas_space_free(space);
    nas_module_free(model);
}

static void depths_of_mobilenetv3_are_searched(void **state) {
    (void)state;
    nas_module *model = nas_space_build("mobilenetv3", &imagenet);
    nas_space *space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 5 * (1 + 4));
    const nas_choice *depth = nas_space_choice(space, nas_space_find(space, "stage_3/depth"));
    const nas_choice *third = nas_space_choice(space, nas_space_find(space, "stage_3/block_3"));
    assert_int_equal(depth->n, 3);
    assert_string_equal(depth->names[0], "2");
    assert_int_equal(third->n, 18);
    assert_int_equal(third->parent, nas_space_find(space, "stage_3/depth"));
    assert_int_equal(third->parent_set, 1 << 1 | 1 << 2);
    const nas_space_info *info = nas_space_info_find("mobilenetv3");
    static const char *const wrong[][2] = {
        {"k3_e3,k3_e3;k3_e3,k3_e3", "ends before stage 3"},
        {"k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3", "it has 1 blocks, not one of 2, 3, 4"},
        {"k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;", "more than 5 stages"},
        {"k3_e3,k9_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3", "\"stage_1/block_2\" takes one of k3_e3"},
        {"k3_e3,k3_e3,k3_e3,k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3", "too much"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(space, wrong[i][0]));
        assert_error(NAS_PARSE, wrong[i][1]);
    }
    nas_space_free(space);
    nas_module_free(model);
    static const char *const shallow = "k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3";
    static const char *const deep = "k3_e3,k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3;k3_e3,k3_e3";
    size a = fixed("mobilenetv3", nas_space_build("mobilenetv3", &imagenet), shallow, &imagenet);
    size b = fixed("mobilenetv3", nas_space_build("mobilenetv3", &imagenet), deep, &imagenet);
    assert_int_equal(b.macs - a.macs, (uint64_t)inverted(24, 24, 3, 3, 1, 56));
}

static void skips_may_reduce(void **state) {
    (void)state;
    size plain = fixed("fbnet", build("fbnet", cifar, "depths=1-2,expand_e1=1"), "skip,k3_e1,skip", &cifar);
    size skip =
        fixed("fbnet", build("fbnet", cifar, "depths=1-2,expand_e1=1,reducing_skip=1"), "skip,skip,skip", &cifar);
    /* 16 to 24 channels with stride 2, 16 to 8 pixels: one 1x1 convolution for a whole block */
    assert_int_equal(skip.macs, plain.macs - (uint64_t)inverted(16, 24, 3, 1, 2, 16) + 8 * 8 * 16 * 24);
    assert_int_equal(skip.parameters, plain.parameters - (16 * 16 + 9 * 16 + 16 * 24 + 4 * 16) + 16 * 24);
}

/* --- small images ------------------------------------------------------------------------------------------- */
static void strides_fit_the_image(void **state) {
    (void)state;
    static const struct {
        int height, width, fitted[4];
    } rows[] = {
        {224, 224, {2, 2, 2, 2}}, {64, 64, {2, 2, 2, 2}}, {63, 100, {2, 2, 2, 2}}, {32, 32, {1, 2, 2, 2}},
        {28, 40, {1, 2, 2, 2}},   {16, 16, {1, 1, 2, 2}}, {8, 8, {1, 1, 1, 2}},    {4, 4, {1, 1, 1, 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int strides[4] = {2, 2, 2, 2};
        nas__fit_strides(&(nas_space_config){1, rows[i].height, rows[i].width, 1, NULL}, 4, strides);
        assert_memory_equal(strides, rows[i].fitted, sizeof strides);
    }
}

/* The benchmark's: nine blocks for 32x32. */
static void depths_and_widths_are_options(void **state) {
    (void)state;
    nas_module *model = build("mobilenet", cifar, "depths=3-3-3");
    nas_space *space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 9);
    nas_space_free(space);
    nas_module_free(model);
    size one = fixed("mobilenet", build("mobilenet", cifar, "depths=1-1,kernels=3,expansions=6,zero=0,stem=8"),
                     "3e6,3e6", &cifar);
    size two = fixed("mobilenet", build("mobilenet", cifar, "depths=1-1,kernels=3,expansions=6,zero=0,stem=8,width=2"),
                     "3e6,3e6", &cifar);
    assert_true(two.macs > 2 * one.macs && two.macs < 4 * one.macs);
    assert_null(build("mobilenet", cifar, "depths=1-1-1,widths=8-8"));
    assert_error(NAS_INVALID, "depths has 3 stages, but widths has 2");
    assert_null(build("mobilenet", cifar, "kernels=1-3-5-7-9-11-13,expansions=1-2-3-4-5-6"));
    assert_error(NAS_INVALID, "7 kernels times 6 expansions");
    assert_null(build("shufflenet", cifar, "widths=64-64,depths=1-1"));
    assert_error(NAS_INVALID, "stage 2 has 64 channels behind 64");
    assert_null(build("fbnet", cifar, "widths=15-15,depths=1-1"));
    assert_error(NAS_INVALID, "2 groups do not divide");
}

/* --- strings ------------------------------------------------------------------------------------------------- */
static void wrong_strings_are_refused(void **state) {
    (void)state;
    nas_module *model = build("mobilenet", cifar, "depths=1-2");
    nas_space *space = nas_space_new(model);
    const nas_space_info *info = nas_space_info_find("mobilenet");
    static const char *const wrong[] = {
        "", "3e3,3e3", "3e3,zero,3e3", "3e3,3e3,3e3,", "3e3,3e3,3e3,3e3", "3e3;3e3;3e3", "3e34,3e3,3e3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(space, wrong[i]));
        assert_error(NAS_PARSE, "no architecture of this space");
    }
    nas_space_free(space);
    nas_module_free(model);
}

/* --- networks in use ------------------------------------------------------------------------------------------ */
static void run(nas_module *model, const float *x, float *out) {
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, 3, 32, 32), x));
    assert_int_equal(nas_tensor_read(y, out), NAS_OK);
    nas_tape_free(tape);
}

/* All batch norms go into convolutions, and what comes out is the same. */
static void fixed_networks_fold(void **state) {
    (void)state;
    static const struct {
        const char *space, *options, *string;
        int norms;
    } rows[] = {
        {"mobilenet", "depths=1-2", "3e3,5e6,zero", 1 + 2 + 2 * 3 + 1},
        {"fbnet", "depths=1-2-2", "skip,k3_e1_g2,k5_e1,k3_e6,k5_e3", 1 + 2 + 2 + 3 + 3 + 1},
        {"mobilenetv3", "depths=2-3", "k3_e3,k5_e4_se;k7_e6,k3_e3_se,k3_e3", 1 + 2 + 5 * 3 + 1},
        {"shufflenet", "depths=1-2", "0,3,2", 1 + (2 + 3) + (2 + 6) + 3 + 1},
        {"macro", "", "01200000", 1 + 1 + 3 + 3 + 0 + 0 + 1 + 0 + 0 + 1},
    };
    float *x = random_floats(3, 2 * 3 * 32 * 32);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const nas_space_info *info = nas_space_info_find(rows[i].space);
        nas_module *model = build(rows[i].space, cifar, rows[i].options);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = info->parse(space, rows[i].string);
        char *json = nas_architecture_json(a, false);
        float before[20], after[20];
        int folded;
        nas_architecture_free(a);
        nas_space_free(space);
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        run(model, x, before);
        assert_int_equal(nas_fold_batch_norm(model, &folded), NAS_OK);
        assert_int_equal(folded, rows[i].norms);
        run(model, x, after);
        assert_floats_near(after, before, 20, 1e-4, rows[i].space);
        free(json);
        nas_module_free(model);
    }
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fbnets_have_their_published_sizes),
        cmocka_unit_test(shufflenets_have_their_published_sizes),
        cmocka_unit_test(macros_have_the_sizes_of_the_table),
        cmocka_unit_test(mobilenet_is_the_papers_network),
        cmocka_unit_test(depths_of_mobilenetv3_are_searched),
        cmocka_unit_test(spaces_have_the_papers_choices),
        cmocka_unit_test(skips_may_reduce),
        cmocka_unit_test(strides_fit_the_image),
        cmocka_unit_test(depths_and_widths_are_options),
        cmocka_unit_test(wrong_strings_are_refused),
        cmocka_unit_test(fixed_networks_fold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
