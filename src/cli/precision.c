/* precision.c - --precision: what is asked for, and what is in effect. */
#include "cli/cli.h"

#include "core/error.h"
#include "kernels/kernels.h"

#include <string.h>

const char *cli_precision_in_effect(void) { return "f32"; /* there are no other kernels */ }

nas_status cli_precision_check(const cli_args *a) {
    if (!a->precision || strcmp(a->precision, "f32") == 0 || strcmp(a->precision, "auto") == 0) {
        return NAS_OK;
    }
    if (strcmp(a->precision, "bf16") != 0) {
        return nas__fail(NAS_USAGE, "--precision: there are f32, bf16 and auto, not \"%s\"", a->precision);
    }
    cli_note("--precision bf16 is off: %s; computing in f32",
             nas__cpu_has_amx_bf16() ? "this version has no bf16 kernels yet"
                                     : "this processor has no AMX (amx_bf16), and without it bf16 is not faster");
    return NAS_OK;
}
