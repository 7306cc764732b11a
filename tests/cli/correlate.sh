#!/bin/sh
# The ranking of a search against tables and trainings: an oracle ranks perfectly, the run stays as it was, and what
# cannot be judged is told.
# shellcheck source=tests/cli/common.sh
tables=$PWD/tests/data/tables
. tests/cli/common.sh
macro="--space macro --set channels=2 --limit-images 600 --batch 16 --limit-batches 2 --threads 1 --epochs 1 --quiet"

# shellcheck disable=SC2086
expect 0 search $macro --strategy random --set evaluate=shared --budget trials=2 --out S
sum() { cksum S/*.safetensors S/final_architecture.json S/result.json S/search-result.json; }
sum >before
expect 0 correlate S --samples 6 --truth "$tables/nas-bench-macro.csv,truth=test_acc_2+test_acc_3" --json
sum >after
cmp before after || fail "the run was changed"
for text in '"name": "score"' '"name": "macs"' '"name": "naswot"' '"partial_tau_interval"' '"samples": 6' \
    '"score": "shared weights"'; do in_file out "$text"; done
[ "$(grep -c '"network"' out)" = 6 ] || fail "not six networks"
cp out first.json
expect 0 correlate S --samples 6 --truth "$tables/nas-bench-macro.csv,truth=test_acc_2+test_acc_3" --json
cmp out first.json || fail "the same again is not the same"
in_file S/correlate/correlation.svg '<circle'
[ "$(grep -c '<circle' S/correlate/correlation.svg)" = 6 ] || fail "not six points"

# a table of a part of the space: its rows are the networks
{ sed -n 1p "$tables/nas-bench-macro.csv"; grep '^2222222' "$tables/nas-bench-macro.csv"; } >part.csv
expect 0 correlate S --samples 6 --truth part.csv --no-proxies --json
[ "$(grep -c '"network": "2222222' out)" = 3 ] || fail "not the three rows of the table"
if grep -q naswot out; then fail "there are scores of untrained networks"; fi
printf 'arch,accuracy\n01,1\n' >wrong.csv
expect 1 correlate S --truth wrong.csv
in_file err 'wrong.csv:2'

# trained alone
expect 0 correlate S --samples 3 --epochs 1 --limit-batches 2 --batch 16 --quiet
for text in 'score ' 'macs ' 'synflow ' 'trained alone'; do in_file out "$text"; done

# a table that is its own truth; a search on a table tells it beside the result
# shellcheck disable=SC2086
expect 0 search $macro --strategy evolution --set evaluate=table --set population=5 --set sample=2 --budget trials=12 --out T \
    --set "table=$tables/nas-bench-macro.csv:seen=mean_acc"
in_file T/search-result.json '"rank"'
in_file T/search-result.json '"chance_of_random"'
expect 0 correlate T --samples 8 --truth "$tables/nas-bench-macro.csv" --json
sed -n '/"name": "score"/,/}/p' out | grep -q '"tau": 1.0,' || fail "an oracle does not rank perfectly"

# runs judged by the table
expect 0 compare S T --truth "$tables/nas-bench-macro.csv"
[ "$(grep -c ' of 6561' out)" = 2 ] || fail "not two ranks"
expect 0 compare T --truth "$tables/nas-bench-macro.csv" --json
rank=$(sed -n 's/.*"rank": \([0-9]*\).*/\1/p' out)
in_file T/search-result.json "\"rank\": $rank,"
refused 'without --random' compare S --random 2 --truth "$tables/nas-bench-macro.csv"

# what cannot be
refused 'no shared weights' correlate T
refused 'no column "nothing"' correlate S --truth "$tables/nas-bench-macro.csv,truth=nothing"
# shellcheck disable=SC2086
expect 1 correlate S --truth nowhere.csv
in_file err nowhere.csv
expect 1 correlate nowhere
in_file err 'nowhere: no such run'
