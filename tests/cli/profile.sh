#!/bin/sh
# `espalier profile` measures: a table of all candidates, which a second call completes; predictions; one network.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

cells="--space nb201 --set channels=4 --set cells=1 --input 3x16x16"

# shellcheck disable=SC2086
{
    expect 0 profile $cells --out table.json --validate 6 --svg fit.svg
    in_file out "90 candidates, 16 entries in the table; batch 1, 1 threads"
    in_file out "predicted      6 other networks"
    in_file table.json '"format": "espalier latency table"'
    in_file fit.svg "</svg>"
    [ "$(grep -c "<circle" fit.svg)" = 6 ] || fail "six networks are not six points"

    # all of it is there: nothing is measured again
    cp table.json before.json
    expect 0 profile $cells --out table.json --json
    cmp -s table.json before.json || fail "a complete table was changed"
    in_file out '"entries": 16'
    in_file out '"networks": 50'

    # another space joins the table
    expect 0 profile --space nb201 --set channels=8 --set cells=1 --input 3x16x16 --out table.json --budget minutes=0.2
    in_file out "entries in the table"
    grep -q '"op": "conv 32x32x3x3 pad 1, batch_norm"' table.json || fail "the second space is not in the table"

    # an end before all is measured leaves what there is, and the same command goes on
    expect 1 profile $cells --out part.json --budget minutes=0.0001
    in_file err "part.json is not complete"
    in_file part.json '"samples": ['
    expect 0 profile $cells --out part.json
    in_file out "16 entries"

    # one network, and what a table predicts for it
    echo '{"edge_1_0":"nor_conv_3x3","edge_2_0":"none","edge_2_1":"avg_pool_3x3","edge_3_0":"skip_connect","edge_3_1":"none","edge_3_2":"nor_conv_1x1"}' >arch.json
    expect 0 profile $cells --arch arch.json --latency-table before.json --json
    in_file out '"latency_ms"'
    in_file out '"predicted_ms"'
    expect 0 profile $cells --arch arch.json --batch 4
    in_file out "ms for a batch of 4, 1 threads"

    # tables that do not fit
    expect 1 profile $cells --arch arch.json --latency-table before.json --batch 2
    in_file err "was measured with batch 1 and 1 threads; this is batch 2 and 1"
    sed 's/"machine": "[^"]*"/"machine": "a phone"/' before.json >phone.json
    expect 1 profile $cells --out phone.json
    in_file err 'was measured on "a phone", and this is "'
    in_file phone.json "a phone"
    expect 1 profile --space chain --arch arch.json --latency-table before.json
    expect 1 profile --space nb201 --set channels=6 --latency-table before.json --validate 3
    in_file err "no latency of \"none\" of \"edge_1_0\""
    echo "[" >broken.json
    expect 1 profile $cells --out broken.json
    in_file err "broken.json: line"
    in_file broken.json "["

    refused "not for one network" profile $cells --arch arch.json --out t.json
    refused "--latency-table FILE names one" profile $cells --validate 5
    refused "--validate N is missing" profile $cells --out t.json --svg t.svg
    refused "minutes=M" profile $cells --out t.json --budget trials=5
}
