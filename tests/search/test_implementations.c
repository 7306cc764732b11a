/* No step of a search may run a reference implementation of oneDNN, nor a convolution that is lowered to a matrix
 * product: each is slower by an order of magnitude or more. Every strategy takes a step of every built-in space that it
 * accepts, for each instruction set with which oneDNN has something better. labels: slow */
#include "support.h"

#include <espalier/search.h>

#include "kernels/kernel_tables.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "search/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES = 40, CLASSES = 10, BATCH = 4 };

/* --- which names are slow ------------------------------------------------------------------------ */
static bool is_slow(const char *name) {
    const char *gemm = strstr(name, "gemm"); /* "brgemm" is a fast direct convolution */
    return strstr(name, "ref") || (gemm && !(gemm - name >= 2 && memcmp(gemm - 2, "br", 2) == 0));
}

static void names_are_told_apart(void **state) {
    (void)state;
    assert_true(is_slow("conv_bwd_weights ref:any"));
    assert_true(is_slow("conv_fwd gemm:jit"));
    assert_true(is_slow("conv_fwd jit_1x1:gemm"));
    assert_true(is_slow("matmul ref:any"));
    assert_true(is_slow("matmul gemm:jit"));
    assert_false(is_slow("matmul brg:avx512_core"));
    assert_false(is_slow("conv_fwd brgconv:avx512_core"));
    assert_false(is_slow("conv_fwd brgemm:avx512_core"));
    assert_false(is_slow("conv_fwd jit:avx2"));
}

/* --- the steps ----------------------------------------------------------------------------------- */
typedef struct work {
    const char *space, *strategy, *options;
    int image_channels, side, channels;
} work;

typedef struct exception {
    const char *name, *isa; /* how the name begins; isa NULL: any */
    int image_channels;     /* 0: any */
    int most;               /* plans of a step */
    const char *reason;
} exception;
static const exception exceptions[] = {
    {"matmul gemm:jit", NULL, 0, 1000, "a product of matrices is one, and this is the tuned one"},
    {"conv_fwd x64:gemm:jit", "avx2", 1, 1,
     "the stem of grey images, whose weight gradient has no other implementation"},
    {"conv_bwd_weights x64:gemm:jit", "avx2", 1, 1, "that gradient: 9 multiply-adds per value of the stem"},
};
enum { EXCEPTIONS = sizeof exceptions / sizeof *exceptions };

typedef struct seen {
    const work *work;
    int plans, convolutions, slow, excused[EXCEPTIONS];
} seen;

static bool excuse(seen *s, const char *name) {
    for (int i = 0; i < EXCEPTIONS; i++) {
        const exception *e = &exceptions[i];
        if (strncmp(name, e->name, strlen(e->name)) == 0 &&
            (!e->isa || strcmp(e->isa, nas__kernel_table()->isa) == 0) &&
            (!e->image_channels || e->image_channels == s->work->image_channels)) {
            return ++s->excused[i] <= e->most;
        }
    }
    return false;
}

static void look(const char *name, void *user) {
    seen *s = user;
    s->plans++;
    s->convolutions += strncmp(name, "conv", 4) == 0;
    if (is_slow(name) && !excuse(s, name)) {
        s->slow++;
        const work *w = s->work;
        fprintf(stderr, "%s on %s, %dx%dx%d, %d channels, %s: %s\n", w->strategy, w->space, w->image_channels, w->side,
                w->side, w->channels, nas__kernel_table()->isa, name);
    }
}

