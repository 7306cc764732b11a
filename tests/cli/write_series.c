/* write_series X.npy y.npy - 600 signals of two channels and 64 values as NumPy arrays: tones of three frequencies with
 * a phase of their own, in noise; the class is the frequency. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SIGNALS = 600, CHANNELS = 2, LENGTH = 64, CLASSES = 3, HEADER = 118 };

/* Uniform in [0, 1): a linear congruential generator will do. */
static double uniform(void) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static FILE *open_array(const char *path, const char *type, const char *shape) {
    char header[HEADER + 1];
    const unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, HEADER, 0};
    FILE *file = fopen(path, "wb");
    snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape);
    size_t used = strlen(header);
    memset(header + used, ' ', HEADER - used);
    header[HEADER - 1] = '\n';
    if (file) {
        fwrite(start, 1, sizeof start, file);
        fwrite(header, 1, HEADER, file);
    }
    return file;
}

static void write_signal(FILE *file, int class) {
    double phase = 6.283185307179586 * uniform(), step = 0.2 + 0.25 * class;
    for (int c = 0; c < CHANNELS; c++) {
        for (int i = 0; i < LENGTH; i++) {
            float value = (float)(sin(phase + step * i + c) + 0.8 * (uniform() - 0.5));
            fwrite(&value, sizeof value, 1, file);
        }
    }
}

int main(int argc, char **argv) {
    FILE *x = argc == 3 ? open_array(argv[1], "<f4", "(600, 2, 64)") : NULL;
    FILE *y = x ? open_array(argv[2], "<i8", "(600,)") : NULL;
    if (!y) {
        fprintf(stderr, "write_series X.npy y.npy\n");
        return 1;
    }
    for (int i = 0; i < SIGNALS; i++) {
        int64_t class = (int64_t)(CLASSES * uniform());
        write_signal(x, (int)class);
        fwrite(&class, sizeof class, 1, y);
    }
    return fclose(x) || fclose(y);
}
