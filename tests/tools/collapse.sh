#!/bin/sh
# collapse.sh ESPALIER: bench/collapse.py makes its table, does nothing twice, goes on where time was up, and keeps the rest of the
# page.
set -eu
espalier=$(realpath "$1")
script=$(realpath "$(dirname "$0")/../../bench/collapse.py")
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
printf 'before\n<!-- results: collapse -->\nnothing\n<!-- end of results -->\nafter\n' >page.md
table() {
    python3 "$script" "$espalier" --data-dir . --store store --out page.md --rows 'fair,stop at skips' --epochs 1 \
        --retrain-epochs 1 --random 2 --limit-batches 1 --threads 1 "$@" 2>log
}
fail() { echo "$1"; cat log page.md; exit 1; }

if table --minutes 0; then fail 'there was no time, and it ended well'; fi
grep -q 'run it again' log || fail 'it does not say how to go on'
grep -q nothing page.md || fail 'the page was changed before all rows were there'
table || fail 'it failed'
for row in fair 'stop at skips' 'random cells, mean of 2'; do
    grep -q "^| $row" page.md || fail "the row $row is missing"
done
if grep -q nothing page.md; then fail 'the old table is there'; fi
[ "$(head -n 1 page.md)$(tail -n 1 page.md)" = beforeafter ] || fail 'the rest of the page was changed'
cp page.md first.md
table || fail 'the second time it failed'
cmp -s page.md first.md || fail 'the second time gave another table'
[ ! -s log ] || fail 'something was done twice'
