/* small_spaces.c - see small_spaces.h */
#include "space/small_spaces.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

nas_module *space_build(const char *name, nas_space_config config, int n, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[1024];
    assert_true(info && info->options_size <= sizeof options);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(nas_options_set(info->options, options, set[i][0], set[i][1]), NAS_OK);
    }
    config.options = options;
    nas_module *model = nas_space_build(name, &config);
    assert_no_error();
    return model;
}

nas_module *space_small(const char *name, nas_space_config config) {
    static const char *const smaller[][3] = {
        {"darts", "channels", "4"},
        {"darts", "layers", "3"},
        {"darts", "nodes", "2"},
        {"darts", "stem_multiplier", "1"},
        {"nb201", "channels", "4"},
        {"nb201", "cells", "1"},
        {"chain", "channels", "4"},
        {"superkernel", "channels", "8"},
        {"superkernel", "blocks", "2"},
        {"chain", "layers", "4"},
        {"mobilenet", "widths", "8-8-12"},
        {"mobilenet", "depths", "2-1-2"},
        {"mobilenet", "stem", "6"},
        {"mobilenet", "last", "20"},
        {"nasnet", "channels", "4"},
        {"nasnet", "layers", "4"},
        {"nasnet", "nodes", "3"},
        {"amoebanet", "channels", "4"},
        {"amoebanet", "layers", "4"},
        {"amoebanet", "nodes", "3"},
        {"pnas", "channels", "4"},
        {"pnas", "layers", "4"},
        {"pnas", "nodes", "3"},
        {"signal1d", "channels", "4"},
        {"signal1d", "cells", "3"},
        {"signal1d", "nodes", "2"},
        {"fbnet", "widths", "6-8-12"},
        {"fbnet", "depths", "1-2-2"},
        {"fbnet", "stem", "6"},
        {"fbnet", "last", "20"},
        {"mobilenetv3", "widths", "8-12"},
        {"mobilenetv3", "depths", "2-3"},
        {"mobilenetv3", "stem", "6"},
        {"mobilenetv3", "last", "20"},
        {"mobilenetv3", "kernels", "3-5"},
        {"mobilenetv3", "expansions", "3"},
        {"shufflenet", "widths", "12-16"},
        {"shufflenet", "depths", "2-2"},
        {"shufflenet", "stem", "6"},
        {"shufflenet", "last", "20"},
        {"macro", "channels", "4"},
        {"enas-macro", "channels", "4"},
        {"enas-macro", "layers", "6"},
        {"enas-micro", "channels", "4"},
        {"enas-micro", "layers", "4"},
        {"enas-micro", "nodes", "3"},
        {"smash", "sandwich", "0"},
        {"bender", "channels", "4"},
        {"bender", "stages", "2"},
        {"bender", "cells", "1"},
        {"bender", "blocks", "5"},
    };
    enum { MOST = 8 };
    const char *set[MOST][2];
    int n = 0;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        if (strcmp(smaller[i][0], name) == 0) {
            assert_true(n < MOST);
            set[n][0] = smaller[i][1];
            set[n++][1] = smaller[i][2];
        }
    }
    return space_build(name, config, n, (const char *const(*)[2])set);
}

/* Output of a forward pass of two space_images under the decisions in force, by value; returns the count. */
int64_t space_forward(nas_module *model, nas_space_config c, bool dry, float *out) {
    float *x = random_floats(9, (size_t)(2 * c.channels * c.height * c.width));
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.dry = dry, .freeze_running = true});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, c.channels, c.height, c.width), x));
    if (!y) {
        fail_msg("forward: %s", nas_error_message());
    }
    assert_int_equal(nas_tensor_dim(y, 0), 2);
    int64_t count = nas_tensor_count(y);
    if (out) {
        nas_tensor_read(y, out);
    }
    nas_tape_free(tape);
    free(x);
    return count;
}

const nas_space_config space_images[SPACE_IMAGES] = {
    {1, 28, 28, 10, NULL}, {3, 32, 32, 7, NULL}, {3, 224, 224, 100, NULL}, {2, 30, 50, 3, NULL}};
