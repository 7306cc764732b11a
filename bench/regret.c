/* regret.c - `regret TABLE.csv SEEDS OUT.svg`: searches on the table of NAS-Bench-Macro, without training, draws how
 * far the network that looks best is from the best one after so many trials, and prints that as a table in Markdown.
 * What a search sees of a network is one of its three trainings, what is shown is the mean of all. */
#include <espalier/search.h>

#include "search/truth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 150, MOST_SEEDS = 1000, CURVES = 4, WIDTH = 640, HEIGHT = 400, EDGE = 56 };

typedef struct curve {
    const char *label, *strategy, *options, *colour;
    double regret[TRIALS][MOST_SEEDS];
} curve;

static curve curves[CURVES] = {
    {.label = "random", .strategy = "random", .options = "", .colour = "#6e7781"},
    {.label = "tpe, forgetting=0", .strategy = "tpe", .options = ",forgetting=0", .colour = "#bf8700"},
    {.label = "evolution, population=20, sample=5",
     .strategy = "evolution",
     .options = ",population=20,sample=5",
     .colour = "#1f6feb"},
    {.label = "local", .strategy = "local", .options = "", .colour = "#1a7f37"},
};

typedef struct watch {
    nas_trainer *trainer;
    const nas__truth *truth;
    double best, *found; /* TRIALS */
} watch;

static bool on_step(const nas_progress *p, void *user) {
    watch *w = user;
    const nas__truth_row *row =
        p->trial > 0 ? nas__truth_of(w->truth, "macro", nas_trainer_best(w->trainer, NULL)) : NULL;
    if (row && p->trial <= TRIALS) {
        w->found[p->trial - 1] = w->best - row->truth;
    }
    return false;
}

static nas_status search(curve *c, const char *table, const nas__truth *truth, int seed) {
    const struct { int channels; } narrow = {1};
    const float x[4 * 64] = {0}, y[4] = {0, 1, 0, 1};
    char options[600];
    double found[TRIALS];
    nas_dataset *data[2];
    nas_module *model = nas_space_build(
        "macro", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = &narrow});
    for (int i = 0; i < 2; i++) { /* no image is looked at */
        data[i] = nas_dataset_from_arrays(4, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    }
    for (int i = 0; i < TRIALS; i++) {
        found[i] = NAN;
    }
    snprintf(options, sizeof options, "evaluate=table,table=%s:seen=test_acc_%d,trials=%d%s", table, seed % 3 + 1,
             TRIALS, c->options);
    watch w = {.truth = truth, .best = nas__truth_best(truth), .found = found};
    w.trainer = nas_trainer_new(&(nas_trainer_config){.model = model,
                                                      .space_name = "macro",
                                                      .strategy = c->strategy,
                                                      .options = options,
                                                      .batch_size = 2,
                                                      .dataset_train = data[0],
                                                      .dataset_valid = data[1],
                                                      .log_frequency = NAS_NONE,
                                                      .seed = (uint64_t)seed + 1,
                                                      .threads = 1,
                                                      .on_step = on_step,
                                                      .user = &w});
    nas_status status = w.trainer ? nas_trainer_train(w.trainer) : nas_error_status();
    for (int i = 0; i < TRIALS; i++) { /* one that has nothing new to try keeps what it has */
        found[i] = isnan(found[i]) && i > 0 ? found[i - 1] : found[i];
        c->regret[i][seed] = found[i];
    }
    nas_trainer_free(w.trainer);
    nas_module_free(model);
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
    return status;
}

/* --- what came out ----------------------------------------------------------------------------------------------- */
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Regret on a scale of powers of ten, from 0.03 to 3 points of accuracy. */
static double height(double regret) {
    double at = log10(fmax(regret, 0.03) / 0.03) / 2;
    return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * fmin(at, 1);
}

static double width(int trial) { return EDGE + (WIDTH - 2.0 * EDGE) * trial / TRIALS; }

static double mean(const double *x, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i] / n;
    }
    return sum;
}

static void draw_curve(FILE *f, const curve *c, int seeds, int row) {
    fprintf(f, "<path fill=\"%s\" fill-opacity=\"0.12\" d=\"", c->colour);
    for (int side = 0; side < 2; side++) {
        for (int k = 0; k < TRIALS; k++) {
            int i = side ? TRIALS - 1 - k : k;
            fprintf(f, "%s%.1f %.1f", k + side ? "L" : "M", width(i + 1),
                    height(c->regret[i][side ? seeds / 4 : seeds - 1 - seeds / 4]));
        }
    }
    fprintf(f, "Z\"/>\n<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"", c->colour);
    for (int i = 0; i < TRIALS; i++) {
        fprintf(f, "%s%.1f %.1f", i ? "L" : "M", width(i + 1), height(mean(c->regret[i], seeds)));
    }
    fprintf(f, "\"/>\n<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", WIDTH - EDGE - 230, EDGE + 16 * row, c->colour,
            c->label);
}

static int draw(const char *path, int seeds) {
    static const double lines[] = {0.03, 0.1, 0.3, 1, 3};
    FILE *f = fopen(path, "w");
    if (!f) {
        perror(path);
        return 1;
    }
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        fprintf(f,
                "<path d=\"M%d %.1fH%d\" stroke=\"#d0d7de\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                EDGE, height(lines[i]), WIDTH - EDGE, EDGE - 6, height(lines[i]) + 4, lines[i]);
    }
    for (int trial = 0; trial <= TRIALS; trial += 50) {
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n", width(trial), HEIGHT - EDGE + 18,
                trial);
    }
    for (int i = 0; i < CURVES; i++) {
        draw_curve(f, &curves[i], seeds, i);
    }
    fprintf(
        f,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">networks looked at</text>\n<text transform=\"translate(16 %d) "
        "rotate(-90)\" text-anchor=\"middle\">regret, points of accuracy</text>\n</svg>\n",
        WIDTH / 2, HEIGHT - 14, HEIGHT / 2);
    return fclose(f) ? 1 : 0;
}

static void print_table(int seeds) {
    printf("| strategy | 50 trials | 100 trials | 150 trials |\n|---|---|---|---|\n");
    for (int i = 0; i < CURVES; i++) {
        printf("| %s |", curves[i].label);
        for (int trial = 50; trial <= TRIALS; trial += 50) {
            const double *r = curves[i].regret[trial - 1];
            double m = mean(r, seeds), squares = 0;
            for (int k = 0; k < seeds; k++) {
                squares += (r[k] - m) * (r[k] - m) / (seeds - 1);
            }
            printf(" %.3f (%.3f) |", m, sqrt(squares));
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    int seeds = argc == 4 ? atoi(argv[2]) : 0;
    if (seeds < 4 || seeds > MOST_SEEDS) {
        fprintf(stderr, "regret TABLE.csv SEEDS OUT.svg (4 to %d seeds)\n", MOST_SEEDS);
        return 2;
    }
    char spec[600];
    snprintf(spec, sizeof spec, "%s,seen=mean_acc", argv[1]);
    nas__truth *truth = nas__truth_open(spec, false);
    for (int i = 0; truth && i < CURVES && !nas_error_status(); i++) {
        for (int seed = 0; seed < seeds && !search(&curves[i], argv[1], truth, seed); seed++) {
        }
        for (int k = 0; k < TRIALS; k++) {
            qsort(curves[i].regret[k], (size_t)seeds, sizeof(double), ascending);
        }
    }
    nas__truth_free(truth);
    if (nas_error_status()) {
        return nas_print_error();
    }
    print_table(seeds);
    return draw(argv[3], seeds);
}
