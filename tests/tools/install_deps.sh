#!/bin/sh
# install-deps: lists what the build needs, honours ONEDNN, refuses what it does not know; with nothing on the PATH but the
# shell's own it names what is missing and fails.
set -eu
fail() { echo "$*"; exit 1; }

list=$(tools/install-deps --print)
for package in gcc g++ cmake libdnnl-dev libjansson-dev libsqlite3-dev libpng-dev libjpeg-dev zlib1g-dev libcmocka-dev; do
    printf '%s\n' "$list" | grep -qxF "$package" || fail "not listed: $package"
done
ONEDNN=/opt/onednn tools/install-deps --print | grep -q libdnnl && fail "ONEDNN= still wants libdnnl-dev"

code=0
tools/install-deps --everything 2>/dev/null || code=$?
[ "$code" = 2 ] || fail "an unknown option gave $code"

empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
sh=$(command -v sh)
cat=$(command -v cat)
ln -s "$cat" "$empty/cat"
code=0
message=$(PATH=$empty "$sh" tools/install-deps 2>&1) || code=$?
[ "$code" = 1 ] || fail "a bare system gave $code: $message"
case $message in *"not found: cc"*jansson*oneDNN*) ;; *) fail "a bare system: $message" ;; esac
