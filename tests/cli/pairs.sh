#!/bin/sh
# Strategies meet spaces: every pair that should run does, from the search to the test accuracy, in a few steps; a pair that
# makes no sense is refused, and the strategies that fit are named.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

# small SPACE: the settings of a small form of it
small() {
    case $1 in
    nb201) echo "--set channels=4 --set cells=1" ;;
    darts) echo "--set channels=4 --set layers=3 --set nodes=2" ;;
    superkernel) echo "--set channels=8 --set stages=2 --set blocks=2" ;;
    mobilenet | fbnet) echo "--set widths=8-12 --set depths=2-1 --set stem=8 --set last=32" ;;
    macro) echo "--set channels=8" ;;
    shufflenet) echo "--set widths=16-32 --set depths=2-1 --set stem=8 --set last=32" ;;
    enas-macro) echo "--set channels=4 --set layers=4" ;;
    enas-micro) echo "--set channels=4 --set layers=3 --set nodes=2" ;;
    bender) echo "--set channels=4 --set stages=2 --set cells=1 --set blocks=2" ;;
    esac
}
few="--epochs 1 --limit-batches 2 --limit-images 700 --batch 16 --threads 1 --quiet"

# runs SPACE STRATEGY OPTIONS...
runs() {
    space=$1 strategy=$2
    shift 2
    # shellcheck disable=SC2046,SC2086
    expect 0 search --space "$space" $(small "$space") --strategy "$strategy" $few --out "$space-$strategy" "$@"
    # shellcheck disable=SC2086
    expect 0 retrain "$space-$strategy" $few
    expect 0 eval "$space-$strategy" --limit-batches 1 --threads 1 --json
    in_file out '"acc1"'
    rm -r "$space-$strategy"
}

for strategy in darts gdas proxyless fbnet; do
    for space in nb201 darts mobilenet fbnet; do
        runs "$space" "$strategy"
    done
done
runs superkernel single-path
runs smash smash --budget trials=3
runs smash random --budget trials=2
for space in nb201 darts shufflenet mobilenet macro fbnet; do
    runs "$space" spos --budget trials=2
done
runs shufflenet spos --budget trials=2 --set channels=search --set sampling=bins --limit macs=110k
runs bender bender --budget trials=2
runs nb201 bender --budget trials=2
for space in nb201 darts enas-macro enas-micro; do
    runs "$space" enas --set controller_steps=1 --set samples=2 --set final_samples=2
done
for strategy in random grid evolution rl tpe local asha bohb nsga2; do
    for space in nb201 macro mobilenet; do
        case $strategy/$space in
        grid/mobilenet) ;; # too many to try all
        *) runs "$space" "$strategy" --budget trials=2 ;;
        esac
    done
done

# shellcheck disable=SC2086
refused 'take this space: darts' search --space nb201 --strategy single-path $few --out no
# shellcheck disable=SC2086
refused 'smash needs the space smash' search --space nb201 --strategy smash $few --out no
# shellcheck disable=SC2086
refused 'take this space: enas' search --space superkernel --strategy darts $few --out no
