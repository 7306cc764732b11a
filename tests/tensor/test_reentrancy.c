/* Several threads compute at once, each on its own tape with its own parameters: each gets the very bits that it gets
 * alone, and keeps its errors to itself. labels: threads */
#include "support.h"

#include <espalier/ops.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 4, STEPS = 6, BATCH = 3, CHANNELS = 17, SIDE = 9, CLASSES = 5 };
enum { DEPTHWISE = CHANNELS * 5 * 5, HEAD = CLASSES * CHANNELS, RESULT = 1 + DEPTHWISE + HEAD };

typedef struct job {
    pthread_t thread;
    uint64_t seed;
    float result[RESULT]; /* the last loss and the summed gradients */
    bool ok;
} job;

static nas_tensor *parameter(int ndim, const int64_t *dims, uint64_t seed) {
    nas_tensor *t = nas_variable(ndim, dims, NAS_ROLE_WEIGHT);
    float *values = random_floats(seed, (size_t)nas_tensor_count(t));
    nas_tensor_write(t, values);
    free(values);
    return t;
}

/* A few steps of a small network: our own depthwise kernels, oneDNN's products, a loss; and an error on the way. */
static void *compute(void *argument) {
    job *j = argument;
    nas_tensor *depthwise = parameter(NAS_DIMS(CHANNELS, 1, 5, 5), j->seed);
    nas_tensor *head = parameter(NAS_DIMS(CLASSES, CHANNELS), j->seed + 1);
    float *images = random_floats(j->seed + 2, BATCH * CHANNELS * SIDE * SIDE);
    const float classes[BATCH] = {0, 3, (float)(j->seed % CLASSES)};
    nas_tape *tape = nas_tape_new();
    j->ok = true;
    for (uint64_t step = 0; step < STEPS; step++) {
        nas_tape_begin(tape,
                       &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .training = true, .seed = j->seed, .step = step});
        nas_tensor *x = nas_input(NAS_DIMS(BATCH, CHANNELS, SIDE, SIDE), images);
        nas_conv_args args = {.padding = NAS_SAME, .dilation = 1 + (int)(step % 2), .groups = CHANNELS};
        nas_tensor *y = nas_dropout(nas_global_avg_pool(nas_relu(nas_conv2d(x, depthwise, NULL, args))), 0.25);
        nas_tensor *loss = nas_cross_entropy(nas_linear(y, head, NULL), nas_input(NAS_DIMS(BATCH), classes));
        nas_retain(loss);
        j->ok &= nas_backward(loss) == NAS_OK;
        j->result[0] = nas_tensor_item(loss);
        j->ok &= !nas_linear(x, head, NULL) && *nas_error_message();
        nas_error_clear();
    }
    j->ok &= !nas_tensor_read_grad(depthwise, j->result + 1) && !nas_tensor_read_grad(head, j->result + 1 + DEPTHWISE);
    nas_tape_free(tape);
    nas_tensor_free(depthwise);
    nas_tensor_free(head);
    free(images);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state) {
    (void)state;
    static job alone[N_THREADS], together[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        alone[i].seed = together[i].seed = 100 + 10 * (uint64_t)i;
        compute(&alone[i]);
        assert_true(alone[i].ok);
        assert_true(alone[i].result[0] > 0);
    }
    assert_memory_not_equal(alone[0].result, alone[1].result, sizeof alone[0].result);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&together[i].thread, NULL, compute, &together[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(together[i].thread, NULL);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_true(together[i].ok);
        assert_memory_equal(alone[i].result, together[i].result, sizeof alone[i].result);
    }
}

static void errors_belong_to_their_thread(void **state) {
    (void)state;
    nas_error_clear();
    static job other = {.seed = 7};
    pthread_create(&other.thread, NULL, compute, &other);
    pthread_join(other.thread, NULL);
    assert_true(other.ok);
    assert_no_error();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_disturb_each_other),
        cmocka_unit_test(errors_belong_to_their_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
