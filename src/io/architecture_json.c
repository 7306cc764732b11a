/* architecture_json.c - architectures as flat JSON objects: key -> choice, in any of five forms. */
#include "core/error.h"
#include "core/file.h"
#include "space/space.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_SIZE = 400 };

/* --- writing ---------------------------------------------------------------------------------------- */
static json_t *names_of(const nas_choice *c, uint64_t bits) {
    if (c->kind != NAS_INPUT) {
        return json_string(c->names[__builtin_ctzll(bits)]);
    }
    json_t *list = json_array();
    for (int i = 0; i < c->n; i++) {
        if (bits >> i & 1) {
            json_array_append_new(list, json_string(c->names[i]));
        }
    }
    return list;
}

char *nas_architecture_json(const nas_architecture *a, bool indented) {
    bool *reached = nas__reachable(a->space, a->bits);
    json_t *object = reached ? json_object() : NULL;
    bool complete = object != NULL;
    for (int i = 0; complete && i < a->space->n_choices; i++) {
        const nas_choice *c = &a->space->choices[i].public_;
        complete = !reached[i] || json_object_set_new(object, c->key, names_of(c, a->bits[i])) == 0;
    }
    char *text = complete ? json_dumps(object, indented ? JSON_INDENT(2) : 0) : NULL;
    json_decref(object);
    free(reached);
    return text ? text
                : nas__fail_null(NAS_NO_MEMORY,
                                 "an architecture could not be written: no memory, or a name that is not UTF-8");
}

/* --- one candidate ------------------------------------------------------------------------------------ */
static nas_status unknown_candidate(const nas_choice *c, const char *name) {
    char list[LIST_SIZE];
    const char *nearest = nas__nearest(name, c->names, (size_t)c->n, sizeof *c->names);
    return nas__fail(NAS_NOT_FOUND, "choice \"%s\": unknown candidate \"%s\"%s%s%s; candidates are %s", c->key, name,
                     nearest ? ", did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "",
                     nas__candidate_list(c, list, sizeof list));
}

static nas_status by_index(const nas_choice *c, const json_t *value, int *candidate) {
    char list[LIST_SIZE];
    double number = json_number_value(value);
    if (floor(number) != number) {
        return nas__fail(NAS_INVALID, "choice \"%s\": %g is no index; a number must be a whole one, 0 to %d", c->key,
                         number, c->n - 1);
    }
    if (number < 0 || number >= c->n) {
        return nas__fail(NAS_INVALID, "choice \"%s\": index %g is out of range 0 to %d; candidates are %s%s", c->key,
                         number, c->n - 1, nas__candidate_list(c, list, sizeof list),
                         c->kind == NAS_VALUE ? " (a number is an index: write a value as a string, in quotes)" : "");
    }
    *candidate = (int)number;
    return NAS_OK;
}

static nas_status one_candidate(const nas_choice *c, const json_t *value, int *candidate) {
    if (json_is_number(value)) {
        return by_index(c, value, candidate);
    }
    *candidate = nas__choice_candidate(c, json_string_value(value));
    return *candidate < 0 ? unknown_candidate(c, json_string_value(value)) : NAS_OK;
}

/* --- one choice ----------------------------------------------------------------------------------------- */
static nas_status from_booleans(const nas_choice *c, const json_t *array, uint64_t *bits) {
    char list[LIST_SIZE];
    if (json_array_size(array) != (size_t)c->n) {
        return nas__fail(NAS_INVALID, "choice \"%s\": an array of %zu booleans, but there are %d candidates: %s",
                         c->key, json_array_size(array), c->n, nas__candidate_list(c, list, sizeof list));
    }
    for (int i = 0; i < c->n; i++) {
        *bits |= (uint64_t)json_is_true(json_array_get(array, (size_t)i)) << i;
    }
    return NAS_OK;
}

static nas_status wrong_form(const nas_choice *c, const json_t *value) {
    char list[LIST_SIZE], *text = json_dumps(value, JSON_ENCODE_ANY);
    nas__fail(NAS_INVALID,
              "choice \"%s\": %.80s is no choice; write a candidate's name, its index, or an array of names, of "
              "indices or of "
              "booleans (one per candidate); candidates are %s",
              c->key, text ? text : "this", nas__candidate_list(c, list, sizeof list));
    free(text);
    return NAS_INVALID;
}

static bool all_of_one_form(const json_t *array) {
    const json_t *first = json_array_get(array, 0), *value;
    size_t i;
    bool same = true;
    json_array_foreach(array, i, value) {
        same &= json_is_boolean(value) ? json_is_boolean(first)
                                       : (json_is_string(value) && json_is_string(first)) ||
                                             (json_is_number(value) && json_is_number(first));
    }
    return same;
}

static nas_status from_list(const nas_choice *c, const json_t *array, uint64_t *bits) {
    size_t i;
    const json_t *value;
    json_array_foreach(array, i, value) {
        int candidate;
        if (one_candidate(c, value, &candidate)) {
            return nas_error_status();
        }
        if (*bits >> candidate & 1) {
            return nas__fail(NAS_INVALID, "choice \"%s\": candidate \"%s\" is given twice", c->key,
                             c->names[candidate]);
        }
        *bits |= (uint64_t)1 << candidate;
    }
    return NAS_OK;
}

