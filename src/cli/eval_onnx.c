/* eval_onnx.c - `espalier eval --onnx FILE`: an ONNX file through onnxruntime, as a module whose forward function is
 * that file, and the latency of both. */
#include "cli/eval.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/statistics.h"
#include "data/dataset.h"
#include "hardware/stopwatch.h"
#include "io/onnx_read.h"
#include "io/onnxruntime.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASSES = 40, WARM_UP = 5 };

typedef struct foreign {
    nas_module base;
    nas__ort_session *session;
    int64_t outputs; /* that the data ask for */
} foreign;

/* --- the file as a module ---------------------------------------------------------------------------------- */
static nas_tensor *foreign_forward(nas_module *self, nas_tensor *x) {
    const foreign *f = (foreign *)self;
    int64_t out[NAS_MAX_DIMS];
    int n_out = 0;
    float *values = nas__alloc((size_t)nas_tensor_count(x) * sizeof *values), *y = NULL;
    nas_tensor *result = NULL;
    if (values && !nas_tensor_read(x, values) && !nas__ort_run(f->session, x->ndim, x->dims, values, &y, out, &n_out)) {
        bool fits = n_out == 2 && out[0] == x->dims[0] && out[1] == f->outputs;
        result = fits ? nas_input(n_out, out, y)
                      : nas__fail_null(NAS_SHAPE,
                                       "%s: its output has %d dimensions, the last of %lld; these data ask for (batch, "
                                       "%lld)",
                                       f->session->path, n_out, (long long)out[n_out - 1], (long long)f->outputs);
    }
    free(values);
    free(y);
    return result;
}

static void read_numbers(const json_t *list, float to[4]) {
    for (size_t c = 0; c < 4 && c < json_array_size(list); c++) {
        to[c] = (float)json_number_value(json_array_get(list, c));
    }
}

static json_t *metadata(const cli_onnx *o, const char *path, const char *key) {
    char *text = o->session ? nas__ort_metadata(o->session, key) : nas__onnx_metadata(path, key);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return json;
}

/* What the file expects of a pixel: as its metadata says, or else as other networks on this data. */
static nas_transform transform_of(const cli_onnx *o, const char *path, const nas_dataset *data, const char **said) {
    nas_transform t = nas_transform_default(data, false);
    const float scale = nas__dataset_scale(data);
    json_t *outside = metadata(o, path, "preprocessing"), *inside = metadata(o, path, "preprocessing_inside");
    *said = outside ? "by its metadata" : inside ? "inside of the file" : "of the data set";
    if (outside || inside) {
        /* the loader gives pixel * scale, less mean, over std */
        const double own = outside ? json_number_value(json_object_get(outside, "scale")) : 1;
        const float factor = own > 0 && scale > 0 ? (float)(own / (double)scale) : 1;
        float mean[4] = {0}, std[4] = {1, 1, 1, 1};
        read_numbers(json_object_get(outside, "mean"), mean);
        read_numbers(json_object_get(outside, "std"), std);
        for (int c = 0; c < 4; c++) {
            t.mean[c] = mean[c] / factor;
            t.std[c] = (std[c] > 0 ? std[c] : 1) / factor;
        }
    }
    json_decref(outside);
    json_decref(inside);
    return t;
}

static nas_status check_shape(const char *path, int ndim, const int64_t *dims, const nas_dataset_info *info,
                              const char *data) {
    bool fits = ndim == info->ndim;
    for (int i = 0; fits && i < ndim; i++) {
        fits = dims[i] < 1 || dims[i] == info->dims[i];
    }
    char text[2][96] = {"", ""};
    for (int k = 0; !fits && k < 2; k++) {
        size_t used = 0;
        for (int i = 0; i < (k ? info->ndim : ndim) && used < sizeof *text; i++) {
            long long d = (long long)(k ? info->dims[i] : dims[i]);
            used += (size_t)snprintf(text[k] + used, sizeof *text - used, d < 1 ? "%sany" : "%s%lld", i ? "x" : "", d);
        }
    }
    return fits ? NAS_OK : nas__fail(NAS_SHAPE, "%s takes samples of %s, and %s has %s", path, text[0], data, text[1]);
}

/* As a run's config.json has them. */
static json_t *class_names(const cli_onnx *o, const char *path, const nas_dataset_info *info) {
    json_t *names = metadata(o, path, "classes");
    if (!json_is_array(names) || json_array_size(names) != (size_t)info->classes) {
        json_decref(names);
        names = json_array();
        for (int i = 0; info->class_names && i < info->classes; i++) {
            json_array_append_new(names, json_string(info->class_names[i]));
        }
    }
    return json_pack("{s:{s:o}}", "network", "classes", names);
}

