#!/bin/sh
# links.sh: files that the documentation links to are there.
set -eu
cd "$(dirname "$0")/../.."
bad=0
for page in README.md CONTRIBUTING.md examples/README.md docs/*.md docs/*/*.md; do
    # shellcheck disable=SC2013
    for link in $(grep -oE '\]\([^) ]+\)|src="[^"]+"' "$page" | sed 's/^](//; s/)$//; s/^src="//; s/"$//; s/#.*//'); do
        case $link in
        http://* | https://* | '') ;;
        *) [ -e "$(dirname "$page")/$link" ] || { echo "$page: no $link"; bad=1; } ;;
        esac
    done
done
exit $bad
