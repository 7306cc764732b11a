/* options.h - typed options from one table: parsing, ranges, defaults, help and "did you mean" all come from its rows.
 */
#ifndef ESPALIER_OPTIONS_H
#define ESPALIER_OPTIONS_H

#include <espalier/core.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nas_option_type {
    NAS_OPTION_INT,    /* int */
    NAS_OPTION_FLOAT,  /* double */
    NAS_OPTION_BOOL,   /* bool; 0|1|true|false|yes|no|on|off */
    NAS_OPTION_CHOICE, /* int: the index of one of the words in .choices ("a|b|c") */
    NAS_OPTION_TEXT,   /* char[NAS_OPTION_TEXT_SIZE]: a file name, say; without commas */
    NAS_OPTION_LIST    /* nas_list; written "3-5-7" */
} nas_option_type;
enum { NAS_OPTION_TEXT_SIZE = 256 };

/* Some whole numbers, none negative. */
#define NAS_LIST_MOST 12
typedef struct nas_list {
    int n;
    int values[NAS_LIST_MOST];
} nas_list;

/* One row; a table ends with a NULL name. */
typedef struct nas_option {
    const char *name;
    nas_option_type type;
    size_t offset;       /* of the field in the options' struct */
    const char *initial; /* default, as it would be written */
    double min, max;     /* of numbers, each of a list; both 0: any */
    const char *choices;
    const char *help;
} nas_option;

/* Fills `fields` with the table's defaults. */
NAS_API nas_status nas_options_default(const nas_option *table, void *fields);
/* Sets one option; unknown name (with the nearest one), wrong type or out of range: an error that says so. */
NAS_API nas_status nas_options_set(const nas_option *table, void *fields, const char *name, const char *value);
/* The value as it would be written, into text. */
NAS_API void nas_options_get(const nas_option *row, const void *fields, char *text, size_t size);
/* The row of a name; NULL (no error) when there is none. */
NAS_API const nas_option *nas_options_find(const nas_option *table, const char *name);

#ifdef __cplusplus
}
#endif
#endif
