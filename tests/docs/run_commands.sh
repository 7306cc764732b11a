#!/bin/sh
# run_commands.sh ESPALIER PAGE: runs the commands of a page of docs/, all blocks in one shell, in a directory that looks like the
# project's. A block of ```sh runs as it is written. In a block of ```sh slow, searches and retrainings are held to few steps.
set -eu
espalier=$(realpath "$1")
source=$(realpath "$(dirname "$0")/../..")
page=$source/docs/$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$source/docs" "$source/examples" "$source"/tests/data/tables/*.csv . # tables that pages name
mkdir bin
ln -s "$espalier" bin/espalier
for class in shoes others; do # images of the reader's own
    mkdir -p photos/$class
    for i in 1 2 3 4 5 6 7 8 9; do
        for k in 1 2 3 4; do cp "$source/docs/images/boot.png" photos/$class/$i$k.png; done
    done
done

cat >commands.sh <<'END'
set -eu
cc() { $CC "$@"; }
# The same command with as many steps as a test may take.
short() {
    command=$1 n=$(($# - 1)) limits=
    shift
    case $command in
    search | retrain | compare) limits="--epochs 1 --limit-batches 2 --limit-images 700" ;;
    eval) limits="--limit-batches 2" ;;
    esac
    while [ "$n" -gt 0 ]; do
        case $1 in
        --epochs) shift && n=$((n - 1)) ;;
        --random) shift && n=$((n - 1)) && set -- "$@" --random 2 ;;
        --budget) # in minutes: enough for a first result beside other programs
            shift && n=$((n - 1))
            case $1 in
            minutes=*) set -- "$@" --budget minutes=0.2 ;;
            *) set -- "$@" --budget trials=2 ;;
            esac
            ;;
        *) set -- "$@" "$1" ;;
        esac
        shift
        n=$((n - 1))
    done
    # shellcheck disable=SC2086
    "$ESPALIER" "$command" "$@" $limits
}
END
awk '
    /^```sh$/ { inside = 1; count++; print "espalier() { \"$ESPALIER\" \"$@\"; }"; next }
    /^```sh slow$/ { inside = 1; count++; print "espalier() { short \"$@\"; }"; next }
    /^```/ { inside = 0 }
    inside { print }
    END { if (!count) exit 1 }' "$page" >>commands.sh || { echo "$2 has no commands"; exit 1; }
export ESPALIER="$work/bin/espalier" LD_LIBRARY_PATH="$LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
sh -x commands.sh
