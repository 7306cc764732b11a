#!/bin/sh
# Latencies in searches: a table from `profile` is what limits, losses and fronts go by; the network that is found is measured.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

cells="--space nb201 --set channels=4 --set cells=1"
few="--epochs 1 --limit-batches 2 --limit-images 700 --batch 16 --threads 1"

# shellcheck disable=SC2086
{
    expect 0 profile $cells --input 1x28x28 --out table.json

    # with room enough every strategy finds one, and says what it takes
    expect 0 search $cells $few --strategy darts --limit latency=1s --latency-table table.json --out limited
    grep -q "latency   .* ms measured, .* ms predicted" out || fail "the latency is not printed"
    in_file limited/result.json '"measured_ms"'
    in_file limited/search-result.json '"latency_ms"'
    in_file limited/config.json 'table.json'
    expect 0 search $cells $few --strategy gdas --limit latency=1s --latency-table table.json --json --out sampled
    in_file out '"predicted_ms"'
    expect 0 search $cells $few --strategy proxyless --set cost=latency --latency-table table.json --out expected
    in_file out "ms predicted"
    expect 0 search $cells $few --strategy nsga2 --set cost=latency --set evaluate=proxy --set population=4 \
        --budget trials=6 --latency-table table.json --out front
    in_file front/pareto.json '"latency_ms"'

    # without a table the candidates are measured when the search begins
    expect 0 search $cells $few --strategy darts --limit latency=1s --out measured
    in_file err "measuring the latency of every candidate"
    in_file measured/result.json '"measured_ms"'

    # a limit that nothing meets is told with the least that there is
    expect 1 search $cells $few --strategy darts --limit latency=1ns --latency-table table.json --out none
    in_file err "limit latency=1 ns cannot be met: the cheapest architecture of this space has"

    # tables that lack something, or are of another machine
    other="--space nb201 --set channels=6 --set cells=1"
    expect 1 search $other $few --strategy darts --limit latency=1s --latency-table table.json --out lacking
    in_file err 'has no latency of "none" of "edge_1_0"'
    in_file err "--measure-missing"
    expect 0 search $other $few --strategy darts --limit latency=1s --latency-table table.json --measure-missing --out lacking
    sed 's/"machine": "[^"]*"/"machine": "a phone"/' table.json >phone.json
    expect 0 search $cells $few --strategy darts --limit latency=1s --latency-table phone.json --out foreign
    in_file err 'was measured on "a phone", and this is "'
    in_file out "predicted for another machine"
    # a device on which all takes nothing: what is found is measured, and refused
    sed -E '/"samples"/,/\]/!b; s/^( +)[0-9]+(,?)$/\11\2/' table.json | sed -E '/"networks"/,$ s/"ns": [0-9]+/"ns": 100/' >fast.json
    expect 1 search $cells $few --strategy darts --limit latency=10us --latency-table fast.json --out fast
    in_file err "and the limit is 0.01 ms (predicted:"
    in_file fast/result.json '"measured_ms"'
}
