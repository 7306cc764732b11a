#!/bin/sh
# A searched network against random ones under the same retraining: a call that is killed and repeated goes on, what is
# printed follows from the numbers, and networks that break and spaces with nothing to draw from are told.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
options="--epochs 1 --limit-batches 3 --batch 16 --limit-images 300 --threads 1"

# shellcheck disable=SC2086
expect 0 search $small --strategy darts --epochs 1 --out R --quiet

# killed in the middle, repeated: the same as without interruption
# shellcheck disable=SC2086
"$espalier" compare R --random 3 $options >out 2>err &
pid=$!
tries=0
until [ -e R/compare/random-1/config.json ] || [ $tries -ge 2000 ]; do
    sleep 0.01
    tries=$((tries + 1))
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
# shellcheck disable=SC2086
expect 0 compare R --random 3 $options --json
in_file err 'R/compare/searched is finished already'
cp out killed.json
# shellcheck disable=SC2086
expect 0 compare R --random 3 $options --json --out W
for name in searched random-1 random-2 random-3; do
    cmp "R/compare/$name/weights.safetensors" "W/$name/weights.safetensors" || fail "$name differs after a kill"
done
sed '/"run"\|seconds\|search_time\|chance/d' killed.json >a
sed '/"run"\|seconds\|search_time\|chance/d' out >b
cmp a b || fail "the comparison differs after a kill: $(diff a b | head -n 5)"

# the searched network is retrained exactly as by retrain
# shellcheck disable=SC2086
expect 0 retrain R $options --out P
cmp P/weights.safetensors W/searched/weights.safetensors || fail "retrain trains in another way"

# the numbers
[ "$(grep -o '"random-[0-9]*"' killed.json | sort -u | wc -l)" = 3 ] || fail "not three random networks"
[ "$(sed -n '/"architecture"/,/}/p' killed.json | tr -d ' \n' | sed 's/"architecture"/\n&/g' | sed '1,2d' | sort -u | wc -l)" = 3 ] ||
    fail "random networks are not distinct"
number() { sed -n "s/^ *\"$1\": \([0-9.e-]*\).*/\1/p" killed.json; }
# shellcheck disable=SC2046
[ "$(number value | wc -l)" = 4 ] || fail "not four values: $(number value)"
{
    number value
    number difference
    sed -n '/"interval": \[/,/\]/p' killed.json | sed -n 's/^ *\(-*[0-9][0-9.e-]*\),*$/\1/p'
    number at_least_as_good
} | tr '\n' ' ' | awk '
    function near(x, y) { return x - y < 1e-9 && y - x < 1e-9 }
    {
        mean = ($2 + $3 + $4) / 3
        deviation = sqrt((($2 - mean)^2 + ($3 - mean)^2 + ($4 - mean)^2) / 2)
        half = 4.30265272975 * deviation * sqrt(1 + 1 / 3)
        good = ($2 >= $1) + ($3 >= $1) + ($4 >= $1)
        exit !(NF == 8 && near($5, $1 - mean) && near($6, $5 - half) && near($7, $5 + half) && $8 == good)
    }' || fail "the statistics do not follow from the values"

expect 0 compare R --random 3 --quiet
for text in 'searched ' 'random-3 ' 'standard deviation' '95 % interval' 'of 3 random networks' 'verdict'; do in_file out "$text"; done
# more random ones: the first stay; fewer seconds than a training
expect 0 compare R --random 4 --quiet
in_file out 'random-4 '
cmp R/compare/random-1/weights.safetensors W/random-1/weights.safetensors || fail "random-1 was trained again"
refused '--epochs was 1 in R/compare and is 2 now' compare R --random 3 --epochs 2
refused '--batch was 16 in R/compare' compare R --random 3 --batch 8

# seeds: two trainings of each network
expect 0 compare R --random 2 --seeds 2 --json
in_file out '"interval_kind": "welch"'
in_file R/compare/random-2-seed-2/config.json '"seed": 1,'

# numbers that break down are a result, and are not computed again
# shellcheck disable=SC2086
expect 0 compare R --random 2 ${options%% --limit-batches*} --limit-batches 20 --batch 16 --limit-images 600 --threads 1 --lr 1000 --weight-decay 1000 --out B
in_file out 'the searched network broke'
in_file out 'broken'
not_in_file out 'verdict'
expect 0 compare B --json
expect 0 compare R --random 2 --out B
not_in_file err 'breaks'

# finished runs in one table
expect 0 compare R P
in_file out 'P '
[ "$(grep -c 'nb201' out)" = 2 ] || fail "not two rows"
expect 0 compare R P --json
in_file out '"test": 0.'
expect 1 compare nowhere
in_file err 'nowhere: no such run'
refused '--random compares one RUN' compare R P --random 3
refused 'there are none without --random' compare R --epochs 3
