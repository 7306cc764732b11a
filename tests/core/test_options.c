/* Options from a table: every type, ranges, and errors that say what to write instead. */
#include "support.h"

#include <espalier/options.h>

#include <stdio.h>
#include <string.h>

struct fields {
    int order, mode;
    double xi;
    bool unrolled;
    char file[NAS_OPTION_TEXT_SIZE];
    nas_list widths;
};

static const nas_option table[] = {
    {"order", NAS_OPTION_INT, offsetof(struct fields, order), "1", 1, 2, NULL, "order of the gradient"},
    {"xi", NAS_OPTION_FLOAT, offsetof(struct fields, xi), "0.01", 0, 1, NULL, "step"},
    {"unrolled", NAS_OPTION_BOOL, offsetof(struct fields, unrolled), "yes", 0, 0, NULL, "flag"},
    {"mode", NAS_OPTION_CHOICE, offsetof(struct fields, mode), "full", 0, 0, "path|two|full", "mode"},
    {"file", NAS_OPTION_TEXT, offsetof(struct fields, file), "", 0, 0, NULL, "name of a file"},
    {"widths", NAS_OPTION_LIST, offsetof(struct fields, widths), "16-24", 1, 512, NULL, "list"},
    {NULL},
};

static void defaults(void **state) {
    (void)state;
    struct fields f = {0};
    assert_int_equal(nas_options_default(table, &f), NAS_OK);
    assert_int_equal(f.order, 1);
    assert_int_equal(f.mode, 2);
    assert_true(f.unrolled);
    assert_true(f.xi == 0.01);
    assert_int_equal(f.widths.n, 2);
    assert_int_equal(f.widths.values[1], 24);
}

static void values_round_trip(void **state) {
    (void)state;
    struct fields f = {0};
    static const char *const rows[][3] = {{"order", "2", "2"},
                                          {"xi", "0.125", "0.125"},
                                          {"xi", "1e-3", "0.001"},
                                          {"xi", "0.1", "0.1"},
                                          {"unrolled", "no", "0"},
                                          {"unrolled", "TRUE", "1"},
                                          {"file", "a b=c.json", "a b=c.json"},
                                          {"file", "", ""},
                                          {"mode", "two", "two"},
                                          {"xi", "0.30000000000000004", "0.30000000000000004"},
                                          {"widths", "3-5-512", "3-5-512"},
                                          {"widths", "7", "7"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[64];
        assert_int_equal(nas_options_set(table, &f, rows[i][0], rows[i][1]), NAS_OK);
        nas_options_get(nas_options_find(table, rows[i][0]), &f, text, sizeof text);
        assert_string_equal(text, rows[i][2]);
    }
}

static void errors_name_option_and_value(void **state) {
    (void)state;
    struct fields f = {.order = 1, .xi = 0.5};
    static const struct {
        const char *name, *value;
        nas_status status;
        const char *part;
    } rows[] = {
        {"ordr", "1", NAS_NOT_FOUND, "did you mean \"order\""},
        {"something", "1", NAS_NOT_FOUND, "there are: order, xi, unrolled, mode, file, widths"},
        {"order", "3", NAS_INVALID, "takes 1 to 2"},
        {"file", "a,b", NAS_INVALID, "comma"},
        {"order", "1.5", NAS_INVALID, "not a whole number"},
        {"order", "", NAS_INVALID, "not a whole number"},
        {"order", "99999999999999999999", NAS_INVALID, "takes 1 to 2"},
        {"xi", "nan", NAS_INVALID, "not a number"},
        {"xi", "-1", NAS_INVALID, "takes 0 to 1"},
        {"xi", "0.1x", NAS_INVALID, "not a number"},
        {"unrolled", "2", NAS_INVALID, "neither yes nor no"},
        {"mode", "ful", NAS_INVALID, "path|two|full"},
        {"mode", "", NAS_INVALID, "path|two|full"},
        {"widths", "", NAS_INVALID, "looks like 3-5-7"},
        {"widths", "3-", NAS_INVALID, "looks like 3-5-7"},
        {"widths", "3--5", NAS_INVALID, "looks like 3-5-7"},
        {"widths", "3,5", NAS_INVALID, "looks like 3-5-7"},
        {"widths", "3-0", NAS_INVALID, "takes 1 to 512"},
        {"widths", "99999999999999999999", NAS_INVALID, "looks like 3-5-7"},
        {"widths", "1-1-1-1-1-1-1-1-1-1-1-1-1", NAS_INVALID, "more than 12"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(nas_options_set(table, &f, rows[i].name, rows[i].value), rows[i].status);
        assert_error(rows[i].status, rows[i].part);
    }
    char longest[NAS_OPTION_TEXT_SIZE + 1] = "";
    memset(longest, 'x', NAS_OPTION_TEXT_SIZE);
    assert_int_equal(nas_options_set(table, &f, "file", longest), NAS_INVALID);
    assert_error(NAS_INVALID, "256 bytes is too long; it takes 255");
    assert_int_equal(nas_options_set(table, &f, "file", longest + 1), NAS_OK);
    assert_int_equal(f.order, 1);
    assert_true(f.xi == 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_round_trip),
        cmocka_unit_test(errors_name_option_and_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
