#!/bin/sh
# --limit ram=...,flash=...: the C file of the network that is found, compiled, has no larger arrays, and they are those
# that the search has counted.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
few="--epochs 1 --limit-batches 2 --limit-images 700 --batch 16 --threads 1 --quiet"

# size_of KINDS: bytes of the arrays of found.o
size_of() {
    nm -S found.o | awk -v kinds="$1" '$3 ~ kinds && $4 ~ /^found_/ { print $2 }' | (
        sum=0
        while read -r hex; do sum=$((sum + 0x$hex)); done
        echo $sum
    )
}

# number_of KEY FILE: of {"ram": {"limit": ..., "value": N}}
number_of() { tr -d '\n ' <"$2" | sed -n "s/.*\"$1\":{\"limit\":[0-9.e+]*,\"value\":\([0-9]*\).*/\1/p"; }

# within RAM FLASH OPTIONS...
within() {
    ram=$1 flash=$2
    shift 2
    # shellcheck disable=SC2086
    expect 0 search $few --limit "ram=$ram,flash=$flash" --out run "$@"
    # shellcheck disable=SC2086
    expect 0 retrain run $few
    expect 0 export run --c found.c --quiet
    ${CC:-cc} -std=c99 -O0 -c found.c -o found.o || fail "the C file does not compile"
    arena=$(size_of '[bB]') weights=$(size_of '[rR]')
    [ "$arena" = "$(number_of ram run/search-result.json)" ] || fail "an arena of $arena: $*"
    [ "$weights" = "$(number_of flash run/search-result.json)" ] || fail "$weights bytes of weights: $*"
    { [ "$arena" -gt 0 ] && [ "$arena" -le $((${ram%KiB} * 1024)) ]; } || fail "an arena of $arena, not $ram: $*"
    { [ "$weights" -gt 0 ] && [ "$weights" -le $((${flash%KiB} * 1024)) ]; } || fail "$weights bytes of weights, not $flash: $*"
    rm -r run
}

within 90KiB 420KiB --space macro --set channels=8 --strategy gdas --seed 1
within 40KiB 30KiB --space mobilenet --set width=0.25 --set depths=2-2 --set last=64 --strategy random --budget trials=2 --set evaluate=shared

# shellcheck disable=SC2086
expect 1 search $few --space macro --set channels=8 --strategy gdas --limit ram=1KiB --out refused
in_file err 'limit ram=1024 bytes (1KiB) cannot be met: the cheapest architecture of this space has 87040 bytes'
refused 'as 256KiB, 4MiB or 64kB' search --limit ram=4ms
