/* list.c - `espalier list`: spaces, strategies, data sets, and options, from their tables. */
#include "cli/cli.h"

#include "core/error.h"
#include "data/sources.h"
#include "search/registry.h"

#include <string.h>

const char *cli_list_word(int i) {
    return i < 4 ? (const char *[]){"spaces", "strategies", "data", "options"}[i] : NULL;
}

/* --- json --------------------------------------------------------------------------------------- */
static const char *type_name(nas_option_type type) {
    switch (type) {
    case NAS_OPTION_INT:
        return "int";
    case NAS_OPTION_FLOAT:
        return "float";
    case NAS_OPTION_BOOL:
        return "bool";
    case NAS_OPTION_CHOICE:
        return "choice";
    case NAS_OPTION_TEXT:
        return "text";
    case NAS_OPTION_LIST:
        return "list";
    }
    return "?";
}

static json_t *options_json(const nas_option *rows) {
    json_t *list = json_array();
    for (; rows && rows->name; rows++) {
        json_t *one = json_object();
        json_object_set_new(one, "name", json_string(rows->name));
        json_object_set_new(one, "type", json_string(type_name(rows->type)));
        json_object_set_new(one, "default", json_string(rows->initial));
        if (rows->min != 0 || rows->max != 0) {
            json_object_set_new(one, "min", json_real(rows->min));
            json_object_set_new(one, "max", json_real(rows->max));
        }
        if (rows->choices) {
            json_object_set_new(one, "choices", json_string(rows->choices));
        }
        json_object_set_new(one, "help", json_string(rows->help ? rows->help : ""));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *named(const char *name, const char *summary, const char *paper) {
    json_t *one = json_object();
    json_object_set_new(one, "name", json_string(name));
    json_object_set_new(one, "summary", json_string(summary ? summary : ""));
    if (paper) {
        json_object_set_new(one, "paper", json_string(paper));
    }
    return one;
}

/* Names of the strategies that accept the space, with its default options. */
static json_t *strategies_of(const nas_space_info *info) {
    json_t *names = json_array();
    nas_module *model = nas_space_build(info->name, &(nas_space_config){0});
    nas_space *space = model ? nas_space_new(model) : NULL;
    for (const nas_strategy *const *a = nas__strategies; space && *a; a++) {
        if (nas__strategy_accepts(*a, space)) {
            json_array_append_new(names, json_string((*a)->name));
        }
    }
    nas_space_free(space);
    nas_module_free(model);
    return names;
}

static json_t *spaces_json(void) {
    json_t *list = json_array();
    for (const nas_space_info *const *s = nas_spaces(); *s; s++) {
        json_t *one = named((*s)->name, (*s)->summary, (*s)->paper);
        json_object_set_new(one, "strategies", strategies_of(*s));
        json_object_set_new(one, "options", options_json((*s)->options));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *strategies_json(void) {
    json_t *list = json_array();
    for (const nas_strategy_info *a = nas_strategies(); a->name; a++) {
        json_t *one = named(a->name, a->summary, a->paper);
        json_object_set_new(one, "options", options_json(a->options));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *data_json(void) {
    json_t *list = json_array();
    for (int i = 0; i < nas__n_data_sources; i++) {
        json_t *one = named(nas__data_sources[i].name, nas__data_sources[i].summary, NULL);
        json_object_set_new(one, "form", json_string(nas__data_sources[i].form));
        json_array_append_new(list, one);
    }
    return list;
}

/* --- text --------------------------------------------------------------------------------------- */
static void title(const char *text) { printf("%s%s%s\n", cli_bold(stdout), text, cli_plain(stdout)); }

static bool is_among(const json_t *names, const char *name) {
    size_t i;
    json_t *one;
    json_array_foreach(names, i, one) {
        if (strcmp(json_string_value(one), name) == 0) {
            return true;
        }
    }
    return false;
}

/* The strategies that take a space; where most do, those that do not. */
static void print_strategies_of(const nas_space_info *info) {
    json_t *names = strategies_of(info);
    size_t all = 0, printed = 0, taking = json_array_size(names);
    while (nas_strategies()[all].name) {
        all++;
    }
    bool most = 2 * taking > all;
    fputs(taking == 0 ? "no strategy takes it" : taking == all ? "all strategies" : "", stdout);
    for (size_t i = 0; i < all && taking > 0; i++) {
        const char *name = nas_strategies()[i].name;
        if (is_among(names, name) != most) {
            printf("%s%s", printed++ ? ", " : most ? "all strategies but " : "strategies: ", name);
        }
    }
    json_decref(names);
}

static void print_spaces(void) {
    title("spaces");
    for (const nas_space_info *const *s = nas_spaces(); *s; s++) {
        printf("  %-16s %s (", (*s)->name, (*s)->summary);
        print_strategies_of(*s);
        printf(")\n");
    }
}

static void print_strategies(void) {
    title("strategies");
    for (const nas_strategy_info *a = nas_strategies(); a->name; a++) {
        printf("  %-16s %s\n", a->name, a->summary);
    }
}

static void print_data(void) {
    title("data");
    for (int i = 0; i < nas__n_data_sources; i++) {
        printf("  %-16s %s\n", nas__data_sources[i].form, nas__data_sources[i].summary);
    }
}

static void print_options(const char *kind, const char *name, const nas_option *rows) {
    printf("%s%s %s%s: --set KEY=VALUE\n", cli_bold(stdout), kind, name, cli_plain(stdout));
    for (; rows && rows->name; rows++) {
        printf("  %-20s %s (default %s", rows->name, rows->help ? rows->help : "",
               *rows->initial ? rows->initial : "none");
        if (rows->choices) {
            printf("; one of %s", rows->choices);
        } else if (rows->min != 0 || rows->max != 0) {
            printf("; %g to %g", rows->min, rows->max);
        }
        printf(")\n");
    }
}

/* --- options NAME ------------------------------------------------------------------------------- */
static const char *owner_word(int i) {
    int spaces = 0;
    while (cli_space_word(spaces)) {
        spaces++;
    }
    return i < spaces ? cli_space_word(i) : cli_strategy_word(i - spaces);
}

/* A name may be both a space and a strategy, as darts is: both are shown. */
static nas_status list_options(const cli_args *a) {
    const char *name = a->n_names > 1 ? a->names[1] : NULL;
    json_t *result = json_object();
    bool found = false;
    for (const nas_space_info *const *s = nas_spaces(); *s; s++) {
        if (name && strcmp((*s)->name, name) == 0) {
            found = true;
            json_object_set_new(result, "space", options_json((*s)->options));
            a->json ? (void)0 : print_options("space", name, (*s)->options);
        }
    }
    for (const nas_strategy_info *i = nas_strategies(); i->name; i++) {
        if (name && strcmp(i->name, name) == 0) {
            found = true;
            json_object_set_new(result, "strategy", options_json(i->options));
            a->json ? (void)0 : print_options("strategy", name, i->options);
        }
    }
    if (found && a->json) {
        return cli_print_json(result);
    }
    json_decref(result);
    char hint[512];
    if (!name) {
        return nas__fail(NAS_USAGE, "the options of which space or strategy? espalier list options NAME");
    }
    return found ? NAS_OK
                 : nas__fail(NAS_USAGE, "\"%s\" is neither a space nor a strategy%s", name,
                             cli_hint(name, owner_word, hint, sizeof hint));
}

nas_status cli_list(cli_args *a) {
    const char *what = a->n_names > 0 ? a->names[0] : NULL;
    bool spaces = !what || strcmp(what, "spaces") == 0, strategies = !what || strcmp(what, "strategies") == 0;
    bool data = !what || strcmp(what, "data") == 0;
    char hint[512];
    if (what && strcmp(what, "options") == 0) {
        return list_options(a);
    }
    if (!spaces && !strategies && !data) {
        return nas__fail(NAS_USAGE, "there is no list of \"%s\"%s", what,
                         cli_hint(what, cli_list_word, hint, sizeof hint));
    }
    if (a->n_names > 1) {
        return nas__fail(NAS_USAGE, "\"%s\" is one argument too many", a->names[1]);
    }
    if (!a->json) {
        spaces ? print_spaces() : (void)0;
        strategies ? print_strategies() : (void)0;
        data ? print_data() : (void)0;
        return nas_error_status();
    }
    json_t *result = json_object();
    if (spaces) {
        json_object_set_new(result, "spaces", spaces_json());
    }
    if (strategies) {
        json_object_set_new(result, "strategies", strategies_json());
    }
    if (data) {
        json_object_set_new(result, "data", data_json());
    }
    return cli_print_json(result);
}
