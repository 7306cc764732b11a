#!/bin/sh
# Ctrl-C and SIGTERM end a search with the best so far exported; --resume goes on; a retraining likewise.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
# As users have it: the process starts itself anew, for threads that wait in short spins.
unset OMP_WAIT_POLICY GOMP_SPINCOUNT

# stop SIGNAL CODE FILE ARGUMENT...: the signal when FILE (a pattern: old checkpoints go) is there.
# The command is started by a shell of its own, since a shell's background jobs ignore SIGINT otherwise.
stop() {
    signal=$1 code=$2 file=$3
    shift 3
    got=0
    bash -c 'set -m; "$@" >out 2>err & echo $! >pid; wait $!' stop "$espalier" "$@" &
    shell=$!
    tries=0
    # shellcheck disable=SC2086
    until ls $file >found 2>&1 || [ $tries -ge 1000 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    tr '\0' '\n' <"/proc/$(cat pid)/environ" | grep -q '^GOMP_SPINCOUNT=[1-9]' || fail "threads wait in libgomp's own way"
    [ "$(cat "/proc/$(cat pid)/comm")" = espalier ] || fail "the process lost its name: $(cat "/proc/$(cat pid)/comm")"
    kill -"$signal" "$(cat pid)"
    wait $shell || got=$?
    [ "$got" = "$code" ] || fail "SIG$signal: exit status $got, not $code"
}

# shellcheck disable=SC2086
stop INT 130 'R/checkpoint-*' search $small --strategy darts --epochs 500 --out R
[ -s R/final_architecture.json ] || fail "SIGINT: no architecture was exported"
in_file out 'Search stopped'
in_file R/result.json '"status": "stopped"'
# shellcheck disable=SC2086
stop TERM 143 'T/checkpoint-*' search $small --strategy darts --epochs 500 --out T --json
in_file out '"status": "stopped"'
in_file out '"canonical": "|'

# a second signal does not wait, and says what that costs
bash -c 'set -m; "$@" >out 2>err & echo $! >pid; wait $!' twice "$espalier" search --space darts --limit-images 4000 \
    --batch 512 --epochs 2 --out W & shell=$!
tries=0
until grep -q 'run directory W' err 2>/dev/null || [ $tries -ge 1000 ]; do sleep 0.05; tries=$((tries + 1)); done
kill -INT "$(cat pid)"
sleep 0.2
kill -INT "$(cat pid)" || fail "a step of 512 images ended before the second signal"
got=0
wait $shell || got=$?
[ "$got" = 130 ] || fail "the second SIGINT: exit status $got, not 130"
in_file err 'since its last checkpoint is lost'

# what was found can be retrained at once
stop INT 130 'R/retrain-1/checkpoint-*' retrain R --epochs 500 --limit-batches 2 --batch 16 --limit-images 300 --threads 1
in_file out 'Retraining stopped'
expect 1 eval R
in_file err 'has no finished retraining'
done_epochs=$(sed -n 's/.*"epochs": \([0-9]*\).*/\1/p' R/retrain-1/result.json)
[ "$done_epochs" -ge 1 ] || fail "no epoch was counted"

# a comparison ends in the network that it is at
stop INT 130 'R/compare/searched/checkpoint-*' compare R --random 3 --epochs 500 --limit-batches 2 --batch 16 --limit-images 300 --threads 1
in_file out 'Comparison stopped'
in_file out 'the same command goes on'
[ ! -e R/compare/random-1 ] || fail "the next network was begun after the signal"
