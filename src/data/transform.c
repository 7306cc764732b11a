/* transform.c - normalisation and augmentation, fused with the conversion from bytes: one pass over each image. */
#include "data/transform.h"
#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEASURED = 4096,             /* samples that constants are measured on, */
    MEASURED_BY_FUNCTION = 256,  /* fewer when each must be produced, */
    MEASURED_ELEMENTS = 1 << 26, /* and fewer when they are large */
};

bool nas__is_image(const nas_dataset_info *info) { return info->ndim == 3 && info->dims[0] <= 4; }

/* --- constants ---------------------------------------------------------------------------------- */
int64_t nas__measured_samples(const nas_dataset_info *info, int64_t n) {
    int64_t fit = MEASURED_ELEMENTS / nas__sample_count(info);
    fit = fit < 1 ? 1 : fit > MEASURED ? MEASURED : fit;
    return n < fit ? n : fit;
}

typedef struct moments {
    double sum[4], squares[4];
} moments;

static void add_bytes(moments *m, const uint8_t *x, int64_t channels, int64_t area) {
    for (int64_t c = 0; c < channels; c++) {
        uint64_t sum = 0, squares = 0; /* whole numbers: exact */
        for (int64_t i = 0; i < area; i++) {
            uint32_t v = x[c * area + i];
            sum += v;
            squares += v * v;
        }
        m->sum[c] += (double)sum / 255;
        m->squares[c] += (double)squares / (255.0 * 255);
    }
}

static void add_floats(moments *m, const float *x, int64_t channels, int64_t area) {
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t i = 0; i < area; i++) {
            double v = x[c * area + i];
            m->sum[c] += v;
            m->squares[c] += v * v;
        }
    }
}

static void set_constants(nas_transform *t, const moments *m, int64_t channels, double count) {
    for (int64_t c = 0; c < channels; c++) {
        double mean = m->sum[c] / count, variance = m->squares[c] / count - mean * mean;
        t->mean[c] = (float)mean;
        t->std[c] = variance > 1e-10 ? (float)sqrt(variance) : 1; /* a channel of one value is only shifted */
    }
}

static void no_constants(nas_transform *t) {
    for (int c = 0; c < 4; c++) {
        t->mean[c] = 0;
        t->std[c] = 1;
    }
}

void nas__transform_measure(nas_dataset *d, int64_t n, const int32_t *indices) {
    no_constants(&d->transform);
    if (!nas__is_image(&d->info) || n < 1) {
        return;
    }
    int64_t channels = d->info.dims[0], area = d->info.dims[1] * d->info.dims[2],
            size = nas__measured_samples(&d->info, n);
    moments m = {0};
    for (int64_t i = 0; i < size; i++) {
        int64_t k = i * n / size, at = (indices ? indices[k] : k) * channels * area;
        if (d->bytes) {
            add_bytes(&m, d->bytes + at, channels, area);
        } else {
            add_floats(&m, d->floats + at, channels, area);
        }
    }
    set_constants(&d->transform, &m, channels, (double)size * (double)area);
}

/* The same through the function of a root. */
static void measure_by_function(const nas_dataset *d, nas_transform *t) {
    no_constants(t);
    int64_t channels = d->info.dims[0], area = d->info.dims[1] * d->info.dims[2];
    int64_t n = d->info.size, size = n < MEASURED_BY_FUNCTION ? n : MEASURED_BY_FUNCTION;
    float *x = nas__alloc((size_t)(channels * area) * sizeof *x);
    moments m = {0};
    for (int64_t i = 0; x && i < size; i++) {
        if (nas_dataset_read(d, i * n / size, x, NULL)) {
            free(x);
            return;
        }
        add_floats(&m, x, channels, area);
    }
    if (x) {
        set_constants(t, &m, channels, (double)size * (double)area);
    }
    free(x);
}

void nas__transform_prepare(nas_dataset *d) {
    const nas_dataset_info *info = &d->info;
    nas_transform *t = &d->transform;
    if (t->std[0] == 0 && !nas__is_image(info)) {
        no_constants(t);
    } else if (t->std[0] == 0 && !d->read) { /* a function is not called before somebody asks */
        nas__transform_measure(d, info->size, NULL);
    }
    bool cifar_like = info->ndim == 3 && info->dims[0] == 3 && info->dims[1] == 32 && info->dims[2] == 32;
    if (cifar_like) {
        t->crop_padding = 4;
        t->flip = true;
    }
}

