#!/usr/bin/env bash
# `espalier ui`: serves a directory of runs until a signal ends it; wrong options and places are refused.
set -eu
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh

ask() { # PATH: the answer
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    cat <&3
    exec 3>&-
}

mkdir -p runs
"$espalier" search --space chain --strategy darts --data fashion-mnist --limit-images 100 --epochs 1 --batch 20 --out runs/one --quiet
"$espalier" ui runs --port 0 >out 2>err &
server=$!
for _ in $(seq 100); do
    grep -q 'http://' out && break
    sleep 0.1
done
port=$(sed -n 's|.*http://127.0.0.1:\([0-9]*\)/.*|\1|p' out)
for _ in $(seq 100); do
    ask /api/runs >answer
    grep -q '"total":1,' answer && break
    sleep 0.1
done
grep -q '"name":"one"' answer
grep -q '"status":"finished"' answer
ask / | head -1 | grep -q 406 # the page is sent compressed

# What ends it ends it well, and the port that it had is free again.
"$espalier" ui runs --port "$port" >/dev/null 2>err && { echo "two servers at one port"; exit 1; }
grep -q "cannot be listened at" err
kill -TERM $server
wait $server

for wrong in "--host 0.0.0.0" "--host nowhere --token long-enough" "--token short" "--port 70000" "--token-file missing"; do
    # shellcheck disable=SC2086
    "$espalier" ui runs $wrong >/dev/null 2>err && { echo "ui $wrong: was taken"; exit 1; }
    [ "$(wc -l <err)" = 1 ]
done
"$espalier" ui missing >/dev/null 2>err && exit 1
grep -q "missing: is no directory" err

# The same without a server.
expect 0 report runs/one --html one.html --md one.md
in_file one.html '"/api/runs"'
in_file one.md '| one | finished | darts | chain | fashion-mnist |'
in_file one.md '(<one.svg>)'
in_file one.svg '</svg>'
refused "nothing to write" report runs/one
expect 1 report runs/missing --html none.html
in_file err "runs/missing"
[ ! -e none.html ] || fail "a report of nothing"
expect 1 report runs/one --html nowhere/one.html
echo passed
