/* eval.c - `espalier eval`: a retrained network, or an ONNX file, on one part of a data set, in all and class by
 * class. */
#include "cli/eval.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally {
    int classes;
    int64_t *images, *right;
    int64_t *confused; /* classes x classes: (truth, answer) */
    float *output, *target;
} tally;

static nas_status tally_open(tally *t, int classes) {
    size_t n = (size_t)(classes > 0 ? classes : 1);
    *t = (tally){.classes = classes,
                 .images = nas__alloc(n * sizeof(int64_t)),
                 .right = nas__alloc(n * sizeof(int64_t)),
                 .confused = nas__alloc(n * n * sizeof(int64_t))};
    return nas_error_status();
}

static void tally_close(tally *t) {
    free(t->images);
    free(t->right);
    free(t->confused);
}

static void count_rows(tally *t, const float *output, const float *target, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const float *row = output + i * t->classes;
        int answer = 0, truth = (int)target[i];
        for (int k = 1; k < t->classes; k++) {
            answer = row[k] > row[answer] ? k : answer;
        }
        t->images[truth]++;
        t->right[truth] += answer == truth;
        t->confused[truth * t->classes + answer]++;
    }
}

static void visit(const nas_tensor *output, const nas_tensor *target, void *user) {
    tally *t = user;
    if (t->classes == 0) {
        return;
    }
    float *rows = nas__alloc((size_t)nas_tensor_count(output) * sizeof *rows);
    float *truth = nas__alloc((size_t)nas_tensor_count(target) * sizeof *truth);
    if (rows && truth && !nas_tensor_read(output, rows) && !nas_tensor_read(target, truth)) {
        count_rows(t, rows, truth, nas_tensor_count(target));
    }
    free(rows);
    free(truth);
}

static nas_status check_data(const cli_network *n, const nas_dataset_info *info, const char *data) {
    cli_space data_shape = {0};
    cli_space_input(&data_shape, info);
    const nas_space_config *x = &data_shape.config, *y = &n->space.config;
    if (x->channels != y->channels || x->height != y->height || x->width != y->width || x->outputs != y->outputs ||
        (info->classes == 0) != n->regression) {
        return nas__fail(NAS_SHAPE,
                         "%s has samples of %dx%dx%d with %d outputs; the network of %s takes %dx%dx%d and gives %d",
                         data, x->channels, x->height, x->width, x->outputs, n->directory, y->channels, y->height,
                         y->width, y->outputs);
    }
    return NAS_OK;
}

static json_t *classes_json(const cli_network *n, const tally *t) {
    json_t *classes = json_array();
    char text[32];
    for (int i = 0; i < t->classes; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "name", json_string(cli_class_name(n, i, text, sizeof text)));
        json_object_set_new(row, "images", json_integer(t->images[i]));
        json_object_set_new(row, "acc1",
                            t->images[i] ? json_real((double)t->right[i] / (double)t->images[i]) : json_null());
        json_array_append_new(classes, row);
    }
    return classes;
}

static json_t *result_json(const cli_network *n, const cli_args *a, const nas_metric *metrics, const nas_evaluation *e,
                           const tally *t) {
    json_t *result = json_object(), *values = json_object();
    json_object_set_new(values, "loss", json_real(e->loss));
    for (int i = 0; metrics[i].name; i++) {
        json_object_set_new(values, metrics[i].name, json_real(e->metrics[i]));
    }
    json_object_set_new(result, "run", json_string(n->directory));
    json_object_set_new(result, "data", json_string(a->data));
    json_object_set_new(result, "split", json_string(a->split));
    json_object_set_new(result, "images", json_integer(e->images));
    json_object_set_new(result, "seconds", json_real(e->seconds));
    json_object_set_new(result, "metrics", values);
    json_object_set_new(result, "classes", classes_json(n, t));
    return result;
}

/* The class that images of this one are most often taken for, or -1. */
static int most_confused(const tally *t, int truth) {
    int worst = -1;
    for (int k = 0; k < t->classes; k++) {
        int64_t count = k == truth ? 0 : t->confused[truth * t->classes + k];
        if (count > 0 && (worst < 0 || count > t->confused[truth * t->classes + worst])) {
            worst = k;
        }
    }
    return worst;
}

static void print_human(const cli_network *n, const cli_args *a, const nas_metric *metrics, const nas_evaluation *e,
                        const tally *t) {
    char name[32], other[32], time[32];
    printf("%s%s%s: %lld images of the %s part of %s in %s\n  loss %.4f\n", cli_bold(stdout), n->directory,
           cli_plain(stdout), (long long)e->images, a->split, a->data, cli_duration(e->seconds, time, sizeof time),
           e->loss);
    for (int i = 0; metrics[i].name; i++) {
        printf("  %s %.4f\n", metrics[i].name, e->metrics[i]);
    }
    for (int i = 0; i < t->classes; i++) {
        int worst = most_confused(t, i);
        printf("  %-20s %6lld images  acc1 %.4f", cli_class_name(n, i, name, sizeof name), (long long)t->images[i],
               t->images[i] ? (double)t->right[i] / (double)t->images[i] : 0.0);
        if (worst >= 0) {
            printf("  most often taken for %s (%lld)", cli_class_name(n, worst, other, sizeof other),
                   (long long)t->confused[i * t->classes + worst]);
        }
        putchar('\n');
    }
}

