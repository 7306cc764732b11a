/* Architecture files of a network with every kind of choice. What is accepted must be written and read back as the same
 * architecture, and fix the network. */
#include "fuzz.h"

#include <espalier/space.h>

#include <stdlib.h>
#include <string.h>

static nas_tensor *forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

static nas_module *identity_or(nas_module *owner, const char *key, nas_module *other) {
    return nas_layer_choice(owner, key, 2, ((nas_candidate[]){{"skip", nas_identity_new()}, {"other", other}}));
}

static nas_module *model_new(void) {
    nas_module *m = nas_module_alloc(sizeof *m, forward, "module");
    nas_module_add(m, "a", identity_or(m, "edge_0", identity_or(NULL, "inner", nas_identity_new())));
    nas_module_add(m, "b", identity_or(m, "edge_1", nas_identity_new()));
    nas_input_choice(m, "in", .names = (const char *const[]){"e0", "e1", "x"}, .n_candidates = 3, .n_min = 1,
                     .n_max = 2, .edges = (const char *const[]){"edge_0", "edge_1", NULL});
    nas_value_choice(m, "k", 3, ((double[]){3, 5, 7}));
    return m;
}

static void check_accepted(const nas_space *space, const nas_architecture *a) {
    char *json = nas_architecture_json(a, true);
    nas_architecture *again = json ? nas_architecture_parse(space, json) : NULL;
    if (!again || !nas_architecture_equal(a, again) || nas_architecture_hash(a) != nas_architecture_hash(again)) {
        abort();
    }
    nas_architecture_free(again);
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    nas_module *model = text ? model_new() : NULL;
    nas_space *space = model ? nas_space_new(model) : NULL;
    if (!space) {
        abort();
    }
    memcpy(text, data, size);
    text[size] = 0;
    nas_architecture *a = nas_architecture_parse(space, text);
    if (!a && !*nas_error_message()) {
        abort();
    }
    if (a) {
        check_accepted(space, a);
    }
    nas_space_free(space);
    if ((nas_apply_fixed_architecture_text(model, text) == NAS_OK) != (a != NULL)) {
        abort();
    }
    nas_error_clear();
    nas_architecture_free(a);
    nas_module_free(model);
    free(text);
    return 0;
}
