/* tools/get-data as far as it goes without a network: its usage, a failing download, an archive that is damaged. */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Runs the tool; its exit status. What it says goes to `output`. */
static int get_data(const char *arguments, char *output, size_t size) {
    char *command = nas__format("ESPALIER_DATA_URL=file:///nonexistent tools/get-data %s 2>&1", arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    output[fread(output, 1, size - 1, f)] = 0;
    free(command);
    return WEXITSTATUS(pclose(f));
}

static void usage_is_shown(void **state) {
    (void)state;
    char output[4096];
    assert_int_equal(get_data("--help", output, sizeof output), 0);
    assert_non_null(strstr(output, "dataset-fashion-mnist"));
    assert_int_equal(get_data("imagenet /tmp", output, sizeof output), 2);
    assert_non_null(strstr(output, "usage:"));
    assert_int_equal(get_data("cifar10", output, sizeof output), 2);
}

static void failures_say_what_to_do(void **state) {
    (void)state;
    char output[4096], *directory = temporary_directory(), *arguments = nas__format("cifar10 %s", directory);
    assert_int_equal(get_data(arguments, output, sizeof output), 1);
    assert_non_null(strstr(output, "put cifar-10-binary.tar.gz into"));
    char *archive = nas__join(directory, "cifar-10-binary.tar.gz");
    nas__write_file(archive, "hello", 5);
    assert_int_equal(get_data(arguments, output, sizeof output), 1);
    assert_non_null(strstr(output, "5d41402abc4b2a76b9719d911017c592 instead of c32a1d4ab5d03f1284b67883e8d87530"));
    free(archive);
    free(arguments);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_is_shown),
        cmocka_unit_test(failures_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
