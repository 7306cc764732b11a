/* Searched widths (shufflenet with channels=search): a path computes, costs and learns as the network of its widths. */
#include "space/small_spaces.h"
#include "support.h"

#include <espalier/hardware.h>

#include "space/space.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 4, DRAWS = 8 };
static const nas_space_config image = {3, 16, 16, 5, NULL};

typedef struct setting {
    nas_module *model;
    nas_space *space;
    nas_architecture *a;
} setting;

static setting setting_new(int draw) {
    static const char *const set[][2] = {{"widths", "12-16"},  {"depths", "2-2"}, {"stem", "6"},
                                         {"strides", "1-1-2"}, {"last", "20"},    {"channels", "search"}};
    setting s = {.model = space_build("shufflenet", image, 6, set)};
    nas_initialise(s.model, (uint64_t)draw);
    s.space = nas_space_new(s.model);
    assert_no_error();
    s.a = nas_architecture_new(s.space);
    nas_rng rng = nas_rng_new((uint64_t)draw, 7);
    nas_architecture_random(s.a, &rng);
    nas_architecture_apply(s.a, s.space);
    return s;
}

static void setting_fix(setting *s) {
    char *json = nas_architecture_json(s->a, false);
    nas_architecture_free(s->a);
    nas_space_free(s->space);
    assert_int_equal(nas_apply_fixed_architecture_text(s->model, json), NAS_OK);
    free(json);
}

static void choose(setting *s, const char *key, int candidate) {
    int choice = nas_space_find(s->space, key);
    assert_int_equal(nas_architecture_set(s->a, choice, UINT64_C(1) << candidate), NAS_OK);
    nas_architecture_apply(s->a, s->space);
}

/* --- what a path computes and costs ------------------------------------------------------------------------------ */
typedef struct cost {
    uint64_t macs;
    int64_t parameters;
} cost;

static cost cost_of(nas_module *model) {
    cost c;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 16, 16}, &c.macs, &c.parameters), NAS_OK);
    return c;
}

/* Two batches calibrate, a third is read with what they gave. */
static void calibrated(nas_module *model, float *out) {
    float *x = random_floats(5, 3 * 8 * 3 * 16 * 16);
    nas_tape *tape = nas_tape_new();
    nas_calibration_reset(model);
    for (int batch = 0; batch < 3; batch++) {
        nas_tape_begin(tape, &(nas_tape_config){.bn = batch < 2 ? NAS_BN_CALIBRATE : NAS_BN_CALIBRATED});
        nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(8, 3, 16, 16), x + batch * 8 * 3 * 16 * 16));
        assert_int_equal(nas_tensor_read(y, out), NAS_OK);
    }
    nas_tape_free(tape);
    free(x);
}

static void a_path_is_the_network_of_its_widths(void **unused) {
    (void)unused;
    for (int draw = 0; draw < DRAWS; draw++) {
        float searched[2][40], fixed[2][40];
        setting s = setting_new(draw);
        space_forward(s.model, image, false, searched[0]);
        calibrated(s.model, searched[1]);
        cost path = cost_of(s.model);
        setting_fix(&s);
        space_forward(s.model, image, false, fixed[0]);
        calibrated(s.model, fixed[1]);
        cost network = cost_of(s.model);
        assert_memory_equal(searched[0], fixed[0], 10 * sizeof(float));
        assert_memory_equal(searched[1], fixed[1], 40 * sizeof(float));
        assert_int_equal(path.macs, network.macs);
        assert_int_equal(path.parameters, network.parameters);
        assert_int_equal(network.parameters, nas_parameter_count(s.model));
        nas_module_free(s.model);
    }
}

/* Block 2 has 6 of 12 channels on 16x16 pixels in its main branch, and between 1 and 10 inside. */
static void narrow_blocks_cost_less(void **unused) {
    (void)unused;
    setting s = setting_new(0);
    const nas_choice *c = nas_space_choice(s.space, nas_space_find(s.space, "channels_2"));
    assert_int_equal(c->kind, NAS_VALUE);
    assert_int_equal(c->n, 8);
    for (int kernel = 0; kernel < 3; kernel++) {
        choose(&s, "block_2", kernel);
        choose(&s, "channels_2", 0);
        assert_string_equal(c->names[0], "1");
        cost narrow = cost_of(s.model);
        choose(&s, "channels_2", 7);
        assert_string_equal(c->names[7], "10");
        cost wide = cost_of(s.model);
        int taps = (3 + 2 * kernel) * (3 + 2 * kernel), more = 10 - 1;
        assert_int_equal(wide.macs - narrow.macs, 256 * more * (6 + taps + 6));
        assert_int_equal(wide.parameters - narrow.parameters, more * (6 + taps + 6 + 2 * 2));
    }
    choose(&s, "block_2", 3); /* of the form of Xception */
    choose(&s, "channels_2", 1);
    assert_string_equal(c->names[1], "2");
    cost narrow = cost_of(s.model);
    choose(&s, "channels_2", 7);
    cost wide = cost_of(s.model);
    assert_int_equal(wide.macs - narrow.macs, 256 * (8 * (6 + 9 + 9 + 6) + 10 * 10 - 2 * 2));
    nas_architecture_free(s.a);
    nas_space_free(s.space);
    nas_module_free(s.model);
}