/* Small in depth; of darts three cells, of which two reduce. What nodes a cell has more repeats their shapes. */
static nas_module *build(const work *w) {
    const nas_space_info *info = nas_space_info_find(w->space);
    void *options = info ? calloc(1, info->options_size) : NULL;
    char channels[16];
    snprintf(channels, sizeof channels, "%d", w->channels);
    const nas_option *width = info ? nas_options_find(info->options, "channels") : NULL;
    const char *narrow = width && width->type == NAS_OPTION_INT ? "channels" : "stem"; /* shufflenet's is a word */
    if (!options || nas_options_default(info->options, options) ||
        nas_options_set(info->options, options, narrow, channels)) {
        free(options);
        return NULL;
    }
    static const char *const depth[][3] = {
        {"bender", "stages", "2"},       {"bender", "cells", "1"},          {"bender", "blocks", "2"},
        {"darts", "layers", "3"},        {"darts", "nodes", "2"},           {"nb201", "cells", "1"},
        {"nasnet", "layers", "3"},       {"nasnet", "nodes", "2"},          {"enas-micro", "layers", "3"},
        {"enas-micro", "nodes", "2"},    {"enas-macro", "layers", "5"},     {"chain", "layers", "4"},
        {"superkernel", "blocks", "2"},  {"mobilenet", "depths", "1-2-2"},  {"mobilenet", "last", "100"},
        {"fbnet", "depths", "1-2-2"},    {"fbnet", "last", "100"},          {"mobilenetv3", "depths", "2-3"},
        {"mobilenetv3", "last", "100"},  {"mobilenetv3", "kernels", "3-7"}, {"mobilenetv3", "expansions", "3"},
        {"shufflenet", "depths", "2-2"}, {"shufflenet", "last", "100"}};
    for (size_t i = 0; i < sizeof depth / sizeof *depth; i++) {
        if (strcmp(depth[i][0], w->space) == 0) {
            nas_options_set(info->options, options, depth[i][1], depth[i][2]);
        }
    }
    nas_module *model = nas_space_build(w->space, &(nas_space_config){.channels = w->image_channels,
                                                                      .height = w->side,
                                                                      .width = w->side,
                                                                      .outputs = CLASSES,
                                                                      .options = options});
    free(options);
    return model;
}

static nas_dataset *images(const work *w, uint64_t seed) {
    float *x = random_floats(seed, (size_t)SAMPLES * w->image_channels * w->side * w->side), y[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        y[i] = (float)(i % CLASSES);
    }
    nas_dataset *d =
        nas_dataset_from_arrays(SAMPLES, 3, (int64_t[]){w->image_channels, w->side, w->side}, x, 1, y, CLASSES);
    free(x);
    return d;
}

/* One step, with the scoring of what is derived from it. */
static nas_status search(const work *w) {
    nas_dataset *train = images(w, 1), *valid = images(w, 2);
    nas_trainer_config config = {.model = build(w),
                                 .space_name = w->space,
                                 .strategy = w->strategy,
                                 .options = w->options,
                                 .batch_size = BATCH,
                                 .num_epochs = 1,
                                 .dataset_train = train,
                                 .dataset_valid = valid,
                                 .log_frequency = NAS_NONE,
                                 .threads = 2,
                                 .limit_batches = 1,
                                 .score_steps = 1};
    nas_trainer *trainer = config.model ? nas_trainer_new(&config) : NULL;
    nas_status status = trainer ? nas_trainer_train(trainer) : nas_error_status();
    nas_trainer_free(trainer);
    nas_free(config.model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
    return status;
}

/* The stem's forward pass and the gradient of its weights: all other convolutions may be of our own kernels. */
enum { FEWEST_CONVOLUTIONS = 2 };

/* What one child process does; its exit status. */
static int one_step(const work *w, const char *isa) {
    seen s = {.work = w};
    setenv("ESPALIER_ISA", isa, 1);
    if (search(w)) {
        fprintf(stderr, "%s on %s: %s\n", w->strategy, w->space, nas_error_message());
        return 1;
    }
    nas__onednn_implementations(look, &s);
    if (s.convolutions < FEWEST_CONVOLUTIONS || strcmp(nas__kernel_table()->isa, isa) != 0) {
        fprintf(stderr, "%s on %s, %s: %d plans, %d of them convolutions: nothing was looked at\n", w->strategy,
                w->space, isa, s.plans, s.convolutions);
        return 1;
    }
    return s.slow > 0;
}

/* The instruction set is chosen once per process, and plans are kept: every step has a process of its own. */
static void in_a_process(const work *w, const char *isa) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(one_step(w, isa));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0) {
        fail_msg("%s on %s with %s: see above (status %d)", w->strategy, w->space, isa, status);
    }
}

/* DARTS in second order has the passes of first order, too.
 * With SSE alone ("generic") oneDNN has no fast backward passes: nothing better could be chosen. With fewer channels
 * than a block has, oneDNN 2.6 has none for AVX-512. */
