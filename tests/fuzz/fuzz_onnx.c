/* ONNX files: what is refused says why; what is accepted can be run, or says why not. */
#include "data_file.h"
#include "fuzz.h"

#include <espalier/io.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int ndim = 0;
    int64_t dims[NAS_MAX_DIMS] = {2};
    nas_module *model = nas_import_onnx(write_data_file("in.onnx", data, size), &ndim, dims + 1);
    if (!model && (!nas_error_status() || !nas_error_message()[0])) {
        abort();
    }
    nas_error_clear();
    int64_t count = 2;
    for (int i = 1; model && i <= ndim; i++) {
        dims[i] = dims[i] ? dims[i] : 4;
        count = dims[i] > 64 || count > 1 << 16 ? 1 << 20 : count * dims[i];
    }
    if (model && count <= 1 << 16) {
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.dry = true, .bn = NAS_BN_RUNNING});
        nas_tensor *y = nas_forward(model, nas_input(ndim + 1, dims, NULL));
        if (!y && !nas_error_status()) {
            abort();
        }
        nas_error_clear();
        nas_tape_free(tape);
    }
    nas_module_free(model);
    return 0;
}