nas_transform nas_transform_default(const nas_dataset *d, bool training) {
    nas_transform t = {0};
    if (!d) {
        nas__fail(NAS_INVALID, "nas_transform_default: no data set");
        return t;
    }
    const nas_dataset *root = nas__dataset_root(d);
    t = root->transform;
    if (t.std[0] == 0) {
        measure_by_function(root, &t);
    }
    if (!training) {
        t.crop_padding = 0;
        t.flip = false;
    }
    return t;
}

nas_status nas__transform_check(const nas_transform *t, const nas_dataset_info *info) {
    for (int64_t c = 0; c < (nas__is_image(info) ? info->dims[0] : 1); c++) {
        if (!(t->std[c] > 0) || !isfinite(t->std[c]) || !isfinite(t->mean[c])) {
            return nas__fail(NAS_INVALID, "%s: transform of channel %d: mean %g, std %g; std must be above 0",
                             info->name, (int)c, (double)t->mean[c], (double)t->std[c]);
        }
    }
    if (t->crop_padding < 0 || t->cutout < 0) {
        return nas__fail(NAS_INVALID, "%s: crop_padding %d, cutout %d; neither can be negative", info->name,
                         t->crop_padding, t->cutout);
    }
    if ((t->crop_padding || t->flip || t->cutout) && info->ndim != 3) {
        return nas__fail(NAS_INVALID,
                         "%s: crop, flip and cutout need images (C, H, W), and samples have %d dimension%s", info->name,
                         info->ndim, info->ndim > 1 ? "s" : "");
    }
    if (info->ndim == 3 && (t->crop_padding >= info->dims[1] || t->crop_padding >= info->dims[2])) {
        return nas__fail(NAS_INVALID, "%s: crop_padding %d is not less than the image's %lldx%lld", info->name,
                         t->crop_padding, (long long)info->dims[1], (long long)info->dims[2]);
    }
    return NAS_OK;
}

/* --- one sample --------------------------------------------------------------------------------- */
/* One of the two; the fused multiply and add vectorises for both. */
typedef struct pixels {
    const uint8_t *bytes;
    const float *floats;
} pixels;

static void scale_row(pixels in, int64_t at, float *out, int64_t n, float factor, float shift) {
    if (in.bytes) {
        const uint8_t *restrict from = in.bytes + at;
        float *restrict to = out;
        for (int64_t i = 0; i < n; i++) {
            to[i] = (float)from[i] * factor + shift;
        }
    } else {
        const float *from = in.floats + at; /* may be `out` itself */
        for (int64_t i = 0; i < n; i++) {
            out[i] = from[i] * factor + shift;
        }
    }
}

static void fill(float *out, int64_t n, float value) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = value;
    }
}

static void reverse(float *row, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        float v = row[i];
        row[i] = row[n - 1 - i];
        row[n - 1 - i] = v;
    }
}

/* What was drawn for one image. */
typedef struct augmentation {
    int64_t down, right; /* where the crop starts, -padding .. padding */
    bool flip;
    int64_t top, bottom, left, end; /* the cut-out rectangle */
} augmentation;

static int64_t clip(int64_t v, int64_t high) { return v < 0 ? 0 : v > high ? high : v; }

static augmentation draw(const nas_transform *t, int64_t height, int64_t width, nas_rng *rng) {
    augmentation a = {0};
    if (t->crop_padding) {
        uint32_t places = 2 * (uint32_t)t->crop_padding + 1;
        a.down = (int64_t)nas_rng_below(rng, places) - t->crop_padding;
        a.right = (int64_t)nas_rng_below(rng, places) - t->crop_padding;
    }
    if (t->flip) {
        a.flip = nas_rng_u32(rng) >> 31;
    }
    if (t->cutout) {
        int64_t y = nas_rng_below(rng, (uint32_t)height), x = nas_rng_below(rng, (uint32_t)width), half = t->cutout / 2;
        a.top = clip(y - half, height);
        a.bottom = clip(y - half + t->cutout, height);
        a.left = clip(x - half, width);
        a.end = clip(x - half + t->cutout, width);
    }
    return a;
}