static void no_step_is_slow(const char *space, const int channels[2]) {
    static const struct {
        const char *name, *options;
    } how[] = {{"darts", "order=2"},
               {"enas", "controller_steps=1,samples=2,final_samples=2"},
               {"gdas", "hard=0"},
               {"fbnet", "final_samples=1"},
               {"proxyless", "warmup_epochs=0,alpha_period=1"},
               {"single-path", "warmup=0"}};
    static const int image[][2] = {{1, 28}, {3, 32}};
    const nas__kernels *tables[3];
    int n = nas__usable_kernel_tables(tables);
    enum { HOW = sizeof how / sizeof *how };
    for (int i = 0; i < n * 4 * HOW; i++) {
        const char *isa = tables[i / (4 * HOW)]->isa;
        const int *size = image[i / (2 * HOW) % 2];
        work w = {space, how[i % HOW].name, how[i % HOW].options, size[0], size[1], channels[i / HOW % 2]};
        bool is_enas = strcmp(w.strategy, "enas") == 0, thresholds = strcmp(w.strategy, "single-path") == 0;
        bool refused = !is_enas && thresholds != (strcmp(space, "superkernel") == 0);
        if (strcmp(isa, "generic") != 0 && !refused) {
            in_a_process(&w, isa);
        }
    }
}

static void darts(void **state) {
    (void)state;
    no_step_is_slow("darts", (const int[]){16, 18}); /* they must be even */
}

/* All thirteen operations, of which those of amoebanet and pnas are some. */
static void nasnet(void **state) {
    (void)state;
    no_step_is_slow("nasnet", (const int[]){16, 18});
}

static void enas_macro(void **state) {
    (void)state;
    no_step_is_slow("enas-macro", (const int[]){16, 18});
}

static void enas_micro(void **state) {
    (void)state;
    no_step_is_slow("enas-micro", (const int[]){16, 18});
}

static void nb201(void **state) {
    (void)state;
    no_step_is_slow("nb201", (const int[]){16, 17});
}

static void mobilenet(void **state) {
    (void)state;
    no_step_is_slow("mobilenet", (const int[]){16, 17});
}

static void mobilenetv3(void **state) {
    (void)state;
    no_step_is_slow("mobilenetv3", (const int[]){16, 17});
}

static void shufflenet(void **state) {
    (void)state;
    no_step_is_slow("shufflenet", (const int[]){16, 17});
}

static void macro(void **state) {
    (void)state;
    no_step_is_slow("macro", (const int[]){16, 17});
}

static void fbnet(void **state) {
    (void)state;
    no_step_is_slow("fbnet", (const int[]){16, 18}); /* two groups */
}

static void bender(void **state) {
    (void)state;
    no_step_is_slow("bender", (const int[]){16, 17});
}

static void chain(void **state) {
    (void)state;
    no_step_is_slow("chain", (const int[]){16, 17});
}

static void superkernel(void **state) {
    (void)state;
    no_step_is_slow("superkernel", (const int[]){32, 18});
}

/* A strategy or a space that comes later has to be looked at, too. */
static void all_are_looked_at(void **state) {
    (void)state;
    for (const nas_space_info *const *space = nas_spaces(); *space; space++) {
        assert_non_null(strstr(
            "darts nb201 chain superkernel mobilenet fbnet mobilenetv3 shufflenet macro nasnet amoebanet pnas signal1d "
            "enas-macro enas-micro smash bender",
            (*space)->name));
    }
    for (const nas_strategy *const *strategy = nas__strategies; *strategy; strategy++) {
        bool by_trials = (*strategy)->conclude != NULL; /* their passes are those of paths, which enas has, too */
        assert_true(by_trials || strstr("darts enas gdas fbnet proxyless single-path", (*strategy)->name));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(all_are_looked_at),
        cmocka_unit_test(bender),
        cmocka_unit_test(chain),
        cmocka_unit_test(nb201),
        cmocka_unit_test(darts),
        cmocka_unit_test(nasnet),
        cmocka_unit_test(enas_macro),
        cmocka_unit_test(enas_micro),
        cmocka_unit_test(superkernel),
        cmocka_unit_test(mobilenet),
        cmocka_unit_test(fbnet),
        cmocka_unit_test(mobilenetv3),
        cmocka_unit_test(shufflenet),
        cmocka_unit_test(macro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
