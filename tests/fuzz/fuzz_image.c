/* PNG and JPEG files: what is decoded has the size that its header says. */
#include "data_file.h"
#include "data/sources.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = write_data_file(size && data[0] == 0x89 ? "in.png" : "in.jpg", data, size);
    nas__image header, image;
    if (nas__image_probe(path, &header) || header.height * header.width > 1 << 20) {
        nas_error_clear();
        return 0;
    }
    for (int channels = 1; channels <= 3; channels += 2) {
        if (nas__image_read(path, channels, &image)) {
            nas_error_clear();
        } else if (image.height != header.height || image.width != header.width || !image.planes) {
            abort();
        }
        free(image.planes);
    }
    return 0;
}
