/* smash_string.c - an architecture of the space smash in one line: blocks joined by '+', each bBANK and its ops, each
 * :READ>WRITE,UNITS,KERNEL,DILATION,GROUPS with the sets of banks as hexadecimal numbers. */
#include "space/smash.h"
#include "space/spaces/spaces.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const fields[] = {"units", "kernel", "dilation", "groups"};
enum { FIELDS = sizeof fields / sizeof *fields };

static int find(const nas_architecture *a, int block, int op, const char *name) {
    char key[64];
    if (op) {
        snprintf(key, sizeof key, "block_%d/op_%d/%s", block, op, name);
    } else {
        snprintf(key, sizeof key, "block_%d/%s", block, name);
    }
    return nas_space_find(a->space, key);
}

static const char *chosen(const nas_architecture *a, int choice) {
    return nas_space_choice(a->space, choice)->names[__builtin_ctzll(a->bits[choice])];
}

static void write_op(FILE *out, const nas_architecture *a, int block, int op) {
    fprintf(out, ":%" PRIx64 ">%" PRIx64, a->bits[find(a, block, op, "read")], a->bits[find(a, block, op, "write")]);
    for (int i = 0; i < FIELDS; i++) {
        fprintf(out, ",%s", chosen(a, find(a, block, op, fields[i])));
    }
}

char *nas__smash_string(const nas_architecture *a) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int block = 1; out && find(a, block, 0, "bank") >= 0; block++) {
        const int ops = 1 + __builtin_ctzll(a->bits[find(a, block, 0, "ops")]);
        fprintf(out, "%sb%s", block > 1 ? "+" : "", chosen(a, find(a, block, 0, "bank")));
        for (int op = 1; op <= ops; op++) {
            write_op(out, a, block, op);
        }
    }
    return nas__text_end(out, &text);
}

/* --- and back -------------------------------------------------------------------------------------------- */
/* The candidate whose name the text begins with, up to one of "+:,", or the end. */
static bool read_name(nas_architecture *a, int choice, const char **text) {
    const size_t length = strcspn(*text, "+:,");
    char name[16] = "";
    int candidate = -1;
    if (choice >= 0 && length < sizeof name) {
        memcpy(name, *text, length);
        candidate = nas__choice_candidate(nas_space_choice(a->space, choice), name);
    }
    *text += length;
    return candidate >= 0 && !nas_architecture_set(a, choice, (uint64_t)1 << candidate);
}

static bool read_set(nas_architecture *a, int choice, const char **text) {
    char *end;
    const bool digit = **text && strchr("0123456789abcdef", **text);
    const uint64_t bits = digit ? strtoull(*text, &end, 16) : 0;
    *text = digit ? end : *text;
    return choice >= 0 && bits && !nas_architecture_set(a, choice, bits);
}

static bool skip(const char **text, char c) { return *(*text)++ == c; }

static bool read_op(nas_architecture *a, int block, int op, const char **text) {
    bool fits = skip(text, ':') && read_set(a, find(a, block, op, "read"), text) && skip(text, '>') &&
                read_set(a, find(a, block, op, "write"), text);
    for (int i = 0; fits && i < FIELDS; i++) {
        fits = skip(text, ',') && read_name(a, find(a, block, op, fields[i]), text);
    }
    return fits;
}

static bool read_block(nas_architecture *a, int block, const char **text) {
    int ops = 0;
    bool fits = (block == 1 || skip(text, '+')) && skip(text, 'b') && read_name(a, find(a, block, 0, "bank"), text);
    while (fits && **text == ':') {
        fits = read_op(a, block, ++ops, text);
    }
    return fits && ops > 0 && !nas_architecture_set(a, find(a, block, 0, "ops"), (uint64_t)1 << (ops - 1));
}

nas_architecture *nas__smash_parse(const nas_space *space, const char *string) {
    nas_architecture *a = nas_architecture_new(space);
    const char *at = string;
    bool fits = a != NULL;
    for (int block = 1; fits && find(a, block, 0, "bank") >= 0; block++) {
        fits = read_block(a, block, &at);
    }
    if (a && (!fits || *at)) {
        nas_architecture_free(a);
        nas_error_clear();
        return nas__fail_null(NAS_PARSE,
                              "\"%.200s\" is no architecture of this smash space; one looks like "
                              "b1:f>30,4,3,1,2:20>20,1,5,1,1+b4:1>2,4,3,1,1: blocks of the units of a bank and ops of "
                              "READ>WRITE,UNITS,KERNEL,DILATION,GROUPS",
                              string);
    }
    return a;
}
