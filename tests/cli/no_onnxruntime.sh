#!/bin/sh
# Without libonnxruntime: what is said, and that nothing is written.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

refused 'espalier eval --onnx FILE --data D' eval
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
