/* CSV tables: quoting, targets, standardisation, and errors that name the line. */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"

#include <espalier/data.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *directory, *file;

static nas_dataset *open_text(const char *text, const char *options, const char *part) {
    assert_int_equal(nas__write_file(file, text, strlen(text)), NAS_OK);
    char *spec = nas__format("csv:%s%s", file, options);
    nas_dataset *d = nas_dataset_open(spec, NULL, part);
    free(spec);
    return d;
}

static void expect_failure(const char *text, const char *options, nas_status status, const char *message) {
    assert_null(open_text(text, options, "train"));
    assert_error(status, message);
}

/* 40 rows: a = i, b = 2 - i, kind alternating. */
static char *forty_rows(void) {
    char *text = calloc(4096, 1), *p = text;
    p += sprintf(p, "\xEF\xBB\xBF"
                    "a,\"kind \"\"of\"\", thing\",b\r\n");
    for (int i = 0; i < 40; i++) {
        p += sprintf(p, "%d,%s, %d.0 \r\n%s", i, i % 2 ? "\"odd, one\"" : "even", 2 - i, i == 7 ? "\r\n" : "");
    }
    return text;
}

static void classes_by_text(void **state) {
    (void)state;
    char *text = forty_rows();
    nas_dataset *train = open_text(text, ",target=kind \"of\", thing", "train");
    nas_dataset *test = open_text(text, ",target=1", "test");
    free(text);
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(train);
    assert_true(info->size == 36 && info->dims[0] == 2 && info->classes == 2);
    assert_string_equal(info->class_names[0], "even");
    assert_string_equal(info->class_names[1], "odd, one");
    assert_int_equal(nas_dataset_describe(test)->size, 4);
    double sum = 0, squares = 0;
    float x[2], y, lowest[2] = {9, 9};
    for (int i = 0; i < 36; i++) {
        nas_dataset_read(train, i, x, &y);
        sum += (double)x[0];
        squares += (double)x[0] * (double)x[0];
        assert_true(fabsf(x[0] + x[1]) < 1e-5f); /* b falls as a rises */
        lowest[0] = fminf(lowest[0], x[0]);
    }
    assert_true(fabs(sum / 36) < 1e-5 && fabs(squares / 36 - 1) < 1e-5);
    int odd = 0;
    for (int i = 0; i < 4; i++) {
        nas_dataset_read(test, i, x, &y);
        odd += (int)y;
    }
    assert_int_equal(odd, 2);
    nas_dataset_free(train);
    nas_dataset_free(test);
}

static void numbers_are_ordered_as_numbers(void **state) {
    (void)state;
    nas_dataset *d = open_text("x,y\n1,10\n2,9\n3,10\n4,9\n5,10\n6,9\n", ",target=y", "train");
    assert_no_error();
    assert_string_equal(nas_dataset_describe(d)->class_names[0], "9");
    nas_dataset_free(d);
}

static void regression_keeps_units(void **state) {
    (void)state;
    char text[2048] = "x,constant,price\n", line[64];
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof line, "%d,5,%g\n", i, 1000.5 + i * i);
        strcat(text, line);
    }
    expect_failure(text, ",target=price", NAS_INVALID, "add task=regression");
    nas_dataset *d = open_text(text, ",target=-1,task=regression", "train");
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(d);
    assert_true(info->classes == 0 && info->size == 27 && !info->class_names);
    float x[2], y;
    nas_dataset_read(d, 0, x, &y);
    assert_true(y >= 1000.5f && x[1] == 0);
    nas_dataset_free(d);
}

static void the_parts_share_their_constants(void **state) {
    (void)state;
    char *text = forty_rows();
    float x[2], y, a[40];
    int n = 0;
    const char *parts[] = {"train", "test"};
    for (int p = 0; p < 2; p++) {
        nas_dataset *d = open_text(text, ",target=1", parts[p]);
        for (int64_t i = 0; i < nas_dataset_describe(d)->size; i++) {
            nas_dataset_read(d, i, x, &y);
            a[n++] = x[0];
        }
        nas_dataset_free(d);
    }
    free(text);
    assert_int_equal(n, 40);
    float lowest = a[0], highest = a[0], second = 1e9f;
    for (int i = 0; i < 40; i++) {
        lowest = fminf(lowest, a[i]);
        highest = fmaxf(highest, a[i]);
    }
    for (int i = 0; i < 40; i++) {
        second = a[i] > lowest ? fminf(second, a[i]) : second;
    }
    assert_true(fabsf((highest - lowest) / (second - lowest) - 39) < 1e-3f); /* all forty on one even scale */
}

static void errors_name_the_line(void **state) {
    (void)state;
    expect_failure("a,b\n1,2\n3\n", ",target=b", NAS_PARSE, ":3: 1 fields, but the header has 2");
    expect_failure("a,b\n1,x\n\n\nred,y\n2,x\n", ",target=b", NAS_PARSE, ":5: column \"a\" is \"red\", not a number");
    expect_failure("a,b\n1,x\n,y\n", ",target=b", NAS_PARSE, ":3: column \"a\" is \"\"");
    expect_failure("a,b\nnan,x\n1,y\n", ",target=b", NAS_PARSE, ":2: column \"a\" is \"nan\"");
    expect_failure("a,b\n\"1\n\",x\n2,\n", ",target=b", NAS_PARSE, ":4: the target column \"b\" is empty");
    expect_failure("a,b\n1,\"x\n2,y\n", ",target=b", NAS_PARSE, ":2: a quoted field has no closing quote");
    expect_failure("a,b\n1,\"x\"z\n2,y\n", ",target=b", NAS_PARSE, ":2: \"z\" after a closing quote");
    expect_failure("", ",target=b", NAS_PARSE, "0 rows");
    expect_failure("a\n1\n2\n", ",target=a", NAS_PARSE, "only one column");
    expect_failure("alpha,beta\n1,x\n2,y\n", ",target=bta", NAS_NOT_FOUND, "did you mean beta?");
    expect_failure("a,b\n1,x\n2,y\n", ",target=2", NAS_NOT_FOUND, "no target column \"2\"");
    expect_failure("a,b\n1,x\n2,x\n", ",target=b", NAS_INVALID, "always \"x\"");
    expect_failure("a,b\n1,x\n2,y\n", "", NAS_INVALID, "say which column is the target");
    expect_failure("a,b\n1,x\n2,y\n", ",target=b,task=guess", NAS_INVALID, "task=guess");
    assert_null(nas_dataset_open("csv:missing.csv,target=b", directory, "train"));
    assert_error(NAS_NOT_FOUND, "missing.csv");
}

int main(void) {
    directory = temporary_directory();
    file = nas__join(directory, "table.csv");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_by_text),        cmocka_unit_test(numbers_are_ordered_as_numbers),
        cmocka_unit_test(regression_keeps_units), cmocka_unit_test(the_parts_share_their_constants),
        cmocka_unit_test(errors_name_the_line),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(file);
    remove_directory(directory);
    return failed;
}
