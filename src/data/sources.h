/* sources.h - where data sets come from. A new source is one file and one line in sources.c. */
#ifndef DATA_SOURCES_H
#define DATA_SOURCES_H

#include "data/dataset.h"

typedef struct nas__data_source {
    const char *name; /* what a specification begins with */
    const char *form; /* what the user writes: "csv:FILE,target=COLUMN" */
    const char *summary;
    const char *directory; /* where it is looked for without --data-dir, or NULL */
    /* `argument` is what follows the colon, NULL without one; NULL and an error on failure. */
    nas_dataset *(*open)(const char *argument, const char *data_dir, bool test);
} nas__data_source;

extern const nas__data_source nas__data_sources[];
extern const int nas__n_data_sources;

nas_dataset *nas__open_fashion_mnist(const char *argument, const char *data_dir, bool test);
nas_dataset *nas__open_cifar10(const char *argument, const char *data_dir, bool test);
nas_dataset *nas__open_cifar100(const char *argument, const char *data_dir, bool test);
nas_dataset *nas__open_folder(const char *argument, const char *data_dir, bool test);
nas_dataset *nas__open_csv(const char *argument, const char *data_dir, bool test);
nas_dataset *nas__open_npy(const char *argument, const char *data_dir, bool test);

#define NAS__FASHION_MNIST_DIRECTORY "/usr/share/datasets/fashion-mnist"

/* A file named in a specification: below data_dir when it is there, else as it stands. To be freed by the caller. */
char *nas__data_path(const char *file, const char *data_dir);
/* Cuts the last ",name=value" and all after it off text; returns the value (inside text), or NULL when there is none.
 */
char *nas__data_option(char *text, const char *name);
/* Reads ",task=..." off the end of text: *regression; an error for a task that does not exist. */
nas_status nas__data_task(char *text, bool *regression);

/* One image file, as rows of grey or RGB bytes. */
typedef struct nas__image {
    int64_t height, width;
    int channels;    /* of the file, 1 or 3 (transparency is dropped) */
    uint8_t *planes; /* (channels asked for, height, width), or NULL when only the header was read */
} nas__image;
bool nas__image_name(const char *name); /* ends in .png, .jpg or .jpeg */
/* Reads the size only. */
nas_status nas__image_probe(const char *path, nas__image *image);
/* Decodes to `channels` (1: grey, 3: RGB) planes, to be freed by the caller. Used for prediction, too. */
nas_status nas__image_read(const char *path, int channels, nas__image *image);

#endif