static void augment_plane(pixels in, int64_t at, float *out, int64_t height, int64_t width, const augmentation *a,
                          float factor, float shift) {
    int64_t before = a->right < 0 ? -a->right : 0, after = a->right > 0 ? a->right : 0;
    for (int64_t y = 0; y < height; y++) {
        float *row = out + y * width;
        int64_t from = y + a->down;
        if (from < 0 || from >= height) {
            fill(row, width, shift);
        } else {
            fill(row, before, shift);
            scale_row(in, at + from * width + a->right + before, row + before, width - before - after, factor, shift);
            fill(row + width - after, after, shift);
        }
        if (a->flip) {
            reverse(row, width);
        }
        if (y >= a->top && y < a->bottom) {
            fill(row + a->left, a->end - a->left, 0); /* 0 is the mean once normalised */
        }
    }
}

static void apply(const nas_dataset_info *info, pixels in, int64_t at, const nas_transform *t, nas_rng *rng, float *x) {
    bool image = nas__is_image(info);
    float unit = in.bytes ? 255 : 1;
    bool augmented = rng && (t->crop_padding || t->flip || t->cutout);
    int64_t channels = image || augmented ? info->dims[0] : 1;
    int64_t area = nas__sample_count(info) / channels;
    augmentation a = augmented ? draw(t, info->dims[1], info->dims[2], rng) : (augmentation){0};
    for (int64_t c = 0; c < channels; c++) {
        int64_t k = image ? c : 0;
        float factor = 1 / (unit * t->std[k]), shift = -t->mean[k] / t->std[k];
        if (augmented) {
            augment_plane(in, at + c * area, x + c * area, info->dims[1], info->dims[2], &a, factor, shift);
        } else {
            scale_row(in, at + c * area, x + c * area, area, factor, shift);
        }
    }
}

static void copy_raw(const nas_dataset *root, int64_t place, float *x) {
    int64_t n = nas__sample_count(&root->info);
    if (root->bytes) {
        const uint8_t *from = root->bytes + place * n;
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)from[i] / 255;
        }
    } else {
        memcpy(x, root->floats + place * n, (size_t)n * sizeof *x);
    }
}

static nas_status call(const nas_dataset *root, int64_t place, float *x, float *y) {
    nas_status status = root->read(root->user, place, x, y);
    if (status && nas_error_status()) {
        return nas__error_context("%s: sample %lld", root->info.name, (long long)place);
    }
    if (status) {
        return nas__fail(status, "%s: sample %lld: %s", root->info.name, (long long)place, nas_status_text(status));
    }
    float label = root->info.classes && y ? y[0] : 0;
    if (root->info.classes && !(label >= 0 && label < (float)root->info.classes && label == floorf(label))) {
        return nas__fail(NAS_INVALID, "%s: sample %lld has target %g, not a whole number from 0 to %d", root->info.name,
                         (long long)place, (double)label, root->info.classes - 1);
    }
    return NAS_OK;
}

/* A function fills both parts of a sample: what the caller leaves out goes to memory of our own. */
static nas_status call_with_spares(const nas_dataset *root, int64_t place, float *x, float *y) {
    float *spare_x = x ? NULL : nas__alloc((size_t)nas__sample_count(&root->info) * sizeof *x);
    float *spare_y = y ? NULL : nas__alloc((size_t)root->info.target_count * sizeof *y);
    nas_status status =
        (x || spare_x) && (y || spare_y) ? call(root, place, x ? x : spare_x, y ? y : spare_y) : NAS_NO_MEMORY;
    free(spare_x);
    free(spare_y);
    return status;
}

nas_status nas__transform_sample(const nas_dataset *root, int64_t place, const nas_transform *t, nas_rng *rng,
                                 float *scratch, float *x, float *y) {
    int64_t n = nas__sample_count(&root->info);
    if (!root->read) {
        if (x && t) {
            apply(&root->info, (pixels){root->bytes, root->floats}, place * n, t, rng, x);
        } else if (x) {
            copy_raw(root, place, x);
        }
        if (y) {
            memcpy(y, root->targets + place * root->info.target_count, (size_t)root->info.target_count * sizeof *y);
        }
        return NAS_OK;
    }
    float *raw = t && scratch ? scratch : x;
    nas_status status = raw && y ? call(root, place, raw, y) : call_with_spares(root, place, raw, y);
    if (!status && x && t) {
        apply(&root->info, (pixels){.floats = raw}, 0, t, rng, x);
    }
    return status;
}
