#!/bin/sh
# A retrained network in the formats of other tools; what cannot be written says so and leaves what was there.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
short="--limit-images 600 --limit-batches 3 --batch 32 --threads 1"

# shellcheck disable=SC2086
expect 0 search $small --strategy random --budget trials=1 --epochs 1 --out R --quiet
expect 1 export R --onnx network.onnx
in_file err 'espalier retrain R'
# pictures need no weights: a run that is not retrained, or a file
expect 0 export R --svg searched.svg
in_file searched.svg '<title>nb201</title>'
expect 0 export --space nb201 --arch R/final_architecture.json --svg given.svg
cmp -s searched.svg given.svg || fail "the same cell gave another picture"
echo '{"layer_1": 0, "layer_2": 1, "layer_3": 2, "layer_4": 3, "layer_5": 0, "skip": 0}' >chain.json
expect 0 export --space chain --arch chain.json --input 3x64x64 --set channels=8 --svg chain.svg --dot chain.dot --json
in_file out '"format": "dot"'
in_file chain.svg '8x64x64'
in_file chain.dot 'label="conv5x5"'
refused 'a space has no weights' export --space nb201 --arch R/final_architecture.json --onnx x.onnx
refused 'for drawings alone' export R --svg x.svg --onnx x.onnx --input 3x8x8
refused 'or for drawings --space S --arch FILE' export --svg x.svg
refused 'both would write' export R --svg same --dot same
expect 1 export --space nb201 --arch searched.svg --svg x.svg
in_file err 'searched.svg, line 1'
expect 1 export --space darts --arch R/final_architecture.json --svg x.svg
in_file err 'normal/'
expect 1 export R --svg no/such/place.svg
in_file err 'no/such/place.svg'
[ ! -e x.svg ] || fail "something was written"
expect 1 export nowhere --svg x.svg
in_file err 'nowhere: no such run directory'
expect 1 export nowhere --onnx network.onnx
in_file err 'nowhere: no such run directory'
# shellcheck disable=SC2086
expect 0 retrain R --epochs 1 $short --quiet

expect 0 export R --onnx network.onnx --svg trained.svg
in_file out 'network.onnx'
cmp -s searched.svg trained.svg || fail "training changed the picture"
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
