#!/bin/sh
# A search leaves an architecture, its score and everything to repeat it; bad directories and data are told apart.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

# second-order DARTS on its own space
expect 0 search --space darts --strategy darts --data fashion-mnist --set order=2 --set channels=4 --set layers=3 --set nodes=2 --epochs 1 \
    --limit-batches 2 --batch 8 --limit-images 1200 --threads 1 --out D --op-times
for file in final_architecture.json search-result.json config.json run.sqlite checkpoint-00001.safetensors; do
    [ -s "D/$file" ] || fail "D/$file is missing"
done
in_file D/final_architecture.json '"normal/node_2/inputs"'
in_file out 'espalier retrain D'
in_file out 'GFLOP/s'
in_file D/result.json '"optimiser"'
in_file D/config.json '"strategy.order": "2"'
in_file D/config.json '"space.layers": "3"'
in_file D/config.json '"command_line"'

# every strategy that takes nb201, results as JSON and nothing else on stdout
expect 0 list strategies
# shellcheck disable=SC2013
for strategy in $(sed -n 's/^  \([a-z0-9_-]*\) .*/\1/p' out); do
    # shellcheck disable=SC2086
    if ! "$espalier" search $small --strategy "$strategy" --epochs 1 --budget trials=2 --out "N-$strategy" --json >out 2>err; then
        in_file err 'strategies that take this space'
        continue
    fi
    [ "$(head -c 1 out)" = "{" ] || fail "stdout is not JSON alone"
    for text in '"status": "finished"' "\"strategy\": \"$strategy\"" '"space": "nb201"' '"architecture": {' '"canonical": "|' '"acc1"'; do
        in_file out "$text"
    done
    [ -s "N-$strategy/final_architecture.json" ] || fail "$strategy left no architecture"
done

# bf16 that is not to be had is said so, and the plan has what is in effect; the images are found from elsewhere, too
where=$("$espalier" doctor --json | sed -n 's/.*"directory": *"\([^"]*fashion-mnist[^"]*\)".*/\1/p' | head -n 1)
ln -s "$where" linked-images
# shellcheck disable=SC2086
expect 0 search $small --precision bf16 --data-dir linked-images --epochs 1 --out P
in_file err 'precision bf16 is off'
in_file out ', 1 epoch in'
tr -d ' \n' <P/config.json >plain
in_file plain '"plan":{"precision":"f32"}'
in_file plain '"precision":"bf16"'
in_file plain '"data-dir":"/'
mkdir elsewhere && cd elsewhere
# shellcheck disable=SC2086
expect 0 search --out ../P --resume --epochs 2
cd ..

# a budget of evaluations is kept, by a strategy that scores one architecture per epoch and by one that scores many
for strategy in darts enas gdas fbnet proxyless spos bender; do
    # shellcheck disable=SC2086
    expect 0 search $small --strategy $strategy --epochs 4 --budget trials=3 --out "B-$strategy" --json
    in_file "B-$strategy/search-result.json" '"evaluations": 3,'
done

# a limit is met by what is exported, as profile counts it; one that nothing meets is told with the numbers
# shellcheck disable=SC2086
expect 0 search $small --limit macs=1M,params=7k --epochs 1 --out L
in_file L/search-result.json '"params": {'
expect 0 profile L --json
macs=$(sed -n 's/.*"macs": \([0-9]*\).*/\1/p' out)
parameters=$(sed -n 's/.*"parameters": \([0-9]*\).*/\1/p' out)
[ "$macs" -le 1000000 ] || fail "$macs multiply-adds"
[ "$parameters" -le 7000 ] || fail "$parameters parameters"
# shellcheck disable=SC2086
refused 'was macs=1M,params=7k in L and is macs=2M now' search $small --limit macs=2M --out L --resume
# shellcheck disable=SC2086
expect 1 search $small --limit params=100 --epochs 1 --out M
in_file err 'limit params=100 cannot be met: the cheapest architecture of this space has 4.822k'

# --out
refused 'is not empty' search --out D
touch file
refused 'is a file' search --out file
expect 1 search --out /proc/espalier/run
in_file err '/proc'

# data
expect 1 search --data cifar10 --data-dir "$work/nowhere" --out X
in_file err 'nowhere'
expect 1 search --data "folder:$work/nowhere" --out Y
in_file err 'nowhere'
# shellcheck disable=SC2086
expect 1 search --space nb201 --limit-images 100 --batch 64 --out Z
in_file err 'atch'

# --config repeats a run, the command line wins, and what is no option is refused
expect 0 search --config D/config.json --seed 3 --quiet --out E --epochs 1
[ ! -s err ] || fail "--quiet was not quiet"
in_file E/config.json '"strategy.order": "2"'
in_file E/config.json '"seed": 3'
echo '{"epochz": 3}' >wrong.json
refused '"epochz" is no option' search --config wrong.json

expect 0 log D
in_file out 'valid acc1'
expect 0 profile D --json
in_file out '"architecture"'
