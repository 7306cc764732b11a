#!/bin/sh
# What is exported meets its limit, as `profile` counts it: at three limits between the cheapest and the dearest network,
# with five seeds, and by strategies of several kinds.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

few="--epochs 1 --limit-batches 2 --limit-images 700 --batch 16 --threads 1 --quiet"
cells="--space nb201 --set channels=4 --set cells=1"
blocks="--set widths=8-12 --set depths=2-1 --set stem=8 --set last=32"
superkernels="--space superkernel --set channels=8 --set stages=2 --set blocks=2"

# macs_of RUN
macs_of() {
    expect 0 profile "$1" --json
    sed -n 's/.*"macs": \([0-9]*\).*/\1/p' out
}

# meet LOW MIDDLE HIGH OPTIONS...: the export under each limit
meet() {
    limits="$1 $2 $3"
    shift 3
    for limit in $limits; do
        # shellcheck disable=SC2086
        expect 0 search $few --limit "macs=$limit" --out run "$@"
        macs=$(macs_of run)
        [ "$macs" -gt 0 ] || fail "no multiply-adds at all: $*"
        [ "$macs" -le "$limit" ] || fail "$macs multiply-adds, not $limit at most: $*"
        rm -r run
    done
}

# The cheapest networks of these have 268k, 380k and 39k, the dearest three times as many and more.
# shellcheck disable=SC2086
{
    for seed in 1 2 3 4 5; do
        meet 280000 330000 400000 --space mobilenet $blocks --strategy proxyless --seed $seed
    done
    meet 385000 420000 600000 $cells --strategy gdas
    meet 45000 100000 200000 --space fbnet $blocks --strategy fbnet
    meet 2000000 3000000 4000000 $superkernels --strategy single-path
}