static nas_module *open_foreign(cli_onnx *o, const cli_args *a, const nas_dataset_info *info) {
    o->ort = nas__ort_open(a->onnxruntime);
    o->engine = o->ort ? nas__format("onnxruntime %s", nas__ort_version(o->ort)) : NULL;
    nas__ort_session *s = o->engine ? nas__ort_session_new(o->ort, a->onnx, nas_threads(), NULL) : NULL;
    o->session = s;
    foreign *f = s && !check_shape(s->path, s->ndim - 1, s->dims + 1, info, a->data)
                     ? nas_module_new(foreign, foreign_forward)
                     : NULL;
    if (f) {
        f->session = s;
        f->outputs = info->classes ? info->classes : info->target_count;
    }
    return f ? &f->base : NULL;
}

static nas_module *open_own(cli_onnx *o, const cli_args *a, const nas_dataset_info *info) {
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    nas_module *model = nas_import_onnx(a->onnx, &ndim, dims);
    o->engine = nas__format("espalier %s", nas_version());
    if (model && (check_shape(a->onnx, ndim, dims, info, a->data) || nas_fold_batch_norm(model, NULL))) {
        nas_module_free(model);
        return NULL;
    }
    return model;
}

nas_status cli_onnx_open(cli_onnx *o, const cli_args *a, const nas_dataset *data) {
    const nas_dataset_info *info = nas_dataset_describe(data);
    *o = (cli_onnx){0};
    o->model = strcmp(a->backend, "onnxruntime") ? open_own(o, a, info) : open_foreign(o, a, info);
    if (o->model) {
        o->transform = transform_of(o, a->onnx, data, &o->preprocessing);
        o->config = class_names(o, a->onnx, info);
    }
    return nas_error_status();
}

void cli_onnx_close(cli_onnx *o) {
    json_decref(o->config);
    free(o->engine);
    nas_module_free(o->model);
    nas__ort_session_free(o->session);
    nas__ort_close(o->ort);
}

/* --- latency ----------------------------------------------------------------------------------------------- */
typedef struct subject {
    nas_tape *tape;
    nas_module *model;
    nas__ort_session *session; /* runs in the model's stead */
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    float *x;
} subject;

static nas_status run(const subject *s, double *ns) {
    nas_tensor *x = NULL;
    if (!s->session) {
        nas_tape_begin(s->tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
        x = nas_input(s->ndim, s->dims, s->x);
    }
    double start = nas__now_ns();
    if (s->session) {
        nas__ort_run(s->session, s->ndim, s->dims, s->x, NULL, NULL, NULL);
    } else {
        nas_tensor *y = x ? nas_forward(s->model, x) : NULL;
        if (y) {
            nas__data(y);
        }
    }
    *ns = nas__now_ns() - start;
    if (!s->session) {
        nas_tape_reset(s->tape);
    }
    return nas_error_status();
}

nas_status cli_onnx_latency(const cli_onnx *o, nas_module *own, const nas_dataset_info *info, double ms[2]) {
    double ns[2][PASSES];
    size_t count = 1;
    subject s[2] = {{.session = o->session, .model = o->model, .ndim = info->ndim + 1, .dims = {1}}};
    for (int i = 0; i < info->ndim; i++) {
        s[0].dims[i + 1] = info->dims[i];
        count *= (size_t)info->dims[i];
    }
    s[0].x = nas__alloc(count * sizeof *s[0].x);
    s[1] = s[0];
    s[1].session = NULL;
    s[1].model = own;
    s[1].tape = own ? nas_tape_new() : NULL;
    s[0].tape = o->session ? NULL : nas_tape_new();
    nas__pinned before;
    nas__pin(&before, nas_threads(), true);
    for (int i = -WARM_UP; i < PASSES && !nas_error_status(); i++) { /* by turns, as the machine is at that time */
        for (int k = 0; k < (own ? 2 : 1) && !nas_error_status(); k++) {
            double one;
            run(&s[k], &one);
            ns[k][i < 0 ? 0 : i] = one;
        }
    }
    nas__unpin(&before);
    for (int k = 0; k < 2; k++) {
        ms[k] = k && !own ? NAN : nas_error_status() ? NAN : 1e-6 * nas__median(PASSES, ns[k]);
    }
    nas_tape_free(s[0].tape);
    nas_tape_free(s[1].tape);
    free(s[0].x);
    return nas_error_status();
}
