#!/bin/sh
# A file system that is full, at several sizes: the search ends with one line that names file and cause, what is there is whole, and with
# more room it goes on to the same result. Needs mounts of its own: 77, skipped, where these are not allowed.
# shellcheck source=tests/cli/common.sh
. tests/cli/common.sh
if [ "${ESPALIER_TEST_MOUNTS:-}" = "" ]; then
    unshare -rm true 2>err || exit 77
    cd "$OLDPWD"
    rm -rf "$work"
    ESPALIER_TEST_MOUNTS=own exec unshare -rm "$0" "$espalier"
fi
{
    echo a,b,y
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo "$i,$((i * 7 % 11)),1" && echo "-$i,0,0"; done
} >t.csv
options="--data csv:t.csv,target=y --batch 4 --threads 1 --quiet --space chain --epochs 4"
# shellcheck disable=SC2086
expect 0 search $options --out whole
mkdir small
for size in 40 150 300 700; do
    mount -t tmpfs -o "size=${size}k" tmpfs small
    # shellcheck disable=SC2086
    expect 1 search $options --out small/run
    [ "$(wc -l <err)" = 1 ] || fail "not one line"
    grep -q 'error: small/run/.*: .*\(No space left on device\|disk is full\)' err || fail "no cause"
    [ -z "$(find small -name '*tmp*')" ] || fail "temporary files stay: $(find small)"
    mount -o remount,size=8m small
    # shellcheck disable=SC2086
    expect 0 search $options --out small/run --resume
    cmp whole/final_architecture.json small/run/final_architecture.json || fail "another result"
    umount small
done
