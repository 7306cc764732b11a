/* labels: slow
 * ONNX files: what they compute, by a second implementation and by onnxruntime; what they say; what cannot be one. */
#include "in_directory.h"
#include "io/exported.h"
#include "io/onnx_run.h"

#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("network.onnx");
}

static void write_network(const exported *e) {
    if (nas_export_onnx(e->model, &e->config, path)) {
        fail_msg("%s: %s", e->config.space, nas_error_message());
    }
}

/* The file that is there computes what the network does. */
static void agree(const exported *e, const Onnx__ModelProto *model, const char *what) {
    enum { SAMPLES = 2 };
    int64_t outputs = SAMPLES * exported_outputs(e);
    float *x = random_floats(5, (size_t)(SAMPLES * exported_inputs(e))), *y = nas__alloc((size_t)outputs * sizeof *y),
          *other = nas__alloc((size_t)outputs * sizeof *y);
    exported_forward(e, SAMPLES, x, y);
    onnx_run(model, SAMPLES, x, other, outputs);
    assert_floats_near(other, y, (size_t)outputs, 1e-4, what);
    free(x);
    free(y);
    free(other);
}

static void every_space_agrees(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        for (uint64_t seed = 0; seed < 2; seed++) {
            exported e = exported_space((*info)->name, seed);
            write_network(&e);
            Onnx__ModelProto *kept = onnx_read(path);
            agree(&e, kept, (*info)->name);
            assert_int_equal(nas_fold_batch_norm(e.model, NULL), NAS_OK);
            write_network(&e);
            Onnx__ModelProto *folded = onnx_read(path);
            agree(&e, folded, (*info)->name);
            int before = onnx_count(kept, "BatchNormalization"), after = onnx_count(folded, "BatchNormalization");
            assert_true(after < before || before == 0);
            onnx__model_proto__free_unpacked(kept, NULL);
            onnx__model_proto__free_unpacked(folded, NULL);
            exported_free(&e);
        }
    }
}

static void every_operation_agrees(void **state) {
    (void)state;
    exported e = exported_operations();
    write_network(&e);
    Onnx__ModelProto *model = onnx_read(path);
    agree(&e, model, "operations");
    onnx__model_proto__free_unpacked(model, NULL);
    exported_free(&e);
}

/* --- what it says ---------------------------------------------------------------------------------------- */
static void it_says_what_it_is(void **state) {
    (void)state;
    exported e = exported_space("chain", 1);
    e.config.n_classes = 2;
    e.config.class_names = (const char *const[]){"cat", "a \"dog\""};
    e.config.scale = 0.25f;
    for (int c = 0; c < 3; c++) {
        e.config.mean[c] = 0.5f;
        e.config.std[c] = 0.125f;
    }
    write_network(&e);
    Onnx__ModelProto *m = onnx_read(path);
    assert_int_equal(m->opset_import[0]->version, 13);
    assert_string_equal(m->producer_name, "espalier");
    assert_string_equal(m->producer_version, nas_version());
    assert_string_equal(onnx_metadata(m, "architecture"), e.architecture);
    assert_string_equal(onnx_metadata(m, "space"), "chain");
    assert_string_equal(onnx_metadata(m, "classes"), "[\"cat\",\"a \\\"dog\\\"\"]");
    assert_string_equal(onnx_metadata(m, "preprocessing"),
                        "{\"scale\":0.25,\"mean\":[0.5,0.5,0.5],\"std\":[0.125,0.125,0.125]}");
    const Onnx__TensorShapeProto *in = m->graph->input[0]->type->tensor_type->shape;
    assert_int_equal(in->n_dim, 4);
    assert_string_equal(in->dim[0]->dim_param, "batch");
    assert_int_equal(in->dim[1]->dim_value, 3);
    const Onnx__TensorShapeProto *out = m->graph->output[0]->type->tensor_type->shape;
    assert_int_equal(out->n_dim, 2);
    assert_int_equal(out->dim[1]->dim_value, 7);
    onnx__model_proto__free_unpacked(m, NULL);
    exported_free(&e);
}

static void constants_have_the_weights_names(void **state) {
    (void)state;
    exported e = exported_operations();
    write_network(&e);
    Onnx__ModelProto *m = onnx_read(path);
    int found = 0;
    for (size_t i = 0; i < m->graph->n_initializer; i++) {
        const char *name = m->graph->initializer[i]->name;
        found += !strcmp(name, "conv.weight") + !strcmp(name, "grouped.bias") + !strcmp(name, "norm.running_mean");
    }
    assert_int_equal(found, 3);
    onnx__model_proto__free_unpacked(m, NULL);
    exported_free(&e);
}

static void it_normalises_itself(void **state) {
    (void)state;
    enum { SAMPLES = 2 };
    exported e = exported_space("nb201", 3);
    int64_t inputs = exported_inputs(&e), outputs = SAMPLES * exported_outputs(&e);
    float *pixels = random_floats(8, (size_t)(SAMPLES * inputs)),
          *x = nas__alloc((size_t)(SAMPLES * inputs) * sizeof *x), y[2][64];
    e.config.normalise = true;
    e.config.scale = 1 / 255.0f;
    for (int c = 0; c < 3; c++) {
        e.config.mean[c] = 0.3f + 0.1f * (float)c;
        e.config.std[c] = 0.2f + 0.1f * (float)c;
    }
    for (int64_t i = 0; i < SAMPLES * inputs; i++) {
        int64_t c = i / (inputs / 3) % 3;
        pixels[i] = floorf(128 + 127 * pixels[i]);
        x[i] = (pixels[i] / 255 - e.config.mean[c]) / e.config.std[c];
    }
    write_network(&e);
    Onnx__ModelProto *m = onnx_read(path);
    exported_forward(&e, SAMPLES, x, y[0]);
    onnx_run(m, SAMPLES, pixels, y[1], outputs);
    assert_floats_near(y[1], y[0], (size_t)outputs, 1e-4, "normalised inside");
    assert_null(onnx_metadata(m, "preprocessing"));
    assert_non_null(onnx_metadata(m, "preprocessing_inside"));
    onnx__model_proto__free_unpacked(m, NULL);
    e.config.std[1] = 0;
    assert_int_equal(nas_export_onnx(e.model, &e.config, path), NAS_INVALID);
    assert_error(NAS_INVALID, ".std");
    free(pixels);
    free(x);
    exported_free(&e);
}

