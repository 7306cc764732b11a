#!/bin/sh
# crash.sh ESPALIER SAME_RUN KILLS: searches by every strategy, and a retraining, are killed at random instants, so many times in all; each is
# resumed to its end, where nothing but clocks may differ from the run that was not killed. `make test-crash`: 100 times.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
same_run=$2 wanted=${3:-5}

# 200 images of 8x8 pixels: bytes of the command itself; labels 0 to 9
{ printf '\0\0\010\003\0\0\0\310\0\0\0\010\0\0\0\010' && head -c 12800 "$espalier"; } >train-images-idx3-ubyte
# shellcheck disable=SC2046
{ printf '\0\0\010\001\0\0\0\310' && printf '\0\1\2\3\4\5\6\7\010\011%.0s' $(seq 20); } >train-labels-idx1-ubyte
cp train-images-idx3-ubyte t10k-images-idx3-ubyte
cp train-labels-idx1-ubyte t10k-labels-idx1-ubyte

short="--data fashion-mnist --data-dir . --batch 8 --threads 1 --log-frequency 1 --quiet"
chain="--space chain --set channels=4"
cat >runs <<END
search darts       $chain --epochs 6
search darts       $chain --epochs 4 --set order=2
search darts       --space nb201 --set channels=4 --set cells=1 --epochs 4 --set variant=drnas --set partial=2 --set partial2=2 --limit-batches 3
search enas        $chain --epochs 5
search gdas        $chain --epochs 6
search fbnet       $chain --epochs 6
search proxyless   $chain --epochs 6
search spos        $chain --epochs 5 --budget trials=30
search bender      $chain --epochs 5 --budget trials=30
search random      $chain --epochs 2 --budget trials=8
search random      $chain --epochs 2 --budget trials=8 --jobs 2
search grid        $chain --epochs 2 --budget trials=8
search evolution   $chain --epochs 2 --budget trials=8 --set evaluate=shared
search local       $chain --epochs 2 --budget trials=8
search tpe         $chain --epochs 2 --budget trials=8
search asha        $chain --epochs 4 --budget trials=8
search hyperband   $chain --epochs 4 --budget trials=8
search bohb        $chain --epochs 4 --budget trials=8
search rl          $chain --epochs 2 --budget trials=8
search nsga2       $chain --epochs 2 --budget trials=8
search single-path --space superkernel --set channels=8 --set stages=2 --set blocks=2 --epochs 3 --limit-batches 3
search smash       --space smash --epochs 2 --limit-batches 3 --budget trials=6
retrain -          --space chain --set channels=4 --arch final_architecture.json --epochs 8 --valid-share 0.2
END
for strategy in $("$espalier" list strategies | sed -n 's/^  \([a-z0-9-]*\) .*/\1/p'); do
    grep -q "^search $strategy " runs || fail "the strategy $strategy is not among the runs"
done

# random NUMBER: 0 to NUMBER - 1, by the seed of this run
seed=${ESPALIER_TEST_SEED:-$(date +%s)}
drawn=0
random() { drawn=$((drawn + 1)) && number=$(awk -v seed="$((seed * 1000 + drawn))" -v n="$1" 'BEGIN { srand(seed); print int(n * rand()) }'); }

now() { date +%s%3N; }
start() { # DIRECTORY OPTION...
    out=$1
    shift
    # shellcheck disable=SC2086
    case $command in
    search) exec "$espalier" search --strategy "$strategy" $options $short --out "$out" "$@" ;;
    retrain) exec "$espalier" retrain $options $short --out "$out" "$@" ;;
    esac
}

# kill_once: somewhere in the time that the whole run took; false when it had ended before
kill_once() {
    random "$milliseconds"
    start killed --resume >out 2>err &
    pid=$!
    sleep "$(printf '%d.%03d' $((number / 1000)) $((number % 1000)))"
    kill -9 $pid 2>/dev/null || true
    code=0
    wait $pid 2>/dev/null || code=$?
    [ $code = 137 ]
}

kills=0 ended=0
printf '{"layer_1": 0, "layer_2": 1, "layer_3": 2, "layer_4": 3, "layer_5": 0, "skip": 0}' >final_architecture.json
while [ $kills -lt "$wanted" ]; do
    # a run of the table at random in short tests; all in turn in long ones
    if [ "$wanted" -lt 20 ]; then random "$(wc -l <runs)" && row=$((number + 1)); else row=$((ended % $(wc -l <runs) + 1)); fi
    read -r command strategy options <<END
$(sed -n "${row}p" runs)
END
    if [ ! -d "whole-$row" ]; then
        begin=$(now)
        (start "whole-$row") >out 2>err || fail "seed $seed: $command $strategy $options"
        echo $(($(now) - begin)) >"time-$row"
    fi
    milliseconds=$(cat "time-$row")
    rm -rf killed
    random 3
    for again in 0 1 2; do
        if [ $again -le "$number" ] && [ $kills -lt "$wanted" ] && kill_once; then kills=$((kills + 1)); fi
    done
    (start killed --resume) >out 2>err || fail "seed $seed: cannot be resumed: $command $strategy $options"
    "$same_run" "whole-$row" killed >differences 2>&1 || {
        cat differences
        fail "seed $seed: after a kill: $command $strategy $options"
    }
    ended=$((ended + 1))
done
echo "$kills kills, $ended runs resumed, none lost, none changed"
