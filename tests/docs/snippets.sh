#!/bin/sh
# snippets.sh: C code in README.md and docs/ is code of examples/ (white space aside), which the tests compile and run.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
squeeze() { tr -s ' \n' ' '; }

awk -v work="$work" '
    /^```c$/ { inside = 1; n++; next }
    /^```/ { inside = 0 }
    inside { print > (work "/" n ".c") }' README.md docs/*.md docs/strategies/*.md
count=0
for snippet in "$work"/*.c; do
    text=$(squeeze <"$snippet")
    text=${text# }
    found=
    for example in examples/*.[ch]; do
        case "$(squeeze <"$example")" in *"${text% }"*) found=yes ;; esac
    done
    [ "$found" ] || { echo "not in any example:"; cat "$snippet"; exit 1; }
    count=$((count + 1))
done
[ "$count" -ge 4 ] || { echo "only $count snippets found"; exit 1; }