/* --- what a path learns ------------------------------------------------------------------------------------------ */
typedef struct found {
    int used, most, tensors;
} found;

static nas_status check_gradient(const char *path, nas_tensor *t, nas_role role, void *user) {
    found *f = user;
    if (role != NAS_ROLE_WEIGHT || strncmp(path, "block_2.", 8) != 0 || !t->has_grad) {
        return NAS_OK;
    }
    int64_t columns = t->dims[1], size = nas_tensor_count(t) / t->dims[0] / columns;
    bool out = t->dims[0] == f->most, in = columns == f->most; /* neither: what comes before the branch gets wide */
    for (int64_t i = 0; i < nas_tensor_count(t); i++) {
        int64_t row = i / size / columns, column = i / size % columns;
        bool used = (!out || row < f->used) && (!in || column < f->used);
        assert_true(used || t->grad_data[i] == 0);
        f->tensors += (out || in) && used && t->grad_data[i] != 0 && i == (in ? f->used - 1 : 0);
    }
    return NAS_OK;
}

static void only_the_channels_in_use_have_gradients(void **unused) {
    (void)unused;
    for (int candidate = 0; candidate < 4; candidate += 3) {
        setting s = setting_new(1);
        choose(&s, "block_2", candidate);
        choose(&s, "channels_2", 4);
        float *x = random_floats(3, 4 * 3 * 16 * 16), target[4] = {0, 1, 2, 3};
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
        nas_tensor *y = nas_forward(s.model, nas_input(NAS_DIMS(4, 3, 16, 16), x));
        assert_int_equal(nas_backward(nas_cross_entropy(y, nas_input(NAS_DIMS(4), target))), NAS_OK);
        nas_tape_free(tape);
        found f = {.used = 6, .most = 10};
        assert_int_equal(nas_visit_parameters(s.model, check_gradient, &f), NAS_OK);
        assert_in_range(f.tensors, 3, 6);
        free(x);
        nas_architecture_free(s.a);
        nas_space_free(s.space);
        nas_module_free(s.model);
    }
}

/* --- strings and options ----------------------------------------------------------------------------------------- */
static void strings_say_the_widths(void **unused) {
    (void)unused;
    setting s = setting_new(2);
    const nas_space_info *info = nas_space_info_find("shufflenet");
    static const char *const text = "0,3,2,1;10,1,13,6";
    nas_architecture *a = info->parse(s.space, text);
    assert_no_error();
    char *again = info->canonical(a), *json = nas_architecture_json(a, false);
    assert_string_equal(again, text);
    assert_non_null(strstr(json, "\"channels_3\": \"13\""));
    static const char *const wrong[] = {"0,3,2,1", "0,3,2,1;10,1,13", "0,3,2;10,1,13,6", "0,3,2,1;10,1,13,7",
                                        "0,3,2,1;10,1,13,6;1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(s.space, wrong[i]));
        assert_error(NAS_PARSE, "no architecture of this space");
    }
    free(again);
    free(json);
    nas_architecture_free(a);
    nas_architecture_free(s.a);
    nas_space_free(s.space);
    nas_module_free(s.model);
}

static void widths_have_to_differ(void **unused) {
    (void)unused;
    const nas_space_info *info = nas_space_info_find("shufflenet");
    char options[1024];
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "channels", "search"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "factors", "100-101"), NAS_OK);
    nas_space_config config = image;
    config.options = options;
    assert_null(nas_space_build("shufflenet", &config));
    assert_error(NAS_INVALID, "factors 100 and 101 both make 32 of the 32 channels inside block 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_the_network_of_its_widths),
        cmocka_unit_test(narrow_blocks_cost_less),
        cmocka_unit_test(only_the_channels_in_use_have_gradients),
        cmocka_unit_test(strings_say_the_widths),
        cmocka_unit_test(widths_have_to_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
