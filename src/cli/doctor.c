/* doctor.c - `espalier doctor`: versions, processor, memory, data, and whether runs can be written here. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "data/sources.h"
#include "run/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *machine_json(void) {
    char *text = nas__machine_json();
    json_t *machine = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return machine ? machine : json_object();
}

static json_t *memory_available(void) {
    FILE *f = fopen("/proc/meminfo", "r");
    char line[256];
    long long kilobytes = -1;
    while (f && kilobytes < 0 && fgets(line, sizeof line, f)) {
        sscanf(line, "MemAvailable: %lld", &kilobytes);
    }
    if (f) {
        fclose(f);
    }
    return kilobytes < 0 ? json_null() : json_integer(kilobytes * 1024);
}

/* Opens what needs no further words (its files must be whole), and says why not otherwise. */
static json_t *data_json(const cli_args *a) {
    json_t *list = json_array();
    for (int i = 0; i < nas__n_data_sources; i++) {
        const nas__data_source *source = &nas__data_sources[i];
        if (strchr(source->form, ':') || (!source->directory && !a->data_dir)) {
            continue;
        }
        nas_dataset *data = nas_dataset_open(source->name, a->data_dir, "test");
        const char *where = a->data_dir ? a->data_dir : source->directory;
        json_t *one = json_pack("{s:s, s:s, s:b}", "name", source->name, "directory", where, "found", data != NULL);
        if (data) {
            json_object_set_new(one, "test_images", json_integer(nas_dataset_describe(data)->size));
        } else {
            json_object_set_new(one, "reason", json_string(nas_error_message()));
        }
        nas_error_clear();
        nas_dataset_free(data);
        json_array_append_new(list, one);
    }
    return list;
}

/* "" when ./runs can be written, or can be made; else the reason. */
static const char *runs_problem(void) {
    const char *where = nas__exists("runs") ? "runs" : ".";
    return access(where, W_OK | X_OK) ? strerror(errno) : "";
}

static void print_data(json_t *list) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        bool found = json_is_true(json_object_get(one, "found"));
        printf("  %-12s %s: %s\n", json_string_value(json_object_get(one, "name")), found ? "found in" : "missing",
               json_string_value(json_object_get(one, found ? "directory" : "reason")));
    }
}

static void print_human(json_t *result) {
    const char *name;
    char text[32];
    json_t *value;
    printf("%smachine%s\n", cli_bold(stdout), cli_plain(stdout));
    json_object_foreach(json_object_get(result, "machine"), name, value) {
        if (json_is_string(value)) {
            printf("  %-14s %s\n", name, json_string_value(value));
        } else if (json_is_boolean(value)) {
            printf("  %-14s %s\n", name, json_is_true(value) ? "yes" : "no");
        } else {
            printf("  %-14s %s\n", name, cli_count(json_number_value(value), text, sizeof text));
        }
    }
    printf("  %-14s %lld\n", "threads", (long long)json_integer_value(json_object_get(result, "threads")));
    printf("  %-14s %s\n", "memory_free",
           cli_count(json_number_value(json_object_get(result, "memory_available_bytes")), text, sizeof text));
    printf("%sdata%s\n", cli_bold(stdout), cli_plain(stdout));
    print_data(json_object_get(result, "data"));
    const char *problem = json_string_value(json_object_get(result, "runs_problem"));
    printf("%sruns%s\n  ./runs       %s%s\n", cli_bold(stdout), cli_plain(stdout),
           *problem ? "cannot be written: " : "can be written", problem);
}

static bool any_data(json_t *list) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) {
        if (json_is_true(json_object_get(one, "found"))) {
            return true;
        }
    }
    return false;
}

nas_status cli_doctor(cli_args *a) {
    json_t *result = json_object(), *data = data_json(a);
    bool found = any_data(data), writable = !*runs_problem();
    json_object_set_new(result, "machine", machine_json());
    json_object_set_new(result, "jansson", json_string(JANSSON_VERSION));
    json_object_set_new(result, "threads", json_integer(nas_threads()));
    json_object_set_new(result, "memory_available_bytes", memory_available());
    json_object_set_new(result, "data", data);
    json_object_set_new(result, "runs_writable", json_boolean(writable));
    json_object_set_new(result, "runs_problem", json_string(runs_problem()));
    if (a->json) {
        cli_print_json(result);
    } else {
        print_human(result);
        json_decref(result);
    }
    if (!found) {
        cli_note(
            "no data set is here: install dataset-fashion-mnist (Debian), or name your own with --data folder:DIR");
    }
    if (!writable) {
        cli_note("runs cannot be written to ./runs: name another directory with --out");
    }
    return nas_error_status();
}
