/* Tables of accuracies: every row of what is accepted is found by its name, and its numbers are finite. */
#include "data_file.h"
#include "fuzz.h"
#include "search/truth.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nas__truth *t = nas__truth_open(write_data_file("in.csv", data, size), false);
    if (!t && (!nas_error_status() || !nas_error_message()[0])) {
        abort();
    }
    nas_error_clear();
    for (int64_t i = 0; t && i < t->n; i++) {
        if (nas__truth_find(t, t->rows[i].arch) != &t->rows[i] || !isfinite(t->rows[i].seen) ||
            !isfinite(t->rows[i].truth)) {
            abort();
        }
    }
    nas__truth_free(t);
    return 0;
}
