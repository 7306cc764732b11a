/* Tables of true accuracies: what is read from them, what is refused, and the numbers that are known about
 * NAS-Bench-Macro. */
#include "support.h"

#include "search/truth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MACRO "tests/data/tables/nas-bench-macro.csv"

static void near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.9g, not %.9g", value, expected);
    }
}

/* --- a file with this text, and options behind its name ---------------------------------------------------------- */
static nas__truth *read_text(const char *text, const char *options) {
    char *directory = temporary_directory(), spec[512], path[400];
    snprintf(path, sizeof path, "%s/t.csv", directory);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    snprintf(spec, sizeof spec, "%s%s", path, options);
    nas__truth *t = nas__truth_open(spec, false);
    remove_directory(directory);
    return t;
}

static void columns_are_chosen_by_name(void **unused) {
    (void)unused;
    const char *text = "a,arch,b,c\r\n1,\"|x~0|+|y,z~0|\",2,4\r\n\n10,second,20,40\n";
    nas__truth *t = read_text(text, "");
    assert_no_error();
    assert_int_equal(t->n, 2);
    const nas__truth_row *row = nas__truth_find(t, "|x~0|+|y,z~0|");
    assert_non_null(row);
    assert_true(row->seen == 1 && row->truth == 1 && row->line == 2);
    assert_null(nas__truth_find(t, "third"));
    nas__truth_free(t);
    t = read_text(text, ",truth=b+c");
    row = nas__truth_find(t, "second");
    assert_true(row->seen == 10 && row->truth == 30 && row->line == 4);
    nas__truth_free(t);
    t = read_text(text, ":seen=c:arch=b:truth=a");
    row = nas__truth_find(t, "2");
    assert_true(row->seen == 4 && row->truth == 1);
    nas__truth_free(t);
}

static void what_is_wrong_is_named(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *options;
        nas_status status;
        const char *message;
    } cases[] = {
        {"arch,acc\nx,1\ny,z\n", "", NAS_PARSE, "t.csv:3: column \"acc\": \"z\" is not a number"},
        {"arch,acc\nx,1\ny,nan\n", "", NAS_PARSE, "t.csv:3: column \"acc\": \"nan\" is not a number"},
        {"arch,acc\nx,1\ny,\n", "", NAS_PARSE, "t.csv:3: column \"acc\": \"\" is not a number"},
        {"arch,acc\nx,1,2\n", "", NAS_PARSE, "t.csv:2: 3 columns, and the header has 2"},
        {"arch,acc\nx,1\ny,2\nx,3\n", "", NAS_PARSE, "t.csv:4: \"x\" is there already, in line 2"},
        {"arch,acc\n\"x,1\n", "", NAS_PARSE, "t.csv:2: column 1: a quoted field without its closing quote"},
        {"arch,acc\n", "", NAS_PARSE, "no rows"},
        {"", "", NAS_PARSE, "is empty"},
        {"arch\nx\n", "", NAS_PARSE, "t.csv:1: the header names 1 column"},
        {"arch,acc,b\nx,1,2\n", ",seen=bcc", NAS_USAGE, "no column \"bcc\"; there are: arch, acc, b"},
        {"arch,acc,b\nx,1,2\n", ",truth=b+", NAS_USAGE, "no column \"\""},
        {"arch,acc,b\nx,1,2\n", ",arch=name", NAS_USAGE, "no column \"name\""},
        {"arch,acc,b\nx,1,2\n", ",seen=b,seen=acc", NAS_USAGE, "seen= is given twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(read_text(cases[i].text, cases[i].options));
        assert_error(cases[i].status, cases[i].message);
    }
    assert_null(nas__truth_open("nowhere.csv", false));
    assert_error(NAS_NOT_FOUND, "nowhere.csv");
    assert_null(nas__truth_open(",seen=x", false));
    assert_error(NAS_USAGE, "no file");
}

/* Four rows by hand: of two draws the best-looking one is row 1 with 3/6, row 2 with 2/6, row 3 with 1/6. */
static void ranks_and_random_draws(void **unused) {
    (void)unused;
    const char *text = "arch,seen,truth\na,4,10\nb,3,30\nc,2,20\nd,1,20\n";
    nas__truth *t = read_text(text, ",truth=truth");
    near(nas__truth_best_of(t, 1), 20, 1e-12);
    near(nas__truth_best_of(t, 2), (3 * 10 + 2 * 30 + 20) / 6.0, 1e-12);
    near(nas__truth_best_of(t, 4), 10, 1e-12);
    near(nas__truth_best_of(t, 9), 10, 1e-12);
    assert_int_equal(nas__truth_better(t, 20), 1);
    assert_int_equal(nas__truth_as_good(t, 20), 3);
    assert_true(nas__truth_best(t) == 30);
    nas__truth_free(t);
    t = read_text("arch,seen\na,1\nb,1\nc,0\n", "");
    near(nas__truth_best_of(t, 1), 2.0 / 3, 1e-12);
    t->lower_is_better = true;
    assert_true(nas__truth_best(t) == 0);
    assert_int_equal(nas__truth_better(t, 1), 1);
    near(nas__truth_best_of(t, 2), 1.0 / 3, 1e-12);
    nas__truth_free(t);
}

/* evaluation.md, section 9: best, mean; the best of n random by simulation, here by the formula. */
static void the_numbers_of_nas_bench_macro(void **unused) {
    (void)unused;
    nas__truth *t = nas__truth_open(MACRO ",seen=mean_acc", false);
    assert_no_error();
    assert_int_equal(t->n, 6561);
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++) {
        sum += t->rows[i].truth;
    }
    near(sum / 6561, 90.247, 5e-4);
    near(nas__truth_best(t), 93.127, 5e-4);
    near(nas__truth_find(t, "22212220")->truth, 93.127, 5e-4);
    near(nas__truth_find(t, "00000000")->truth, 45.3633, 1e-9);
    static const struct {
        int n;
        double truth, simulated_within;
    } best[] = {{1, 90.26, 0.03},  {5, 92.14, 0.015}, {10, 92.43, 0.01},
                {20, 92.61, 0.01}, {50, 92.77, 0.01}, {100, 92.87, 0.01}};
    for (size_t i = 0; i < sizeof best / sizeof *best; i++) {
        near(nas__truth_best_of(t, best[i].n), best[i].truth, best[i].simulated_within);
    }
    nas__truth_free(t);
    t = nas__truth_open(MACRO ",seen=test_acc_1,truth=test_acc_2+test_acc_3", false);
    near(nas__truth_find(t, "00000000")->seen, 45.32, 1e-9);
    near(nas__truth_find(t, "00000000")->truth, 45.385, 1e-9);
    nas__truth_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_chosen_by_name),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(ranks_and_random_draws),
        cmocka_unit_test(the_numbers_of_nas_bench_macro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
