/* Tables of measured latencies: what is accepted can be written and read again, with as many entries and networks. */
#include "data_file.h"
#include "fuzz.h"
#include "hardware/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = write_data_file("in.json", data, size);
    nas__profile *p = nas__profile_read(path);
    if (!p && (!nas_error_status() || !nas_error_message()[0])) {
        abort();
    }
    nas_error_clear();
    nas__profile *again = p && !nas__profile_write(p, path) ? nas__profile_read(path) : NULL;
    if (p && (!again || again->n_entries != p->n_entries || again->n_networks != p->n_networks)) {
        abort();
    }
    nas__profile_free(p);
    nas__profile_free(again);
    return 0;
}
