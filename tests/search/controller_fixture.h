/* controller_fixture.h - a controller over one of the small spaces, and every sequence of tokens that it can draw. */
#ifndef TESTS_SEARCH_CONTROLLER_FIXTURE_H
#define TESTS_SEARCH_CONTROLLER_FIXTURE_H

#include "controller_spaces.h"

#include "search/controller.h"

#include <string.h>

typedef struct fixture {
    nas_module *model;
    nas_space *space;
    nas__controller *c;
    nas__sample sample;
} fixture;

static inline fixture open_fixture(nas_module *model, nas__controller_config config) {
    fixture f = {.model = model, .space = nas_space_new(model)};
    assert_non_null(f.space);
    f.c = nas__controller_new(f.space, &config);
    assert_no_error();
    assert_int_equal(nas__sample_new(&f.sample, f.c), NAS_OK);
    return f;
}

static inline void close_fixture(fixture *f) {
    nas__sample_free(&f->sample);
    nas__controller_free(f->c);
    nas_space_free(f->space);
    nas_module_free(f->model);
}

/* Larger parameters than the initial ones, so that probabilities differ. */
static inline void spread_parameters(nas__controller *c, float factor) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        float values[4096];
        nas_tensor_read(c->tensors[i], values);
        for (int64_t k = 0; k < nas_tensor_count(c->tensors[i]); k++) {
            values[k] *= factor;
        }
        nas_tensor_write(c->tensors[i], values);
    }
}
/* The sequence behind this one, or false. Those that draw a candidate twice, which the walk refuses, are passed over.
 */
static inline bool next_sequence(fixture *f, bool first) {
    nas__sample *s = &f->sample;
    if (first) {
        memset(s->tokens, 0, (size_t)f->c->most_tokens * sizeof *s->tokens);
    }
    do {
        if (!first) {
            int at = s->n_tokens - 1;
            while (at >= 0 && s->tokens[at] + 1 >= s->arity[at]) {
                at--;
            }
            if (at < 0) {
                nas_error_clear();
                return false;
            }
            s->tokens[at]++;
            memset(s->tokens + at + 1, 0, (size_t)(f->c->most_tokens - at - 1) * sizeof *s->tokens);
        }
        first = false;
        nas_error_clear();
    } while (nas__controller_replay(f->c, s));
    return true;
}

#endif
