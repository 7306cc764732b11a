/* report.c - `espalier report`: runs as one file to mail or to keep with what a build made. */
#include "cli/cli.h"

#include "core/error.h"
#include "web/report.h"

#include <stdlib.h>

nas_status cli_report(cli_args *a) {
    if (!a->html && !a->md) {
        return nas__fail(NAS_USAGE,
                         "report: nothing to write; --html FILE is the page, --md FILE a table and a picture");
    }
    char *picture = NULL;
    json_t *report = nas__report_new(a->n_names, a->names);
    nas_status status = report ? NAS_OK : nas_error_status();
    if (!status && a->html) {
        status = nas__report_html(report, a->html);
    }
    if (!status && a->md) {
        status = nas__report_markdown(report, a->md, &picture);
    }
    if (!status && a->json) {
        status =
            cli_print_json(json_pack("{s:i, s:s?, s:s?, s:s?}", "runs", json_array_size(json_object_get(report, "ids")),
                                     "html", a->html, "md", a->md, "picture", picture));
    } else if (!status) {
        printf("%s%s%s%s%s\n", a->html ? a->html : "", a->html && a->md ? ", " : "", a->md ? a->md : "",
               picture ? ", " : "", picture ? picture : "");
    }
    json_decref(report);
    free(picture);
    return status;
}
