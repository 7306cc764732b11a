/* report.h - what the page shows of some runs, as files that need no server: the page with the API's answers in it, or
 * a table with a picture. */
#ifndef WEB_REPORT_H
#define WEB_REPORT_H

#include <espalier/core.h>

#include <jansson.h>

enum { NAS__MOST_REPORTED = 12 }; /* what a comparison holds */

/* {"date", "ids": [...], "answers": {path, or path?query: answer}}, as the page asks for them (new). NULL and an error:
 * too many runs, or one that cannot be read. */
json_t *nas__report_new(int n, const char *const *directories);
/* One HTML file with everything in it. */
nas_status nas__report_html(json_t *report, const char *path);
/* A table in Markdown that shows the picture beside it: PATH with .svg for its ending, which *picture names (new). */
nas_status nas__report_markdown(json_t *report, const char *path, char **picture);

#endif
