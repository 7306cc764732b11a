#!/bin/sh
# demo.sh ESPALIER: the demo from its beginning to its end, in seconds instead of minutes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ESPALIER=$1 ESPALIER_DEMO_SEARCH_MINUTES=0.1 ESPALIER_DEMO_MINUTES=0.1 \
    "$(dirname "$0")/../../tools/demo" "$work/run" >"$work/out" 2>"$work/err" || { cat "$work/err"; exit 1; }
for file in final_architecture.json search-result.json run.sqlite retrain-1/weights.safetensors; do
    [ -s "$work/run/$file" ] || { echo "$file is missing"; exit 1; }
    grep -q "run/$file" "$work/out" || { echo "$file is not named"; exit 1; }
done
grep -q "10000 images of the test part" "$work/out" || { echo "no test score"; cat "$work/out"; exit 1; }