/* --- what cannot be exported ------------------------------------------------------------------------------- */
static nas_tensor *exponential(nas_module *self, nas_tensor *x) {
    (void)self;
    return nas_exp(x);
}

static nas_tensor *mean_of_batch(nas_module *self, nas_tensor *x) {
    (void)self;
    return nas_mean_dim(x, 0);
}

static nas_tensor *noise(nas_module *self, nas_tensor *x) {
    (void)self;
    return nas_add(x, nas_input(NAS_DIMS(3, 4), NULL));
}

static void refuse(nas_module *model, const nas_export_config *config, nas_status status, const char *part) {
    assert_int_equal(nas_export_onnx(model, config, path), status);
    assert_error(status, part);
    FILE *f = fopen(path, "r");
    assert_null(f);
    nas_module_free(model);
}

static void what_cannot_be_exported_is_named(void **state) {
    (void)state;
    const nas_export_config row = {.ndim = 1, .dims = {4}}, image = {.ndim = 3, .dims = {1, 28, 28}};
    refuse(nas_module_new(nas_module, exponential), &row, NAS_UNSUPPORTED, "nas_exp");
    refuse(nas_module_new(nas_module, mean_of_batch), &row, NAS_UNSUPPORTED, "nas_mean_dim");
    refuse(nas_module_new(nas_module, noise), &row, NAS_UNSUPPORTED, "neither its input nor its weights");
    nas_space_config c = {1, 28, 28, 10, NULL};
    refuse(nas_space_build("chain", &c), &image, NAS_USAGE, "the choice \"skip\" is open");
    refuse(nas_conv(.in = 2, .out = 3, .kernel = 3), &image, NAS_SHAPE, "nas_conv2d");
}

static void a_place_that_cannot_be_written(void **state) {
    (void)state;
    exported e = exported_operations();
    assert_int_equal(nas_export_onnx(e.model, &e.config, "/nowhere/at/all.onnx"), NAS_IO);
    assert_error(NAS_IO, "/nowhere/at/all.onnx");
    exported_free(&e);
}

/* --- onnxruntime ----------------------------------------------------------------------------------------- */
static void write_floats(const char *name, const char *end, const float *x, int64_t count) {
    char file[512];
    snprintf(file, sizeof file, "%s/%s.%s", directory, name, end);
    FILE *f = fopen(file, "wb");
    assert_int_equal(fwrite(x, sizeof *x, (size_t)count, f), count);
    fclose(f);
}

static void write_case(const exported *e, const char *name) {
    enum { SAMPLES = 100 };
    char file[512];
    int64_t inputs = SAMPLES * exported_inputs(e), outputs = SAMPLES * exported_outputs(e);
    float *x = random_floats(6, (size_t)inputs), *y = nas__alloc((size_t)outputs * sizeof *y);
    exported_forward(e, SAMPLES, x, y);
    snprintf(file, sizeof file, "%s/%s.onnx", directory, name);
    assert_int_equal(nas_export_onnx(e->model, &e->config, file), NAS_OK);
    write_floats(name, "x", x, inputs);
    write_floats(name, "y", y, outputs);
    free(x);
    free(y);
}

static void onnxruntime_agrees(void **state) {
    (void)state;
    const char *given = getenv("ESPALIER_PEER_PYTHON"), *python = given ? given : "python3";
    char command[1024], name[64];
    snprintf(command, sizeof command, "'%s' -c 'import onnx, onnxruntime' 2>/dev/null", python);
    if (system(command)) {
        if (given) {
            fail_msg("ESPALIER_PEER_PYTHON=%s has no onnx and onnxruntime", given);
        }
        print_message("skipped: no python3 with onnx and onnxruntime (ESPALIER_PEER_PYTHON)\n");
        skip();
    }
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        for (uint64_t seed = 0; seed < 2; seed++) {
            exported e = exported_space((*info)->name, seed);
            if (seed == 1) {
                assert_int_equal(nas_fold_batch_norm(e.model, NULL), NAS_OK);
            }
            snprintf(name, sizeof name, "%s-%d%s", (*info)->name, (int)seed, seed == 1 ? "-folded" : "");
            write_case(&e, name);
            exported_free(&e);
        }
    }
    exported e = exported_operations();
    write_case(&e, "operations");
    exported_free(&e);
    snprintf(command, sizeof command, "'%s' tests/io/check_onnx.py '%s'", python, directory);
    assert_int_equal(system(command), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(every_space_agrees),
        CASE(every_operation_agrees),
        CASE(it_says_what_it_is),
        CASE(constants_have_the_weights_names),
        CASE(it_normalises_itself),
        CASE(what_cannot_be_exported_is_named),
        CASE(a_place_that_cannot_be_written),
        CASE(onnxruntime_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
