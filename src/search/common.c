/* common.c - what the passes of searches, retrainings and evaluations share. */
#include "search/trainer.h"

#include <math.h>

static bool has_classes(const nas_dataset *data) { return nas_dataset_describe(data)->classes > 0; }

nas_loss_fn nas__loss_for(nas_loss_fn given, const nas_dataset *data) {
    return given ? given : has_classes(data) ? nas_cross_entropy : nas_mse;
}

const nas_metric *nas__metrics_for(const nas_metric *given, const nas_dataset *data) {
    return given ? given : has_classes(data) ? nas_classification_metrics : nas_regression_metrics;
}

int nas__metric_count(const nas_metric *metrics) {
    int n = 0;
    while (n < NAS__MOST_METRICS && metrics[n].name) {
        n++;
    }
    return n;
}

double nas__metric_value(const nas_metric *metric, double mean) { return metric->finish ? metric->finish(mean) : mean; }

bool nas__checkpoint_due(const nas_checkpoints *c, int *unsaved, double last) {
    ++*unsaved;
    bool always = c->epochs <= 0 && !(c->minutes > 0);
    return always || (c->epochs > 0 && *unsaved >= c->epochs) ||
           (c->minutes > 0 && nas__now() - last >= 60 * c->minutes);
}

int nas__checkpoints_kept(const nas_checkpoints *c) { return c->keep > 0 ? c->keep : 2; }

nas_status nas__check_loss(double loss, int64_t step, int epoch, double lr) {
    return isfinite(loss)
               ? NAS_OK
               : nas__fail(
                     NAS_NUMERIC,
                     "the loss is %g in step %lld of epoch %d; lower the learning rate (now %g) or look at the data",
                     loss, (long long)step + 1, epoch + 1, lr);
}

nas_status nas__checked_step(nas_optimizer *o, double lr, double clip_norm, int64_t step, int epoch) {
    nas_status status = nas_optimizer_step(o, lr, clip_norm);
    if (status == NAS_NUMERIC) {
        nas__error_context("step %lld of epoch %d at learning rate %g", (long long)step + 1, epoch + 1, lr);
    }
    return status;
}

nas_status nas__weight_pass(nas_tape *tape, const nas_tape_config *pass, nas_module *model, nas_loss_fn loss,
                            const nas_batch *batch, const nas_dataset_info *info, double *value) {
    nas_tape_begin(tape, pass);
    nas_tensor *target = nas__batch_target(batch, info), *output = nas_forward(model, nas__batch_input(batch, info));
    nas_tensor *result = output ? loss(output, target) : NULL;
    *value = nas_tensor_item(result);
    if (result && isfinite(*value)) {
        nas_backward(result);
    }
    nas_tape_reset(tape);
    return nas_error_status();
}
