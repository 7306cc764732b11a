/* trial.c - `espalier trial RUN`: one trial of a search with --jobs, in a process of its own; the search starts it
 * (jobs.c). */
#include "cli/jobs.h"

#include "core/error.h"
#include "core/memory.h"
#include "search/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The parent may have died before this process could say that it wants to die with it. */
static nas_status die_with(json_int_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return (json_int_t)getppid() == parent ? NAS_OK : nas__fail(NAS_IO, "the search that wanted the trial is gone");
}

/* For tests: this trial dies as of a bug. */
static void crash_if_asked(json_int_t trial) {
    const char *which = getenv("ESPALIER_TEST_CRASH_TRIAL");
    if (which && strtoll(which, NULL, 10) == trial) {
        abort();
    }
}

static json_t *result_json(nas_status status, const double *metrics) {
    if (status) {
        json_t *error = json_pack("{s:{s:i, s:s}}", "error", "status", (int)status, "message", nas_error_message());
        nas_error_clear();
        return error;
    }
    return json_pack("{s:o}", "metrics", nas__metrics_json(metrics));
}

static nas_status cli_trial(cli_args *a) {
    json_t *request = json_loadf(stdin, 0, NULL), *place = json_object_get(request, "directory");
    const char *architecture = json_string_value(json_object_get(request, "architecture"));
    double metrics[NAS__MOST_METRICS];
    for (int i = 0; i < NAS__MOST_METRICS; i++) {
        metrics[i] = NAN;
    }
    nas_status status = architecture ? die_with(json_integer_value(json_object_get(request, "parent")))
                                     : nas__fail(NAS_USAGE, "it is started by `espalier search --jobs N`");
    if (!status) {
        crash_if_asked(json_integer_value(json_object_get(request, "trial")));
        status = cli_search_alone(a, a->names[0], architecture, json_number_value(json_object_get(request, "share")),
                                  json_string_value(place), metrics);
        json_t *result = result_json(status, metrics);
        bool written = json_dumpf(result, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) == 0; /* every bit */
        status = written ? NAS_OK : nas__fail(NAS_IO, "stdout cannot be written");
        json_decref(result);
    }
    json_decref(request);
    return status;
}

const cli_command cli_trial_command = {.name = "trial",
                                       .summary = "one trial of a search with --jobs, which starts it",
                                       .arguments = "RUN",
                                       .example = "espalier search --strategy random --jobs 2",
                                       .options = "",
                                       .defaults = "",
                                       .least = 1,
                                       .most = 1,
                                       .run = cli_trial};
