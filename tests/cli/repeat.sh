#!/bin/sh
# The same seed twice: the same architecture and the same losses, bit for bit; another seed: others.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

search() { # DIRECTORY SEED
    # shellcheck disable=SC2086
    expect 0 search $small --strategy darts --epochs 2 --log-frequency 1 --seed "$2" --out "$1"
    "$espalier" log "$1" --csv >"$1.csv"
}
search A 5
search B 5
search C 6
[ "$(wc -l <A.csv)" -gt 8 ] || fail "the log has too few rows: $(wc -l <A.csv)"
cmp A/final_architecture.json B/final_architecture.json || fail "the architectures differ"
cmp A.csv B.csv || fail "the losses differ"
! cmp -s A.csv C.csv || fail "another seed gave the same losses"

# and a retraining
for run in A B; do
    expect 0 retrain $run --epochs 1 --limit-batches 3 --batch 16 --limit-images 300 --threads 1 --log-frequency 1 --quiet
    "$espalier" log $run/retrain-1 --csv >"$run.csv"
done
cmp A.csv B.csv || fail "the losses of retrainings differ"
cmp A/retrain-1/weights.safetensors B/retrain-1/weights.safetensors || fail "the weights differ"

# how threads wait for each other changes no bit
for way in passive active; do
    # shellcheck disable=SC2086
    OMP_WAIT_POLICY=$way expect 0 search ${small%1}2 --epochs 1 --log-frequency 1 --out "$way"
    "$espalier" log "$way" --csv >"$way.csv"
done
unset OMP_WAIT_POLICY
# shellcheck disable=SC2086
expect 0 search ${small%1}2 --epochs 1 --log-frequency 1 --out short
"$espalier" log short --csv >short.csv
for way in passive active; do
    cmp short.csv "$way.csv" || fail "the losses depend on how threads wait"
done
