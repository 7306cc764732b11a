#!/bin/sh
# Searches by several ranks: as many as there are, the same bits; a rank that dies ends the job, which goes on with another
# number of ranks. Skipped (77) where there is no MPI.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
same_state=$2
if ! command -v mpirun >/dev/null || [ ! -e "$(dirname "$espalier")/espalier-mpi.so" ]; then
    echo "skipped: mpirun or espalier-mpi.so is missing"
    exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
network="--space chain --set channels=4 --set layers=4"
tiny="$network --limit-images 450 --batch 8 --limit-batches 25 --threads 1 --epochs 2 --seed 3 --score-steps -1"

# ranks N ARGUMENT...: the command as N ranks; 0 is the command alone
ranks() {
    n=$1
    shift
    if [ "$n" = 0 ]; then
        "$espalier" "$@" >out 2>err
    else
        mpirun --oversubscribe -np "$n" "$espalier" "$@" >out 2>err
    fi
}
same() { "$same_state" "$1/checkpoint-00002.safetensors" "$2/checkpoint-00002.safetensors" >differs || fail "$2 is not $1: $(cat differs)"; }

# 50 steps, each of some shards that batch norm goes through together
for search in "darts" "gdas" "spos --budget trials=3" "enas --set controller_steps=5" "proxyless"; do
    name=${search%% *}
    for n in 0 2 4; do
        # shellcheck disable=SC2086
        ranks $n search $tiny --strategy $search --shards 4 --out "$name-$n" || fail "$n ranks: $search"
    done
    same "$name-0" "$name-2"
    same "$name-0" "$name-4"
done
in_file err '4 ranks: '
in_file err '% of the time for each other'
[ "$(grep -c 'Search finished' out)" = 1 ] || fail "not rank 0 alone prints"
in_file proxyless-4/config.json '"shards": 4'

# the network that was found, trained
fit="darts-0 --epochs 1 --batch 8 --limit-images 100 --limit-batches 5 --threads 1 --drop-path 0.2 --shards 3"
for n in 0 2 3; do
    # shellcheck disable=SC2086
    ranks $n retrain $fit --out "fit-$n" || fail "retrain with $n ranks"
    cmp fit-0/weights.safetensors "fit-$n/weights.safetensors" || fail "retrain: $n ranks give other weights"
done

# what does not fit is said, and ends all
# shellcheck disable=SC2086
if ranks 2 search $tiny --strategy darts --shards 1 --out bad; then fail "2 ranks with one shard"; fi
in_file err '1 shards for 2 ranks: every rank needs one'
[ ! -e bad ] || fail "a run that could not begin has a directory"

# a rank dies in the second epoch
# shellcheck disable=SC2086
mpirun --oversubscribe -np 4 "$espalier" search $tiny --strategy darts --shards 4 --out darts-killed >out 2>err &
job=$!
tries=0
until [ -e darts-killed/checkpoint-00001.safetensors ] || [ $tries -ge 1200 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -9 "$(pgrep -P $job espalier | tail -n 1)"
began=$(date +%s)
if wait $job; then fail "a job whose rank died has ended well"; fi
[ $(($(date +%s) - began)) -le 10 ] || fail "a job whose rank died took more than 10 s to end"
in_file err 'exited on signal 9'
# shellcheck disable=SC2086
ranks 2 search $tiny --strategy darts --resume --out darts-killed || fail "going on with 2 ranks"
same darts-0 darts-killed
