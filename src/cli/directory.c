/* directory.c - run directories: which one, may it be used, which retraining counts. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_empty(const char *directory) {
    DIR *d = opendir(directory);
    bool empty = true;
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
    if (d) {
        closedir(d);
    }
    return empty;
}

nas_status cli_directory_check(const char *directory, bool resume) {
    if (nas_rank() > 0 || !nas__exists(directory)) {
        return NAS_OK; /* rank 0 alone writes; the run makes it when everything else is known to be right */
    }
    if (!nas__is_directory(directory)) {
        return nas__fail(NAS_USAGE, "--out: %s is a file; a run needs a directory", directory);
    }
    if (!resume && !is_empty(directory)) {
        return nas__fail(NAS_USAGE,
                         "--out: %s is not empty; take another directory, or --resume to go on with the run in it",
                         directory);
    }
    return access(directory, W_OK | X_OK)
               ? nas__fail(NAS_IO, "--out: %s cannot be written: %s", directory, strerror(errno))
               : NAS_OK;
}

/* The highest K of RUN/retrain-K for which `good`; 0: none. */
static int newest_retrain(const char *run, bool (*good)(const char *directory)) {
    DIR *d = opendir(run);
    int newest = 0;
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        int k = 0, used = 0;
        if (sscanf(entry->d_name, "retrain-%d%n", &k, &used) == 1 && !entry->d_name[used] && k > newest) {
            char *path = nas__join(run, entry->d_name);
            newest = path && (!good || good(path)) ? k : newest;
            free(path);
        }
    }
    if (d) {
        closedir(d);
    }
    return newest;
}

static bool is_finished_retrain(const char *directory) {
    json_t *result = cli_json_read(directory, "result.json");
    const char *status = json_string_value(json_object_get(result, "status"));
    char *weights = nas__join(directory, "weights.safetensors");
    bool finished = status && strcmp(status, "finished") == 0 && json_object_get(result, "parameters") && weights &&
                    nas__exists(weights);
    json_decref(result);
    free(weights);
    return finished;
}

char *cli_finished_retrain(const char *run) {
    if (!nas__is_directory(run)) {
        return nas__fail_null(NAS_NOT_FOUND, "%s: no such run directory", run);
    }
    if (is_finished_retrain(run)) {
        return nas__strdup(run);
    }
    int k = newest_retrain(run, is_finished_retrain);
    if (nas_error_status()) {
        return NULL;
    }
    if (k == 0) {
        return nas__fail_null(NAS_NOT_FOUND, "%s has no finished retraining; `espalier retrain %s` comes first", run,
                              run);
    }
    return nas__format("%s/retrain-%d", run, k);
}

char *cli_retrain_directory(const char *run, bool resume) {
    int k = newest_retrain(run, NULL);
    return nas__format("%s/retrain-%d", run, resume && k > 0 ? k : k + 1);
}
