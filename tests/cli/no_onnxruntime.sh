#!/bin/sh
# Without libonnxruntime: what is said, and that nothing is written; and ONNX files that this program runs itself.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

refused 'espalier eval --onnx FILE --data D' eval
refused 'there are espalier and onnxruntime, not "tvm"' eval --onnx n.onnx --backend tvm
refused '--backend is for --onnx FILE' eval R --backend espalier
refused '--onnxruntime is for --backend onnxruntime' eval --onnx n.onnx --backend espalier --onnxruntime lib.so
refused '--onnxruntime is for --onnx FILE' eval nowhere --onnxruntime lib.so
refused 'there are espalier and onnxruntime, not "tvm"' profile --space nb201 --backend tvm --out t.json
refused '--onnxruntime is for --backend onnxruntime' profile --space nb201 --onnxruntime lib.so
refused 'give --out FILE for a table' profile --space nb201 --backend onnxruntime

for command in "eval --onnx n.onnx" "profile --space nb201 --set channels=4 --set cells=1 --backend onnxruntime --out t.json"; do
    # shellcheck disable=SC2086
    expect 1 $command --onnxruntime /nowhere/libonnxruntime.so
    in_file err '/nowhere/libonnxruntime.so, named by --onnxruntime, cannot be opened'
    echo 'no library' >lib.so
    # shellcheck disable=SC2086
    ESPALIER_ONNXRUNTIME=$PWD/lib.so expect 1 $command
    in_file err 'named by ESPALIER_ONNXRUNTIME, cannot be opened'
    library=$(find /lib /usr/lib -name 'libm.so.6' 2>/dev/null | head -n 1)
    if [ -n "$library" ]; then
        # shellcheck disable=SC2086
        expect 1 $command --onnxruntime "$library"
        in_file err 'no libonnxruntime of version 1.2 or later'
    fi
    [ ! -e t.json ] || fail "a table was written"
done

# an exported file comes back
short="--limit-images 600 --limit-batches 3 --batch 32 --threads 1 --quiet"
loss_of() { grep -o '"loss": [0-9.]*' out | sed -n "$1s/.*: //p"; }
# shellcheck disable=SC2086
{
    expect 0 search --space chain --set channels=4 --set layers=4 --strategy random --budget trials=1 --epochs 1 $short --out R
    expect 0 retrain R --epochs 1 $short
}
expect 0 export R --onnx network.onnx --raw-pixels
expect 1 eval R --onnx network.onnx --backend espalier
in_file err 'this operation is not read'
for more in "" --keep-batch-norm; do
    # shellcheck disable=SC2086
    expect 0 export R --onnx network.onnx $more
    expect 0 eval R --onnx network.onnx --backend espalier --limit-images 300 --threads 1 --json
    awk -v a="$(loss_of 1)" -v b="$(loss_of 2)" 'BEGIN { exit !(a > 0 && b > 0 && (a - b) ^ 2 < 1e-8) }' || fail "not the same loss"
    in_file out '"engine": "espalier '
    in_file out '"preprocessing": "by its metadata"'
done
expect 1 eval --onnx R/config.json --backend espalier
in_file err 'R/config.json is no ONNX file'
expect 1 eval --onnx nowhere.onnx --backend espalier
in_file err 'nowhere.onnx'
