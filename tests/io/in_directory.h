/* in_directory.h - a fresh directory for each test of a program, and the path of the file in it that the tests are
 * about. */
#ifndef TESTS_IO_IN_DIRECTORY_H
#define TESTS_IO_IN_DIRECTORY_H

#include "support.h"
#include "core/file.h"

#include <stdlib.h>

static char *directory, *path;

static inline int make_place(const char *name) {
    directory = temporary_directory();
    path = nas__join(directory, name);
    return path == NULL;
}

static inline int tear_down(void **state) {
    (void)state;
    free(path);
    remove_directory(directory);
    return 0;
}

#endif
