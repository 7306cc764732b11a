#!/bin/sh
# flow.sh EXAMPLES: examples/train.c and retrain.c one after the other, as their user would run them: search, fix, train, score.
set -eu
examples=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
fail() {
    echo "$*"
    exit 1
}

for program in train retrain; do
    # shellcheck disable=SC2046
    $CC -std=c17 "$examples/$program.c" -o $program $(pkg-config --cflags --libs espalier)
done
LD_LIBRARY_PATH=$LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

./train 1 2
[ -s model_dir/search-result.json ] || fail "no search-result.json"
./retrain model_dir 1 2 | tee retrain.log
grep -q '^10000 test images' retrain.log || fail "not scored on the test images"
[ -s model_dir/weights.safetensors ] || fail "no weights"
# Fixing has removed what was not chosen.
sed -n 's/.*: \([0-9]*\) parameters, of \([0-9]*\) .*/\1 \2/p' retrain.log | {
    read -r left all
    [ "$left" -gt 0 ] && [ "$left" -lt "$all" ]
} || fail "nothing was pruned"

# Every form of a choice is read; nonsense is refused with the key and the candidates.
echo '{"LayerChoice1": 2, "InputChoice2": [true, false]}' >model_dir/final_architecture.json
./retrain model_dir 1 1 >/dev/null
echo '{"LayerChoice1": "conv7x7", "InputChoice2": "layer1"}' >model_dir/final_architecture.json
code=0
./retrain model_dir 1 1 2>error.log || code=$?
[ "$code" = 1 ] || fail "an unknown candidate: exit $code"
grep -q 'LayerChoice1.*conv7x7.*conv3x3.*conv5x5.*sep5x5' error.log || fail "the message does not help: $(cat error.log)"
