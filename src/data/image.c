/* image.c - one PNG or JPEG file to planes of bytes. */
#include "data/sources.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <jpeglib.h>
#include <png.h>

enum { MAX_SIDE = 16384 };

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcasecmp(name + n - m, ending) == 0;
}

bool nas__image_name(const char *name) {
    return ends_in(name, ".png") || ends_in(name, ".jpg") || ends_in(name, ".jpeg");
}

static nas_status check_size(const char *path, nas__image *image, int64_t height, int64_t width) {
    image->height = height;
    image->width = width;
    if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE) {
        return nas__fail(NAS_UNSUPPORTED, "%s: %lldx%lld pixels; up to %d on a side are possible", path,
                         (long long)width, (long long)height, MAX_SIDE);
    }
    return NAS_OK;
}

/* Interleaved rows to planes. */
static void deinterleave(const uint8_t *row, int64_t width, int channels, uint8_t *planes, int64_t area) {
    for (int c = 0; c < channels; c++) {
        for (int64_t x = 0; x < width; x++) {
            planes[c * area + x] = row[x * channels + c];
        }
    }
}

/* --- PNG ---------------------------------------------------------------------------------------- */
static nas_status read_png(const char *path, int channels, nas__image *image) {
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&png, path)) {
        return nas__fail(NAS_PARSE, "%s: not a readable PNG file: %s", path, png.message);
    }
    image->channels = png.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
    nas_status status = check_size(path, image, png.height, png.width);
    if (status || !channels) {
        png_image_free(&png);
        return status;
    }
    png.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    int64_t width = image->width, area = image->height * width;
    uint8_t *rows = nas__alloc((size_t)(area * channels));
    image->planes = rows ? nas__alloc((size_t)(area * channels)) : NULL;
    png_color black = {0, 0, 0}; /* what shows through transparent pixels */
    if (!image->planes) {
        png_image_free(&png);
        status = NAS_NO_MEMORY;
    } else if (!png_image_finish_read(&png, &black, rows, 0, NULL)) { /* frees png, failed or not */
        status = nas__fail(NAS_PARSE, "%s: damaged PNG file: %s", path, png.message);
    } else {
        for (int64_t y = 0; y < image->height; y++) {
            deinterleave(rows + y * width * channels, width, channels, image->planes + y * width, area);
        }
    }
    free(rows);
    return status;
}

/* --- JPEG --------------------------------------------------------------------------------------- */
/* libjpeg reports by leaving the call that failed. */
typedef struct jpeg_reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
    FILE *file;
    uint8_t *row;
} jpeg_reader;

static void jpeg_failed(j_common_ptr jpeg) {
    jpeg_reader *r = jpeg->client_data;
    r->errors.format_message(jpeg, r->message);
    longjmp(r->back, 1);
}

/* Warnings (truncated or corrupt data) are errors here: grey filler must not become training data. */
static void jpeg_message(j_common_ptr jpeg, int level) {
    if (level < 0) {
        jpeg_failed(jpeg);
    }
}

static nas_status decode_jpeg(jpeg_reader *r, const char *path, int channels, nas__image *image) {
    if (setjmp(r->back)) {
        return nas__fail(NAS_PARSE, "%s: damaged JPEG file: %s", path, r->message);
    }
    jpeg_create_decompress(&r->jpeg);
    jpeg_stdio_src(&r->jpeg, r->file);
    jpeg_read_header(&r->jpeg, TRUE);
    image->channels = r->jpeg.num_components == 1 ? 1 : 3;
    nas_status status = check_size(path, image, r->jpeg.image_height, r->jpeg.image_width);
    if (status || !channels) {
        return status;
    }
    r->jpeg.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&r->jpeg);
    int64_t width = image->width, area = image->height * width;
    r->row = nas__alloc((size_t)(width * channels));
    image->planes = r->row ? nas__alloc((size_t)(area * channels)) : NULL;
    while (image->planes && r->jpeg.output_scanline < r->jpeg.output_height) {
        int64_t y = r->jpeg.output_scanline;
        jpeg_read_scanlines(&r->jpeg, &r->row, 1);
        deinterleave(r->row, width, channels, image->planes + y * width, area);
    }
    if (image->planes) {
        jpeg_finish_decompress(&r->jpeg);
    }
    return image->planes ? NAS_OK : NAS_NO_MEMORY;
}

static nas_status read_jpeg(const char *path, int channels, nas__image *image) {
    jpeg_reader *r = nas__alloc(sizeof *r);
    if (!r) {
        return NAS_NO_MEMORY;
    }
    nas_status status = NAS_OK;
    r->file = fopen(path, "rb");
    if (!r->file) {
        status = nas__fail(NAS_IO, "%s: %s", path, strerror(errno));
    } else {
        r->jpeg.err = jpeg_std_error(&r->errors);
        r->jpeg.client_data = r; /* kept by jpeg_create_decompress */
        r->errors.error_exit = jpeg_failed;
        r->errors.emit_message = jpeg_message;
        status = decode_jpeg(r, path, channels, image);
        jpeg_destroy_decompress(&r->jpeg);
        fclose(r->file);
    }
    free(r->row);
    free(r);
    return status;
}

nas_status nas__image_read(const char *path, int channels, nas__image *image) {
    *image = (nas__image){0};
    if (nas__exists(path) && !nas__is_file(path)) { /* a pipe would keep us waiting */
        return nas__fail(NAS_IO, "%s: is not a file", path);
    }
    nas_status status = ends_in(path, ".png") ? read_png(path, channels, image) : read_jpeg(path, channels, image);
    if (status) {
        free(image->planes);
        image->planes = NULL;
    }
    return status;
}

nas_status nas__image_probe(const char *path, nas__image *image) { return nas__image_read(path, 0, image); }
