/* precision.c - --precision: what is asked for, and what is in effect. */
#include "cli/cli.h"

#include "core/error.h"

#include <string.h>

nas_precision cli_precision(const cli_args *a) {
    bool f32 = !a->precision || strcmp(a->precision, "f32") == 0;
    return f32 ? NAS_F32 : strcmp(a->precision, "bf16") == 0 ? NAS_BF16 : NAS_AUTO;
}

const char *cli_precision_in_effect(const cli_args *a) {
    return a->precision && !nas_bf16_missing() ? a->precision : "f32";
}

nas_status cli_precision_check(const cli_args *a) {
    if (cli_precision(a) == NAS_AUTO && strcmp(a->precision, "auto") != 0) {
        return nas__fail(NAS_USAGE, "--precision: there are f32, bf16 and auto, not \"%s\"", a->precision);
    }
    if (cli_precision(a) == NAS_AUTO && a->jobs > 0) {
        return nas__fail(
            NAS_USAGE,
            "--precision auto measures, and trials side by side (--jobs) disturb each other; say f32 or bf16");
    }
    if (cli_precision(a) == NAS_BF16 && nas_bf16_missing()) {
        cli_note("--precision bf16 is off: %s; computing in f32", nas_bf16_missing());
    }
    return NAS_OK;
}