static nas_status check_count(const nas_choice *c, const json_t *value, uint64_t bits) {
    int count = nas__bit_count(bits);
    if (count >= c->n_min && count <= c->n_max) {
        return NAS_OK;
    }
    char list[LIST_SIZE], range[48], *text = json_dumps(value, JSON_ENCODE_ANY);
    snprintf(range, sizeof range, c->n_min == c->n_max ? "exactly %d" : "%d to %d", c->n_min, c->n_max);
    nas__fail(NAS_INVALID, "choice \"%s\": %.120s chooses %d candidates, but it takes %s of %s", c->key,
              text ? text : "this", count, range, nas__candidate_list(c, list, sizeof list));
    free(text);
    return NAS_INVALID;
}

static nas_status parse_choice(const nas_choice *c, const json_t *value, uint64_t *bits) {
    int candidate;
    *bits = 0;
    if (json_is_string(value) || json_is_number(value)) {
        if (one_candidate(c, value, &candidate)) {
            return nas_error_status();
        }
        *bits = (uint64_t)1 << candidate;
    } else if (!json_is_array(value) || !all_of_one_form(value)) {
        return wrong_form(c, value);
    } else if (json_is_boolean(json_array_get(value, 0)) ? from_booleans(c, value, bits) : from_list(c, value, bits)) {
        return nas_error_status();
    }
    return check_count(c, value, *bits);
}

/* --- the object ------------------------------------------------------------------------------------------- */
static nas_status unknown_key(const nas_space *space, const char *key) {
    const char **keys = nas__alloc((size_t)space->n_choices * sizeof *keys);
    for (int i = 0; keys && i < space->n_choices; i++) {
        keys[i] = space->choices[i].public_.key;
    }
    const char *nearest = keys ? nas__nearest(key, keys, (size_t)space->n_choices, sizeof *keys) : NULL;
    free(keys);
    if (nearest) {
        return nas__fail(NAS_NOT_FOUND, "unknown key \"%s\"; did you mean \"%s\"?", key, nearest);
    }
    return nas__fail(NAS_NOT_FOUND,
                     "unknown key \"%s\": the network has no such choice (%d others, the first is \"%s\")", key,
                     space->n_choices, space->choices[0].public_.key);
}

static nas_status read_keys(nas_architecture *a, json_t *object, bool *given) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        int i = nas_space_find(a->space, key);
        if (i < 0) {
            return unknown_key(a->space, key);
        }
        if (parse_choice(&a->space->choices[i].public_, value, &a->bits[i])) {
            return nas_error_status();
        }
        given[i] = true;
    }
    return NAS_OK;
}

static nas_status check_missing(const nas_architecture *a, const bool *given) {
    bool *reached = nas__reachable(a->space, a->bits);
    nas_status status = reached ? NAS_OK : NAS_NO_MEMORY;
    for (int i = 0; !status && i < a->space->n_choices; i++) {
        if (reached[i] && !given[i]) {
            char list[LIST_SIZE];
            const nas_choice *c = &a->space->choices[i].public_;
            status = nas__fail(NAS_NOT_FOUND, "key \"%s\" is missing; its candidates are %s", c->key,
                               nas__candidate_list(c, list, sizeof list));
        }
    }
    free(reached);
    return status;
}

static nas_status read_object(nas_architecture *a, json_t *object) {
    bool *given = nas__alloc((size_t)a->space->n_choices * sizeof *given);
    nas_status status = !given || read_keys(a, object, given) || check_missing(a, given) ? nas_error_status() : NAS_OK;
    free(given);
    return status;
}

static json_t *parse_text(const char *text) {
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root && !json_is_object(root)) {
        json_decref(root);
        return nas__fail_null(
            NAS_PARSE, "an architecture must be a JSON object of keys and choices, such as {\"layer_1\": \"conv3x3\"}");
    }
    if (!root && json_error_code(&error) == json_error_duplicate_key) {
        return nas__fail_null(NAS_PARSE, "line %d, column %d: a key occurs twice: %s", error.line, error.column,
                              error.text);
    }
    return root ? root
                : nas__fail_null(NAS_PARSE, "not JSON: line %d, column %d: %s", error.line, error.column, error.text);
}

nas_architecture *nas_architecture_parse(const nas_space *space, const char *json) {
    if (!space || !json) {
        return nas__fail_null(NAS_INVALID, "nas_architecture_parse: %s is NULL", space ? "the text" : "the space");
    }
    json_t *object = parse_text(json);
    nas_architecture *a = object ? nas_architecture_new(space) : NULL;
    if (a && read_object(a, object)) {
        nas_architecture_free(a);
        a = NULL;
    }
    json_decref(object);
    return a;
}

/* --- fixing a model ----------------------------------------------------------------------------------------- */
nas_status nas_apply_fixed_architecture_text(nas_module *model, const char *json) {
    nas_space *space = nas_space_new(model);
    nas_architecture *a = space ? nas_architecture_parse(space, json) : NULL;
    nas_status status = a ? nas__fix(space, a) : nas_error_status();
    nas_architecture_free(a);
    nas_space_free(space);
    return status;
}

nas_status nas_apply_fixed_architecture(nas_module *model, const char *path) {
    char *text = nas__read_text(path);
    if (!text) {
        return nas_error_status();
    }
    nas_status status = nas_apply_fixed_architecture_text(model, text) ? nas__error_context("%s", path) : NAS_OK;
    free(text);
    return status;
}
