/* Tables of costs: the cost of every architecture of what is accepted is a number. */
#include "data_file.h"
#include "fuzz.h"
#include "hardware/cost_table.h"

#include <espalier/space.h>

#include <math.h>

static nas_module *model;
static nas_space *space;

static void close_space(void) {
    nas_space_free(space);
    nas_module_free(model);
}

static void open_space(void) {
    model = nas_space_build("chain", &(nas_space_config){.channels = 1, .height = 4, .width = 4, .outputs = 2});
    space = model ? nas_space_new(model) : NULL;
    if (!space) {
        abort();
    }
    atexit(close_space);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!space) {
        open_space();
    }
    nas__cost_table *t = nas__cost_table_read(space, write_data_file("in.json", data, size));
    nas_architecture *first = nas_architecture_new(space);
    if (!first || (!t && (!nas_error_status() || !nas_error_message()[0])) ||
        (t && isnan(nas__cost_of_architecture(t, first)))) {
        abort();
    }
    nas_error_clear();
    nas_architecture_free(first);
    nas__cost_table_free(t);
    return 0;
}
