/* directory.c - the files of a run beside its log: config.json and checkpoints; the default name of a directory. */
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "io/safetensors.h"
#include "run/run_private.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- config.json ---------------------------------------------------------------------------------- */
/* The given object with the version and the machine, which a config that was written for another purpose lacks. */
nas_status nas__run_write_config(const char *directory, const char *config) {
    json_error_t error;
    json_t *root = json_loads(config ? config : "{}", JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        nas_status status = nas__fail(NAS_PARSE, "the configuration of the run is not a JSON object: %s",
                                      root ? "another value" : error.text);
        json_decref(root);
        return status;
    }
    char *machine = nas__machine_json(), *path = nas__join(directory, "config.json"), *text = NULL;
    nas_status status = machine && path ? NAS_OK : NAS_NO_MEMORY;
    if (!status) {
        if (!json_object_get(root, "version")) {
            json_object_set_new(root, "version", json_string(nas_version()));
        }
        if (!json_object_get(root, "machine")) {
            json_object_set_new(root, "machine", json_loads(machine, 0, NULL));
        }
        text = json_dumps(root, JSON_INDENT(2));
        char *line = text ? nas__format("%s\n", text) : NULL;
        status = line ? nas__write_file(path, line, strlen(line)) : NAS_NO_MEMORY;
        free(line);
    }
    free(text);
    free(path);
    free(machine);
    json_decref(root);
    return status;
}

/* --- names ---------------------------------------------------------------------------------------- */
char *nas__run_default_directory(const char *base, const char *space, const char *strategy) {
    time_t now = time(NULL);
    struct tm local;
    char stamp[32];
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
    for (int i = 1;; i++) { /* two runs may start in one second */
        char *name = i == 1 ? nas__format("%s/%s-%s-%s", base, stamp, space, strategy)
                            : nas__format("%s/%s-%s-%s-%d", base, stamp, space, strategy, i);
        if (!name || !nas__exists(name)) {
            return name;
        }
        free(name);
    }
}

char *nas__checkpoint_path(const char *directory, int epoch) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%05d.safetensors", epoch);
    return nas__join(directory, name);
}

/* --- which checkpoints are there? ------------------------------------------------------------------- */
/* Epoch of a checkpoint's file name, or -1. */
static int epoch_of(const char *name) {
    int epoch = -1, used = 0;
    return sscanf(name, "checkpoint-%9d.safetensors%n", &epoch, &used) == 1 && used && !name[used] && epoch >= 0 ? epoch
                                                                                                                 : -1;
}

static int newest_first(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x < y) - (x > y);
}

/* Epochs of all checkpoints, newest first (new, free()); NULL when there are none. */
static int *list_checkpoints(const char *directory, size_t *count) {
    int *epochs = NULL;
    *count = 0;
    DIR *d = opendir(directory);
    for (const struct dirent *e; d && (e = readdir(d));) {
        int epoch = epoch_of(e->d_name);
        if (epoch >= 0 && nas__grow(&epochs, *count, sizeof *epochs)) {
            epochs[(*count)++] = epoch;
        }
    }
    if (d) {
        closedir(d);
    }
    if (epochs) {
        qsort(epochs, *count, sizeof *epochs, newest_first);
    }
    return epochs;
}

static bool is_whole(const char *path) {
    nas__safetensors *file = nas__safetensors_read(path);
    bool whole = file && nas__safetensors_checked(file);
    nas__safetensors_free(file);
    return whole;
}

char *nas__checkpoint_newest(const char *directory) {
    size_t n;
    int *epochs = list_checkpoints(directory, &n);
    char *found = NULL, first_error[512] = "";
    for (size_t i = 0; i < n && !found; i++) {
        char *path = nas__checkpoint_path(directory, epochs[i]);
        if (!path || is_whole(path)) {
            found = path;
            break;
        }
        const char *why = nas_error_status() ? nas_error_message() : "it has no checksum";
        nas__log(NAS_LOG_WARN, "checkpoint passed over: %s", why);
        if (!first_error[0]) {
            snprintf(first_error, sizeof first_error, "%s", why);
        }
        nas_error_clear();
        free(path);
    }
    free(epochs);
    if (n && !found) {
        return nas__fail_null(NAS_PARSE, "%s: none of its %zu checkpoints can be used: %s", directory, n, first_error);
    }
    return found;
}

/* What a crash in the middle of writing a checkpoint has left. */
static void remove_half_written(const char *directory) {
    DIR *d = opendir(directory);
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (!strncmp(e->d_name, "checkpoint-", 11) && strstr(e->d_name, ".safetensors.tmp-")) {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    if (d) {
        closedir(d);
    }
}

void nas__checkpoint_prune(const char *directory, int keep) {
    size_t n;
    int *epochs = list_checkpoints(directory, &n);
    for (size_t i = keep > 0 ? (size_t)keep : 0; i < n; i++) {
        char *path = nas__checkpoint_path(directory, epochs[i]);
        if (path) {
            unlink(path);
        }
        free(path);
    }
    free(epochs);
    remove_half_written(directory);
}
