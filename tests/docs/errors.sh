#!/bin/sh
# errors.sh ESPALIER: every row of the errors in docs/architecture-json.md gives its message.
set -eu
espalier=$(realpath "$1")
page=$(realpath "$(dirname "$0")/../../docs/architecture-json.md")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# shellcheck disable=SC2016
sed -n '/^## Errors/,$ s/^| `\(.*\)` | `\(.*\)` |$/\1\t\2/p' "$page" >rows
[ "$(wc -l <rows)" -ge 12 ] || { echo "rows are missing"; exit 1; }
tab=$(printf '\t')
while IFS=$tab read -r file message; do
    printf '%s\n' "$file" >architecture.json
    code=0
    "$espalier" profile --space chain --arch architecture.json >out 2>err || code=$?
    if [ "$code" != 1 ] || ! grep -F -- "$message" err | grep -q "architecture.json: "; then
        echo "$file: exit $code, and not \"$message\", but"
        cat err
        exit 1
    fi
done <rows
