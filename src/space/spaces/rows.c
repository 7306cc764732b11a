/* rows.c - what spaces that are rows of layers share: the network, its strides, and its architectures as strings. */
#include "space/spaces/spaces.h"

#include "nn/layers.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the network ------------------------------------------------------------------------------------------- */
static nas_tensor *row_network_forward(nas_module *self, nas_tensor *x) {
    return nas__row_forward(self, nas__pad_image(x, 1));
}

nas_module *nas__row_network_new(void) { return nas_module_new(nas_module, row_network_forward); }

enum { SMALLEST_MAP = 4 };

void nas__fit_strides(const nas_space_config *config, int n, int *strides) {
    int side = config->height < config->width ? config->height : config->width;
    for (int i = n - 1; i >= 0; i--) {
        bool fits = (side + strides[i] - 1) / strides[i] >= SMALLEST_MAP;
        strides[i] = fits ? strides[i] : 1;
        side = (side + strides[i] - 1) / strides[i];
    }
}

/* --- strings ------------------------------------------------------------------------------------------------- */
static int choice_at(const nas_space *space, const char *prefix, int number) {
    char key[48];
    snprintf(key, sizeof key, "%s_%d", prefix, number);
    return nas_space_find(space, key);
}

char *nas__text_end(FILE *out, char **text) {
    if (out && fclose(out) == 0) {
        return *text;
    }
    free(*text);
    return nas__fail_null(NAS_NO_MEMORY, "no memory for an architecture's string");
}

void nas__row_write(FILE *out, const nas_architecture *a, const char *prefix, const char *const *codes,
                    const char *separator, int most) {
    int choice;
    for (int i = 1; i <= most && (choice = choice_at(a->space, prefix, i)) >= 0; i++) {
        int candidate = __builtin_ctzll(a->bits[choice]);
        fprintf(out, "%s%s", i > 1 ? separator : "",
                codes ? codes[candidate] : a->space->choices[choice].public_.names[candidate]);
    }
}

char *nas__row_string(const nas_architecture *a, const char *prefix, const char *const *codes, const char *separator) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) {
        nas__row_write(out, a, prefix, codes, separator, INT_MAX);
    }
    return nas__text_end(out, &text);
}

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* The candidate whose code `text` begins with, followed by the separator or the end; -1: none. */
static int read_code(const nas_choice *c, const char *const *codes, const char *separator, const char **text) {
    for (int i = 0; i < c->n; i++) {
        const char *code = codes ? codes[i] : c->names[i], *end = *text + strlen(code);
        if (begins(*text, code) && (!*end || begins(end, separator))) {
            *text = end;
            return i;
        }
    }
    return -1;
}

int nas__row_read(nas_architecture *a, const char *prefix, const char *const *codes, const char *separator,
                  const char *text) {
    const char *at = text;
    int choice, n = 0;
    for (; *at && (choice = choice_at(a->space, prefix, n + 1)) >= 0; n++) {
        char list[256];
        const nas_choice *c = nas_space_choice(a->space, choice);
        at += n && begins(at, separator) ? strlen(separator) : 0;
        int candidate = read_code(c, codes, separator, &at);
        if (candidate < 0) {
            nas__fail(NAS_PARSE, "\"%.200s\" is no architecture of this space: \"%s\" takes one of %s, not \"%.40s\"",
                      text, c->key, nas__candidate_list(c, list, sizeof list), at);
            return -1;
        }
        a->bits[choice] = (uint64_t)1 << candidate;
    }
    if (*at) {
        nas__fail(NAS_PARSE, "\"%.200s\" is no architecture of this space: \"%.40s\" is too much", text, at);
    }
    return *at ? -1 : n;
}

bool nas__row_fill(nas_architecture *a, const char *prefix, const char *const *codes, const char *separator,
                   const char *text) {
    int n = nas__row_read(a, prefix, codes, separator, text);
    if (n >= 0 && choice_at(a->space, prefix, n + 1) >= 0) {
        return nas__fail_null(NAS_PARSE, "\"%.200s\" is no architecture of this space: it ends before \"%s_%d\"", text,
                              prefix, n + 1);
    }
    return n >= 0;
}

nas_architecture *nas__row_parse(const nas_space *space, const char *prefix, const char *const *codes,
                                 const char *separator, const char *text) {
    nas_architecture *a = nas_architecture_new(space);
    if (a && !nas__row_fill(a, prefix, codes, separator, text)) {
        nas_architecture_free(a);
        return NULL;
    }
    return a;
}
