# common.sh - sourced by the tests of the command: a directory of their own, and expectations.
# shellcheck shell=sh disable=SC2034
set -eu
espalier=$1
images=$PWD/tests/fuzz/corpus/image
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "FAILED: $*"
    [ ! -s out ] || sed 's/^/  stdout: /' out | tail -n 20
    [ ! -s err ] || sed 's/^/  stderr: /' err | tail -n 20
    exit 1
}

# expect CODE ARGUMENT...: runs the command; stdout goes to ./out, stderr to ./err
expect() {
    code=$1
    shift
    got=0
    "$espalier" "$@" >out 2>err || got=$?
    [ "$got" = "$code" ] || fail "exit status $got, not $code: espalier $*"
}

# in FILE TEXT: the file has this text
in_file() { grep -qF -- "$2" "$1" || fail "$1 lacks: $2"; }
not_in_file() { ! grep -qF -- "$2" "$1" || fail "$1 has: $2"; }

# refused TEXT ARGUMENT...: wrong usage whose message has TEXT, and nothing on stdout
refused() {
    text=$1
    shift
    expect 2 "$@"
    in_file err "$text"
    [ ! -s out ] || fail "an error left something on stdout: espalier $*"
}

# A search of seconds.
small="--space nb201 --set channels=4 --set cells=1 --limit-images 1200 --batch 16 --limit-batches 3 --threads 1"
