/* torch_names.c - weights under the names that PyTorch gives them: those of the modules' paths, but for batch norms,
 * whose gamma and beta are weight and bias there. */
#include "io/torch_names.h"

#include "core/error.h"
#include "core/memory.h"
#include "io/state.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

char *nas__torch_name(const char *path) {
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
    const char *other = !strcmp(last, "gamma") ? "weight" : !strcmp(last, "beta") ? "bias" : last;
    return nas__format("%.*s%s", (int)(last - path), path, other);
}

typedef struct list {
    nas__array *arrays;
    size_t n;
} list;

static nas_status add_one(const char *path, nas__parameter *p, void *user) {
    list *l = user;
    char *name = nas__torch_name(path);
    if (!name || !nas__grow(&l->arrays, l->n, sizeof *l->arrays)) {
        free(name);
        return nas_error_status();
    }
    l->arrays[l->n] = nas__array_of(name, p->tensor);
    l->arrays[l->n++].data = p->tensor->data;
    return NAS_OK;
}

nas_status nas_export_safetensors(nas_module *model, const nas_export_config *config, const char *path) {
    if (!model || !config || !path) {
        return nas__fail(NAS_INVALID, "nas_export_safetensors: model, config or path is NULL");
    }
    list l = {NULL, 0};
    const nas__text_pair all[] = {{"architecture", config->architecture}, {"space", config->space}};
    nas__text_pair given[2];
    size_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        if (all[i].value) {
            given[n++] = all[i];
        }
    }
    nas_status status = nas__initialise_once(model);
    status = status ? status : nas__module_parameters(model, add_one, &l);
    status = status ? status : nas__safetensors_write(path, l.n, l.arrays, n, given);
    for (size_t i = 0; i < l.n; i++) {
        free((char *)(uintptr_t)l.arrays[i].name);
    }
    free(l.arrays);
    return status;
}