static nas_status evaluate(const cli_args *a, const cli_network *n, nas_dataset *data, json_t **result) {
    const nas_dataset_info *info = nas_dataset_describe(data);
    const nas_metric *metrics = cli_metrics(info);
    nas_evaluation e = {0};
    tally t = {0};
    nas_status status = tally_open(&t, info->classes);
    status = status ? status
                    : nas_evaluate(&(nas_evaluate_config){.model = n->model,
                                                          .data = data,
                                                          .transform = &n->transform,
                                                          .batch_size = a->batch,
                                                          .limit_batches = a->limit_batches,
                                                          .visit = visit,
                                                          .user = &t},
                                   &e);
    *result = status ? NULL : result_json(n, a, metrics, &e, &t);
    if (!status && !a->json) {
        print_human(n, a, metrics, &e, &t);
    }
    tally_close(&t);
    return status;
}

/* --- an ONNX file ------------------------------------------------------------------------------------ */
static void print_latency(double ms, const char *engine) {
    printf("  latency %.3f ms for one sample, by %s\n", ms, engine);
}

/* The file beside a network of ours (own: NULL, alone); *result as of the network, or NULL. */
static nas_status evaluate_onnx(const cli_args *a, const cli_network *own, nas_dataset *data, json_t **result) {
    cli_onnx o;
    double ms[2] = {NAN, NAN};
    json_t *of_file = NULL;
    cli_network n = {.directory = (char *)(uintptr_t)a->onnx};
    nas_status status = cli_onnx_open(&o, a, data);
    n.model = o.model;
    n.transform = o.transform;
    n.config = o.config;
    status = status ? status : cli_onnx_latency(&o, own ? own->model : NULL, nas_dataset_describe(data), ms);
    if (!status && own && !a->json) {
        print_latency(ms[1], "espalier");
    }
    status = status ? status : evaluate(a, &n, data, &of_file);
    if (!status) {
        json_object_del(of_file, "run");
        json_object_set_new(of_file, "file", json_string(a->onnx));
        json_object_set_new(of_file, "engine", json_string(o.engine));
        json_object_set_new(of_file, "preprocessing", json_string(o.preprocessing));
        json_object_set_new(of_file, "latency_ms", json_real(ms[0]));
        if (!a->json) {
            print_latency(ms[0], o.engine);
            printf("  pixels normalised %s\n", o.preprocessing);
        }
        if (*result) {
            json_object_set_new(*result, "latency_ms", json_real(ms[1]));
            json_object_set_new(*result, "onnx", of_file);
        } else {
            *result = of_file;
        }
    }
    cli_onnx_close(&o);
    return status;
}

static nas_status evaluate_all(cli_args *a, const cli_network *n, nas_dataset *data) {
    json_t *result = NULL;
    nas_status status = n ? check_data(n, nas_dataset_describe(data), a->data) : NAS_OK;
    status = status || !n ? status : evaluate(a, n, data, &result);
    status = status || !a->onnx ? status : evaluate_onnx(a, n, data, &result);
    if (!status && a->json) {
        return cli_print_json(result);
    }
    json_decref(result);
    return status;
}

static nas_status check_options(const cli_args *a) {
    if (strcmp(a->split, "test") != 0 && strcmp(a->split, "train") != 0) {
        return nas__fail(NAS_USAGE, "--split: there are test and train, not \"%s\"", a->split);
    }
    if (a->n_names == 0 && !a->onnx) {
        return nas__fail(NAS_USAGE, "what is to be scored? espalier eval RUN, or espalier eval --onnx FILE --data D");
    }
    if (strcmp(a->backend, "espalier") != 0 && strcmp(a->backend, "onnxruntime") != 0) {
        return nas__fail(NAS_USAGE, "--backend: there are espalier and onnxruntime, not \"%s\"", a->backend);
    }
    if (a->onnxruntime && strcmp(a->backend, "onnxruntime") != 0) {
        return nas__fail(NAS_USAGE, "--onnxruntime is for --backend onnxruntime");
    }
    if (cli_given(a, "backend") && !a->onnx) {
        return nas__fail(NAS_USAGE, "--backend is for --onnx FILE");
    }
    if (a->onnxruntime && !a->onnx) {
        return nas__fail(NAS_USAGE, "--onnxruntime is for --onnx FILE");
    }
    return NAS_OK;
}

nas_status cli_eval(cli_args *a) {
    cli_network n = {0};
    bool own = a->n_names > 0;
    nas_status status = check_options(a);
    if (status) {
        return status;
    }
    status = own ? cli_network_open(&n, a->names[0]) : NAS_OK;
    status = status || !own ? status : cli_config_apply(a, n.config, "data data-dir", n.directory);
    a->data = a->data ? a->data : "fashion-mnist";
    nas_dataset *data = status ? NULL : cli_data_open(a, a->split);
    if (data) {
        evaluate_all(a, own ? &n : NULL, data);
    }
    nas_dataset_free(data);
    cli_network_close(&n);
    return nas_error_status();
}
