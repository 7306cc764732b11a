/* file.h - whole files, written so that a crash at any instant leaves the old or the new one. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include <espalier/core.h>

#include <stdio.h>

/* Contents of a file, NUL-terminated, to be freed by the caller; *size (may be NULL) without the terminator. */
char *nas__read_file(const char *path, size_t *size);
/* The same for text: no zero bytes, and no more than anybody has written by hand or by program (256 MB). */
char *nas__read_text(const char *path);
/* A regular file, opened for reading, and its size; anything else is refused, and never waited for. */
FILE *nas__open_file(const char *path, size_t *size);
/* Writes to a temporary name beside `path`, syncs and renames. */
nas_status nas__write_file(const char *path, const void *data, size_t size);

/* The same for streams: open, print, then commit (flush, sync, rename) or abandon. */
typedef struct nas__atomic_file {
    FILE *stream;
    char *path, *temporary;
} nas__atomic_file;
nas_status nas__atomic_open(nas__atomic_file *f, const char *path);
nas_status nas__atomic_commit(nas__atomic_file *f);
void nas__atomic_abandon(nas__atomic_file *f);

/* Creates a directory and its parents; an existing directory is fine. */
nas_status nas__make_directory(const char *path);
bool nas__exists(const char *path);
bool nas__is_file(const char *path); /* a regular one */
bool nas__is_directory(const char *path);
/* directory/name, to be freed by the caller. */
char *nas__join(const char *directory, const char *name);

#endif
