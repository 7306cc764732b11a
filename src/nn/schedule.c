/* schedule.c - the learning rate as a function of progress. */
#include <espalier/nn.h>

#include <math.h>

double nas_schedule_lr(const nas_schedule *s, double base_lr, double progress) {
    double p = progress < 0 ? 0 : progress > 1 ? 1 : progress;
    if (p < s->warmup) {
        return base_lr * p / s->warmup;
    }
    double q = s->warmup < 1 ? (p - s->warmup) / (1 - s->warmup) : 1; /* of what follows the warm-up */
    switch (s->kind) {
    case NAS_SCHEDULE_COSINE:
        return s->min_lr + (base_lr - s->min_lr) * (1 + cos(M_PI * q)) / 2;
    case NAS_SCHEDULE_LINEAR:
        return base_lr + (s->min_lr - base_lr) * q;
    case NAS_SCHEDULE_STEP: {
        int steps = s->steps > 0 ? s->steps : 3;
        double stage = fmin(floor(q * steps), steps - 1);
        return base_lr * pow(s->gamma > 0 ? s->gamma : 0.1, stage);
    }
    case NAS_SCHEDULE_CONSTANT:
    default:
        return base_lr;
    }
}
