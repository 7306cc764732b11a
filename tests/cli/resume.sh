#!/bin/sh
# A search that is killed and resumed ends as if nothing had happened; what may not change is refused by name.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

options="$small --strategy darts --epochs 4 --log-frequency 1"
# shellcheck disable=SC2086
expect 0 search $options --out whole

# killed as soon as there is a checkpoint, twice
kill_after() { # CHECKPOINT
    # shellcheck disable=SC2086
    "$espalier" search $options --out killed --resume >out 2>err &
    pid=$!
    tries=0
    until [ -e "killed/$1" ] || [ $tries -ge 1000 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    [ -e "killed/$1" ] || fail "no $1 appeared"
}
kill_after checkpoint-00001.safetensors
kill_after checkpoint-00002.safetensors
# everything but the directory comes from the run itself
expect 0 search --out killed --resume --log-frequency 1
cmp whole/final_architecture.json killed/final_architecture.json || fail "the architectures differ"
"$espalier" log whole --csv >whole.csv
"$espalier" log killed --csv >killed.csv
cmp whole.csv killed.csv || fail "the losses differ: $(diff whole.csv killed.csv | head -n 5)"

# with as many threads as before, also the next time
in_file killed/config.json '"threads": 1,'

# seldom saved: every third epoch, and the last one; the result is the same
# shellcheck disable=SC2086
expect 0 search $options --out seldom --checkpoint-every 3 --keep-checkpoints 9
[ "$(cd seldom && echo checkpoint-*)" = "checkpoint-00003.safetensors checkpoint-00004.safetensors" ] || fail "$(ls seldom)"
cmp whole/final_architecture.json seldom/final_architecture.json || fail "the architectures differ"
# shellcheck disable=SC2086
expect 0 search $options --out minutes --checkpoint-every 60min
[ "$(cd minutes && echo checkpoint-*)" = checkpoint-00004.safetensors ] || fail "$(ls minutes)"

# a damaged newest checkpoint: the one before goes on, and says so
truncate -s 1000 seldom/checkpoint-00004.safetensors
sed -i 's/"finished"/"stopped"/' seldom/result.json
expect 0 search --out seldom --resume --log-frequency 1
in_file err 'checkpoint passed over: seldom/checkpoint-00004.safetensors: is truncated'
"$espalier" log seldom --csv >seldom.csv
cmp whole.csv seldom.csv || fail "the losses differ: $(diff whole.csv seldom.csv | head -n 5)"

# two processes on one directory
# shellcheck disable=SC2086
"$espalier" search $small --strategy darts --epochs 500 --out busy >out 2>err &
pid=$!
tries=0
until [ -e busy/run.sqlite ] || [ $tries -ge 1000 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
refused "busy: is still being written by process $pid: stop it first" search --out busy --resume --epochs 500
kill -9 $pid
wait $pid 2>/dev/null || true
expect 2 search --out busy --resume --epochs 501 --lr 7 # the lock went with the process: what is wrong now is the option
in_file err '--lr was'

# a finished run: the same result again
expect 0 search --out whole --resume --json
cp out first.json
expect 0 search --out whole --resume --json
cmp out first.json || fail "the result of a finished run changed"

refused '--batch was 16' search --out whole --resume --batch 8
refused '--seed was 0' search --out whole --resume --seed 1
refused 'space.channels was 4' search --out whole --resume --set channels=8
refused '--epochs was 4' search --out whole --resume --epochs 3
expect 0 search --out whole --resume --epochs 5
in_file err 'no longer bit-identical'
in_file out '5 epochs'

# a retraining, killed in the middle
retraining="--epochs 4 --limit-batches 3 --batch 16 --limit-images 300 --threads 1 --log-frequency 1"
# shellcheck disable=SC2086
expect 0 retrain whole $retraining --out whole-retrain
# shellcheck disable=SC2086
"$espalier" retrain whole $retraining --out killed-retrain >out 2>err &
pid=$!
tries=0
until [ -e killed-retrain/checkpoint-00001.safetensors ] || [ $tries -ge 1000 ]; do
    sleep 0.02
    tries=$((tries + 1))
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
expect 0 retrain --out killed-retrain --resume --log-frequency 1
cmp whole-retrain/weights.safetensors killed-retrain/weights.safetensors || fail "the weights differ"
"$espalier" log whole-retrain --csv >whole.csv
"$espalier" log killed-retrain --csv >killed.csv
cmp whole.csv killed.csv || fail "the losses of retrainings differ"

# --resume with nothing saved starts at the beginning
# shellcheck disable=SC2086
expect 0 search $small --strategy darts --epochs 1 --out fresh --resume
[ -s fresh/final_architecture.json ] || fail "nothing was found"

# a run of another command, and a config that lost what it says
refused 'that one goes on with it' retrain --out whole --resume
cp -r whole damaged
echo '{"command": "search"}' >damaged/config.json
expect 1 search --out damaged --resume
in_file err 'damaged/config.json is damaged: it has no "options"'
refused '--lr was 0.025 in whole and is 0.1 now' search --out whole --resume --lr 0.1
