#!/bin/sh
# A retrained network in the formats of other tools; what cannot be written says so and leaves what was there.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
short="--limit-images 600 --limit-batches 3 --batch 32 --threads 1"

# shellcheck disable=SC2086
expect 0 search $small --strategy random --budget trials=1 --epochs 1 --out R --quiet
expect 1 export R --onnx network.onnx
in_file err 'espalier retrain R'
expect 1 export nowhere --onnx network.onnx
in_file err 'nowhere: no such run directory'
# shellcheck disable=SC2086
expect 0 retrain R --epochs 1 $short --quiet

expect 0 export R --onnx network.onnx
in_file out 'network.onnx'
for text in preprocessing T-shirt edge_1_0 '"scale":0.0039' nb201 espalier; do grep -qaF -- "$text" network.onnx || fail "network.onnx lacks $text"; done
expect 0 export R --onnx kept.onnx --keep-batch-norm --raw-pixels --json
for text in '"run": "R/retrain-1"' '"parameters": ' '"format": "onnx"' '"file": "kept.onnx"' '"bytes": '; do in_file out "$text"; done
grep -qaF .gamma kept.onnx || fail "batch norms were not kept"
grep -qaF preprocessing_inside kept.onnx || fail "the file does not normalise"

# wrong usage, and a place that cannot be written
refused 'nothing to write' export R
cp network.onnx before
mkdir blocked.onnx
expect 1 export R --onnx blocked.onnx
in_file err 'blocked.onnx: cannot be written'
expect 1 export R --onnx no/such/place.onnx
in_file err 'no/such/place.onnx'
cmp -s network.onnx before || fail "another file was touched"
expect 0 export R --onnx network.onnx
cmp -s network.onnx before || fail "the same network gave another file"

# C: what is printed is what the compiler makes of it
expect 0 export R --c found.c --safetensors found.safetensors --json
arena=$(sed -n 's/.*"arena_bytes": \([0-9]*\).*/\1/p' out)
[ "$arena" -gt 0 ] || fail "no arena"
in_file out '"weight_bytes": '
in_file found.c "static float found_arena[$((arena / 4))];"
if grep -qaF .gamma found.safetensors || ! grep -qaF .running_mean found.safetensors; then
    fail "no names of weights"
fi
cat >main.c <<'END'
#include <stdio.h>
void found_run(const float *input, float *output);
int main(void) {
    static float x[28 * 28], y[10];
    found_run(x, y);
    printf("%g\n", y[0]);
    return y[0] != y[0];
}
END
${CC:-cc} -std=c99 -Wall -Wextra -Werror main.c found.c -o found -lm || fail "the C file does not compile"
./found >/dev/null || fail "the program computes nothing"
refused '--raw-pixels is for --onnx' export R --c found.c --raw-pixels
refused 'both would write' export R --c same --onnx same
