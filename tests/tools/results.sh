#!/bin/sh
# results.sh ESPALIER: bench/collapse.py and bench/correlate.py make their tables of what there is, do nothing twice, go on where time
# was up, see what is no longer the same, and keep the rest of the page.
set -eu
espalier=$(realpath "$1")
bench=$(realpath "$(dirname "$0")/../../bench")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PYTHONDONTWRITEBYTECODE=1

python3 - <<'END'
import random
generator = random.Random(1)
for name in ("train.bin", "test.bin"):
    with open(name, "wb") as file:
        for i in range(400):
            file.write(bytes([i % 10]) + generator.randbytes(3072))
END
printf 'before\n<!-- results: collapse -->\nnothing\n<!-- end of results -->\n<!-- results: correlate -->\nnothing\n<!-- end of results -->\nafter\n' >page.md
study() {
    script=$1
    shift
    python3 "$bench/$script.py" "$espalier" --data-dir . --store store --runs runs --page page.md --retrain-epochs 1 --limit-batches 1 \
        --threads 1 "$@" 2>log || fail "$script failed"
}
collapse() { study collapse --rows fair --epochs 1 --random 2 "$@"; }
correlate() { study correlate --macro 1:3:1 --nb201-epochs 1 --cells 3; }
fail() { echo "$1"; cat log page.md; exit 1; }
has() { grep -q "$1" page.md || fail "the page does not have: $1"; }
has_not() { if grep -q "$1" page.md; then fail "the page has: $1"; fi; }

# nothing is there, and there is no time
collapse --minutes 0
grep -q 'run it again' log || fail 'it does not say how to go on'
has '^| fair | not yet run'
has '^nothing$' # of the other study
[ ! -e store ] || fail 'something was stored'

# some rows; the others are missing
collapse
has '^| fair | 0\.'
has '^| darts | not yet run'
has '^| random cells, mean of 2 '
[ "$(head -n 1 page.md)$(tail -n 1 page.md)" = beforeafter ] || fail 'the rest of the page was changed'
for text in '"commands"' 'espalier search --space nb201' '[$]DATA' '"configuration"' '"commit"' '"isa"' '"seconds"' '"skips"'; do
    grep -q "$text" store/collapse/fair.json || fail "the piece does not have $text"
done
if grep -rq "$work" store; then fail 'a path of this machine was stored'; fi

# nothing twice, and without the run directories
rm -r runs
cp page.md first.md
collapse
cmp -s page.md first.md || fail 'the second time gave another table'
[ ! -s log ] || fail 'something was done twice'

# the trainings of cells are shared
correlate
grep -q 'correlate, nb201' log || fail 'nb201 was not ranked'
[ "$(grep -c nb201-alone log)" = 1 ] || fail 'not only the third cell was trained'
has '^| 1 | 0 | 3 | \[\?-\?[01]\.'
has '3 of 3 are there'
has '^| synflow'
correlate
[ ! -s log ] || fail 'something was done twice'

# a piece of other settings is none; --force does it again
cp page.md first.md
collapse --epochs 2 --minutes 0
has '^| fair | not yet run'
collapse --force
grep -q 'collapse, fair' log || fail 'it was not forced'
cmp -s page.md first.md || fail 'the same again gave another table'
