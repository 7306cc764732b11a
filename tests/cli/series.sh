#!/bin/sh
# Signals from NumPy arrays, all the way: search, retrain, eval on a space of 1-D cells.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
"$2" X.npy y.npy

cells="--set channels=8 --set cells=3 --set nodes=2"
# shellcheck disable=SC2086
expect 0 search --space signal1d $cells --strategy darts --data npy:X.npy,y.npy --epochs 1 --batch 32 --limit-batches 5 \
    --threads 1 --out run --json
in_file out '"normal/edge_2_0"'
in_file out '"canonical": "normal=|'
expect 0 retrain run --epochs 3 --batch 32 --threads 1 --json
expect 0 eval run --json
accuracy=$(sed -n 's/.*"acc1": *\([0-9.]*\).*/\1/p' out | head -n 1)
awk -v a="$accuracy" 'BEGIN { exit !(a > 0.7) }' || fail "accuracy $accuracy on three tones"

# a space for images
expect 1 search --space darts --strategy darts --data npy:X.npy,y.npy --epochs 1 --out other
in_file err 'needs 8x8 pixels'
