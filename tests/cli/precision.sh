#!/bin/sh
# --precision: what is refused, what is in effect, and a run in bf16 (emulated where the processor has none) that goes on
# with what it chose.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

wide="--space nb201 --set channels=16 --set cells=1 --limit-images 600 --batch 16 --limit-batches 2 --threads 1 --strategy darts"
# shellcheck disable=SC2086
refused 'there are f32, bf16 and auto, not "half"' search $wide --precision half --out no
# shellcheck disable=SC2086
refused '--precision auto measures' search $small --strategy random --jobs 2 --precision auto --out no
[ ! -e no ] || fail "a refused search left a directory"

# ESPALIER_ISA takes away what bf16 needs, on every machine
# shellcheck disable=SC2086
ESPALIER_ISA=generic expect 0 search $small --strategy random --epochs 1 --budget trials=1 --precision bf16 --out off
in_file err '--precision bf16 is off: it needs AVX-512'
in_file off/config.json '"precision": "f32"'
in_file off/config.json '"precision": "bf16"'

export ESPALIER_BF16=force
"$espalier" doctor --json >machine
if ! grep -q '"isa": "avx512"' machine; then
    exit 0
fi
# shellcheck disable=SC2086
expect 0 search $wide --epochs 2 --precision bf16 --out whole
in_file err 'bf16 for '
in_file err ' shapes of dense convolutions'
# shellcheck disable=SC2086
expect 0 search $wide --epochs 1 --precision bf16 --out part
refused '--precision was bf16' search --out part --resume --precision f32
expect 0 search --out part --resume --epochs 2
in_file out '2 epochs'
expect 0 retrain whole --epochs 1 --limit-batches 2 --batch 16 --limit-images 300 --threads 1 --precision auto
in_file err ' shapes of dense convolutions'
