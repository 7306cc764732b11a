/* evaluate.c - one pass over a data set, as the finished network would see it. */
#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>

typedef struct totals {
    double loss, metrics[NAS__MOST_METRICS];
    int n_metrics;
} totals;

static nas_status add_batch(const nas_evaluate_config *c, const nas_metric *metrics, nas_loss_fn loss, nas_tape *tape,
                            const nas_batch *batch, totals *sum) {
    const nas_dataset_info *info = nas_dataset_describe(c->data);
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *target = nas__batch_target(batch, info), *output = nas_forward(c->model, nas__batch_input(batch, info));
    nas_tensor *value = output ? loss(output, target) : NULL;
    if (value) {
        sum->loss += nas_tensor_item(value) * (double)batch->n;
        for (int i = 0; i < sum->n_metrics; i++) {
            sum->metrics[i] += metrics[i].measure(output, target) * (double)batch->n;
        }
        if (c->visit) {
            c->visit(output, target, c->user);
        }
    }
    nas_tape_reset(tape);
    return nas_error_status();
}

static void finish(const nas_metric *metrics, const totals *sum, int64_t images, nas_evaluation *result) {
    result->images = images;
    result->loss = sum->loss / (double)images;
    for (int i = 0; i < sum->n_metrics; i++) {
        result->metrics[i] = nas__metric_value(&metrics[i], sum->metrics[i] / (double)images);
    }
}

nas_status nas_evaluate(const nas_evaluate_config *c, nas_evaluation *result) {
    if (!c->model || !c->data) {
        return nas__fail(NAS_INVALID, "nas_evaluate: .model and .data are required");
    }
    const nas_dataset_info *info = nas_dataset_describe(c->data);
    const nas_metric *metrics = nas__metrics_for(c->metrics, c->data);
    nas_loss_fn loss = nas__loss_for(c->loss, c->data);
    nas_transform transform = c->transform ? *c->transform : nas_transform_default(c->data, false);
    int64_t size = c->batch_size > 0 ? c->batch_size : 256;
    nas_loader *loader = nas_loader_new(&(nas_loader_config){.data = c->data,
                                                             .batch_size = size < info->size ? size : info->size,
                                                             .transform = transform,
                                                             .limit = c->limit_batches});
    nas_tape *tape = nas_tape_new();
    totals sum = {.n_metrics = nas__metric_count(metrics)};
    double start = nas__now();
    int64_t images = 0;
    nas_status status = nas_error_status();
    for (const nas_batch *batch; !status && (batch = nas_loader_next(loader));) {
        images += batch->n;
        status = add_batch(c, metrics, loss, tape, batch, &sum);
    }
    *result = (nas_evaluation){.seconds = nas__now() - start};
    if (!nas_error_status() && images > 0) {
        finish(metrics, &sum, images, result);
    }
    nas_tape_free(tape);
    nas_loader_free(loader);
    return nas_error_status();
}
