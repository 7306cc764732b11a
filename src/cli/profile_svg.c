/* profile_svg.c - predicted against measured latencies as a picture. */
#include "cli/profile.h"

#include "core/file.h"

#include <math.h>

enum { SIZE = 420, EDGE = 56, TICKS = 4 };

static double place(double most, double value) { return EDGE + (SIZE - 2 * EDGE) * value / most; }

static void write_axes(FILE *out, const char *title, double most) {
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n<path d=\"M%d %dV%dH%d\" "
            "fill=\"none\" stroke=\"black\"/>\n<path d=\"M%d %dL%d %d\" stroke=\"#888\" stroke-dasharray=\"4 4\"/>\n",
            SIZE, SIZE, SIZE, SIZE, EDGE, EDGE, SIZE - EDGE, SIZE - EDGE, EDGE, SIZE - EDGE, SIZE - EDGE, EDGE);
    for (int i = 0; i <= TICKS; i++) {
        double value = most * i / TICKS, at = place(most, value);
        fprintf(out,
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.3g</text><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%.3g</text>\n",
                at, SIZE - EDGE + 16, value, EDGE - 4, SIZE - at + 4, value);
    }
    fprintf(out,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s: predicted, ms</text><text transform=\"translate(14 %d) "
            "rotate(-90)\" text-anchor=\"middle\">measured, ms</text>\n",
            SIZE / 2, SIZE - 12, title, SIZE / 2);
}

nas_status cli_profile_svg(const char *path, const char *title, int n, const double *predicted,
                           const double *measured) {
    nas__atomic_file f;
    double most = 0;
    for (int i = 0; i < n; i++) {
        most = fmax(most, 1e-6 * fmax(predicted[i], measured[i]));
    }
    if (nas__atomic_open(&f, path)) {
        return nas_error_status();
    }
    write_axes(f.stream, title, most);
    for (int i = 0; i < n; i++) {
        fprintf(f.stream, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#1f6feb\" fill-opacity=\"0.6\"/>\n",
                place(most, 1e-6 * predicted[i]), SIZE - place(most, 1e-6 * measured[i]));
    }
    fprintf(f.stream, "</svg>\n");
    return nas__atomic_commit(&f);
}
