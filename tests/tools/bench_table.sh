#!/bin/sh
# bench/table.py with a made-up command and a made-up PyTorch: ratios, what does not agree, time-outs, going on, no PyTorch.
set -eu
fail() { echo "$*"; cat "$work/out" "$work/err"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/espalier" <<'STUB'
#!/bin/sh
echo "$2 $4 $*" >> "$(dirname "$0")/calls"
scaling=
case "$*" in *--scaling*) scaling='"scaling": {"threads": 2, "gemm": 2.0, "triad": 1.5, "step": 1.8, "share": 1.2},' ;; esac
cat <<JSON
{"machine": {"cpu": "Abacus", "isa": "wood", "threads": 2, "onednn": "0", "gemm_gflops": 100.0, "triad_gb_per_s": 10.0},
 "results": [{"name": "$2", "step_ms": 100.0, "step_ms_min": 90.0, "step_gflop": 5.0, "bound_ms": 60.0, "batch": 64, "peak_bytes": 1000000000,
 $scaling "reorders": 0.0, "allocations": 0.0, "first_loss": 2.0}]}
JSON
STUB
cat > "$work/python" <<'STUB'
#!/bin/sh
here=$(dirname "$0")
[ "$1" != -c ] || exit 0
case "$*" in
*--check*) echo '{"name": "x", "loss": 2.0, "differences": {"grad.model": {"ours": 1e-4, "peer": 2e-4}}, "agrees": true}' ;;
*compile*nb201*|*nb201*compile*) exit 3 ;;
*compile*|*mobilenetv2*"--mode bf16"*) sleep 60 & sleep 61 ;;
*"--mode bf16"*) echo '{"mode": "bf16", "step_ms": 200.0, "step_ms_min": 190.0, "first_loss": 2.1, "agrees": null, "peak_bytes": 1, "torch": "9"}' ;;
*channels_last*) echo '{"mode": "channels_last", "step_ms": 300.0, "step_ms_min": 290.0, "first_loss": 2.0, "agrees": null, "peak_bytes": 1, "torch": "9"}' ;;
*) cat "$here/eager" ;;
esac
STUB
chmod +x "$work/espalier" "$work/python"
eager() { echo "{\"mode\": \"eager\", \"step_ms\": 400.0, \"step_ms_min\": 390.0, \"first_loss\": $1, \"agrees\": null, \"peak_bytes\": 4000000000, \"torch\": \"9\"}" > "$work/eager"; }

# run CODE ARGUMENTS...
run() {
    wanted=$1 code=0
    shift
    ESPALIER_PEER_PYTHON="$work/python" python3 bench/table.py "$work/espalier" --threads 2 "$@" > "$work/out" 2> "$work/err" || code=$?
    [ "$code" = "$wanted" ] || fail "status $code instead of $wanted: $*"
}
shows() { grep -qE -- "$1" "$work/out" || fail "not shown: $1"; }

eager 2.0
run 0 --rows W3
shows 'Abacus, wood, 2 threads: 100 GFLOP/s, 10 GB/s; oneDNN 0, PyTorch 9'
shows '^W3 nb201, batch 64'
shows '^  espalier +100\.0 +90\.0 +640\.0 +50 +60% +1\.00 +0 +0$'
shows '^  channels_last +300\.0 +290\.0 .* 3\.00x$' # the better layout alone
shows 'the same first step: grad.model 1\.0e-04 from double precision'

# all modes, once: the second time everything is there already
run 0 --rows W3 --all --store "$work/store"
shows '^  eager .* 4\.00x$'
shows '^  compile +nb201: the peer ended with status 3'
shows '1 -> 2 threads: step 1\.80x, products 2\.00x, memory 1\.50x; 1\.20 of the smaller'
before=$(wc -l < "$work/calls")
cp "$work/out" "$work/first"
run 0 --rows W3 --all --store "$work/store"
cmp -s "$work/out" "$work/first" || fail "another table from the same measurements"
[ "$(wc -l < "$work/calls")" = "$before" ] || fail "measured again what was in the store"

# another network is no peer
eager 2.5
run 1 --rows W3 --modes eager
shows 'ANOTHER FIRST LOSS'
grep -q 'grad.model' "$work/out" || fail "no check"

# compiling has its time, and no longer; and bf16, where it is emulated
ESPALIER_COMPILE_SECONDS=1
export ESPALIER_COMPILE_SECONDS
run 0 --rows W1 --modes compile
shows '^  compile +not done after 1 s$'
run 0 --rows W11 --modes bf16
shows '^  bf16 +200\.0 .* 2\.00x$'
shows '^  bf16 +not done after 1 s$'

# as many evaluations as there are paths
run 0 --rows W8b --modes channels_last
grep -q '^spos-evaluation 64 .*--steps 20' "$work/calls" || fail "other than 20 evaluations"

run 2 --rows W12
grep -q 'there are W1' "$work/err" || fail "an unknown row is not refused"

ESPALIER_PEER_PYTHON=/nowhere python3 bench/table.py "$work/espalier" --threads 2 --rows W11 > "$work/out" 2> "$work/err"
shows '^W11 mobilenetv2, batch 64'
grep -q 'pip install torch' "$work/err" || fail "nothing says how to get PyTorch"
grep -q 'mobilenetv2 64' "$work/calls" || fail "the batch is not passed on"
