/* sources.c - the table of sources, and opening a data set by its specification. */
#include "data/sources.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

const nas__data_source nas__data_sources[] = {
    {"fashion-mnist", "fashion-mnist",
     "70,000 grey 28x28 images of clothes in 10 classes (Debian: dataset-fashion-mnist)", NAS__FASHION_MNIST_DIRECTORY,
     nas__open_fashion_mnist},
    {"cifar10", "cifar10", "60,000 colour 32x32 images in 10 classes, binary version in --data-dir", NULL,
     nas__open_cifar10},
    {"cifar100", "cifar100", "60,000 colour 32x32 images in 100 classes, binary version in --data-dir", NULL,
     nas__open_cifar100},
    {"folder", "folder:DIR", "your own PNG and JPEG images, a sub-folder per class", NULL, nas__open_folder},
    {"csv", "csv:FILE,target=COLUMN[,task=regression]", "a table of numbers with a header line", NULL, nas__open_csv},
    {"npy", "npy:X.npy,y.npy[,task=regression]", "NumPy arrays of any shape, samples along the first axis", NULL,
     nas__open_npy},
};
const int nas__n_data_sources = sizeof nas__data_sources / sizeof *nas__data_sources;

static nas_dataset *unknown(const char *spec, const char *name) {
    char known[512] = "";
    for (int i = 0; i < nas__n_data_sources; i++) {
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, nas__data_sources[i].form, sizeof known - strlen(known) - 1);
    }
    const char *near = nas__nearest(name, nas__data_sources, (size_t)nas__n_data_sources, sizeof *nas__data_sources);
    return nas__fail_null(NAS_NOT_FOUND, "unknown data set \"%s\"%s%s%s; there are: %s", spec,
                          near ? ", did you mean " : "", near ? near : "", near ? "?" : "", known);
}

static const nas__data_source *find(const char *name) {
    for (int i = 0; i < nas__n_data_sources; i++) {
        if (strcmp(nas__data_sources[i].name, name) == 0) {
            return &nas__data_sources[i];
        }
    }
    return NULL;
}

nas_dataset *nas_dataset_open(const char *spec, const char *data_dir, const char *part) {
    if (!spec || !part) {
        return nas__fail_null(NAS_INVALID, "nas_dataset_open: a specification and a part are needed");
    }
    bool test = strcmp(part, "test") == 0;
    if (!test && strcmp(part, "train") != 0) {
        return nas__fail_null(NAS_INVALID, "part \"%s\" of data set \"%s\": there are \"train\" and \"test\"", part,
                              spec);
    }
    char *name = nas__strdup(spec);
    if (!name) {
        return NULL;
    }
    char *argument = strchr(name, ':');
    if (argument) {
        *argument++ = 0;
    }
    const nas__data_source *source = find(name);
    nas_dataset *d = NULL;
    if (!source) {
        unknown(spec, name);
    } else if ((strchr(source->form, ':') != NULL) != (argument && *argument)) {
        nas__fail(NAS_INVALID, "data set \"%s\" is written as %s", spec, source->form);
    } else {
        d = source->open(argument, data_dir, test);
    }
    free(name);
    return d;
}

char *nas__data_path(const char *file, const char *data_dir) {
    if (data_dir && file[0] != '/') {
        char *below = nas__join(data_dir, file);
        if (!below || nas__exists(below)) {
            return below;
        }
        free(below);
    }
    return nas__strdup(file);
}

char *nas__data_option(char *text, const char *name) {
    size_t n = strlen(name);
    for (char *p = text + strlen(text); p-- > text;) {
        if (*p == ',' && strncmp(p + 1, name, n) == 0 && p[n + 1] == '=') {
            *p = 0;
            return p + n + 2;
        }
    }
    return NULL;
}

nas_status nas__data_task(char *text, bool *regression) {
    const char *task = nas__data_option(text, "task");
    *regression = task && strcmp(task, "regression") == 0;
    if (task && !*regression && strcmp(task, "classification") != 0) {
        return nas__fail(NAS_INVALID, "task=%s: there are classification (the default) and regression", task);
    }
    return NAS_OK;
}
