#!/bin/sh
# Trials side by side, each a process: the same networks with the same numbers as one by one, a crash costs one of them, no
# process is left behind, and a search that is killed goes on.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
space="--space nb201 --set channels=2 --set cells=1 --limit-images 400 --batch 16 --threads 1"
tiny="$space --limit-batches 1 --epochs 1"
long="$space --epochs 4000"

# evaluations RUN: networks and scores, in order; without the command sqlite3 the best one
evaluations() {
    if ! command -v sqlite3 >/dev/null; then
        sed -n '/"architecture"/,/"metrics"/p' "$1/result.json"
        return
    fi
    sqlite3 -readonly "$1/run.sqlite" \
        'SELECT hex(hash), score FROM evaluation JOIN architecture ON architecture.id = architecture_id ORDER BY evaluation.id'
}

# shellcheck disable=SC2086
expect 0 search $tiny --strategy random --budget trials=3 --out one
# shellcheck disable=SC2086
expect 0 search $tiny --strategy random --budget trials=3 --jobs 2 --out two
evaluations one >a
evaluations two >b
cmp a b || fail "random with two jobs is not random: $(diff a b)"
in_file two/config.json '"jobs": 2'
[ ! -e two/trials ] || fail "what is known of trials is left behind"

# a crash
# shellcheck disable=SC2086
ESPALIER_TEST_CRASH_TRIAL=2 expect 0 search $tiny --strategy evolution --set population=2 --set sample=1 --budget trials=3 \
    --jobs 2 --out crash
in_file err 'trial 2 failed: its process was ended by signal 6'
in_file out '3 trials'
expect 0 log crash
# shellcheck disable=SC2086
expect 0 search $tiny --strategy asha --set rungs=2 --budget trials=3 --jobs 2 --out asha

# the first trials are the best of some untrained ones
# shellcheck disable=SC2086
expect 0 search $tiny --strategy evolution --set warm_start=synflow --set warm_samples=5 --set population=2 --set sample=1 \
    --budget trials=3 --jobs 2 --out warm
in_file err 'the best 2 of 5 random architectures'
refused 'darts has no option "warm_start"; that is one of' search --strategy darts --set warm_start=macs

# a search whose trials are long, until two of them run
children() { ps -o pid= --ppid "$1" 2>/dev/null | wc -l; }
begin() {
    bash -c 'set -m; "$@" >out 2>err & echo $! >pid; wait $!' begin "$espalier" search "$@" &
    shell=$!
    tries=0
    until { [ -s pid ] && [ "$(children "$(cat pid)")" -ge 2 ]; } || [ $tries -ge 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    ps -o pid= --ppid "$(cat pid)" >running
    [ "$(wc -l <running)" = 2 ] || fail "not two processes of trials"
}
gone() {
    tries=0
    while read -r child; do
        while kill -0 "$child" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$child/status" 2>/dev/null; do
            tries=$((tries + 1))
            [ $tries -lt 100 ] || fail "$1 left process $child"
            sleep 0.1
        done
    done <running
    rm pid
}
# shellcheck disable=SC2086
begin $long --strategy random --budget trials=4 --jobs 2 --out killed
kill -9 "$(cat pid)"
wait $shell 2>/dev/null || true
gone SIGKILL
# shellcheck disable=SC2086
begin $long --strategy random --budget trials=4 --jobs 2 --out stopped
kill -INT "$(cat pid)"
code=0
wait $shell || code=$?
[ $code = 130 ] || fail "SIGINT: exit status $code"
gone SIGINT

# a search that is killed when the first of its trials is known goes on, and has each network once
# shellcheck disable=SC2086
"$espalier" search $tiny --strategy random --budget trials=3 --jobs 2 --out again >out 2>err &
pid=$!
tries=0
until grep -q trial again/trials/outcomes.jsonl 2>/dev/null || [ $tries -ge 1200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
expect 0 search --out again --resume
evaluations again >b
cmp a b || fail "a search that was killed is another one: $(diff a b)"

refused '--jobs: 0 is out of range' search --jobs 0
refused '--jobs: 257 is out of range' search --jobs 257
# shellcheck disable=SC2086
refused 'no trials that could run side by side' search $tiny --strategy darts --jobs 2 --out darts
# shellcheck disable=SC2086
refused 'weights that all share' search $tiny --strategy random --set evaluate=shared --jobs 2 --out shared
