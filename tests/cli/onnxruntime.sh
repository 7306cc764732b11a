#!/bin/sh
# With libonnxruntime (ESPALIER_ONNXRUNTIME's, or Python's): exported files give what the network gives, and are measured.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

find='import glob, os, onnxruntime; print(glob.glob(os.path.dirname(onnxruntime.__file__) + "/capi/libonnxruntime.so*")[0])'
library=${ESPALIER_ONNXRUNTIME:-$(python3 -c "$find" 2>/dev/null || true)}
[ -n "$library" ] || {
    echo "no libonnxruntime here"
    exit 77
}
export ESPALIER_ONNXRUNTIME="$library"
short="--limit-images 600 --limit-batches 3 --batch 32 --threads 1"

# shellcheck disable=SC2086
{
    expect 0 search $small --strategy random --budget trials=1 --epochs 1 --out R --quiet
    expect 0 retrain R --epochs 1 $short --quiet
}
expect 0 export R --onnx normal.onnx
expect 0 export R --onnx raw.onnx --raw-pixels

# loss_of FILE N: the N-th loss in it
loss_of() { grep -o '"loss": [0-9.]*' "$1" | sed -n "$2s/.*: //p"; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && b > 0 && (a - b) ^ 2 < 1e-8) }' || fail "$1 is not $2"; }

expect 0 eval R --onnx normal.onnx --limit-images 300 --threads 1 --json
near "$(loss_of out 1)" "$(loss_of out 2)"
for text in '"engine": "onnxruntime ' '"file": "normal.onnx"' '"latency_ms": ' '"preprocessing": "by its metadata"' '"name": "Sneaker"'; do in_file out "$text"; done
cp out both
expect 0 eval --onnx raw.onnx --limit-images 300 --threads 1 --json
near "$(loss_of both 1)" "$(loss_of out 1)"
in_file out '"preprocessing": "inside of the file"'
expect 0 eval R --onnx raw.onnx --limit-images 100 --threads 1
in_file out 'ms for one sample, by onnxruntime'
in_file out 'ms for one sample, by espalier'

# other files, other data
expect 1 eval --onnx R/config.json
in_file err 'R/config.json: onnxruntime: '
expect 1 eval --onnx nowhere.onnx
in_file err 'nowhere.onnx'
echo 'a,b,kind
0.5,0.5,1
0.25,1,0
0.1,0.9,1
0.8,0.2,0' >rows.csv
expect 1 eval --onnx normal.onnx --data csv:rows.csv,target=kind
in_file err 'normal.onnx takes samples of 1x28x28'

# one network, and a table, which is of one backend
expect 0 profile R --backend onnxruntime
in_file out ', by onnxruntime '
space="--space nb201 --set channels=4 --set cells=1 --input 3x16x16 --budget minutes=0.0001"
# shellcheck disable=SC2086
{
    expect 1 profile $space --backend onnxruntime --out table.json
    in_file err 'table.json is not complete'
    in_file table.json '"engine": "onnxruntime '
    grep -q '"op": "conv 4x4x3x3 pad 1, batch_norm"' table.json || fail "no convolution was measured"
    expect 1 profile $space --out table.json
    in_file err 'table.json was measured with onnxruntime'
}
awk '/"op": "conv 4x4x3x3/ { inside = 1 } inside && /"ns": / { gsub(/[^0-9.]/, ""); exit !($0 > 0) }' table.json || fail "a convolution takes no time"
