#!/bin/sh
# install-deps: lists what the build needs, honours ONEDNN, refuses what it does not know; on a made-up Debian installs what is
# missing and only that; on a made-up other system names what is missing.
# shellcheck disable=SC2016
set -eu
fail() { echo "$*"; exit 1; }

list=$(tools/install-deps --print)
for package in gcc g++ cmake libdnnl-dev libjansson-dev libsqlite3-dev libmicrohttpd-dev libpng-dev libjpeg-dev zlib1g-dev libcmocka-dev; do
    printf '%s\n' "$list" | grep -qxF "$package" || fail "not listed: $package"
done
ONEDNN=/opt/onednn tools/install-deps --print | grep -q libdnnl && fail "ONEDNN= still wants libdnnl-dev"

code=0
tools/install-deps --everything 2>/dev/null || code=$?
[ "$code" = 2 ] || fail "an unknown option gave $code"

fake=$(mktemp -d)
trap 'rm -rf "$fake"' EXIT
sh=$(command -v sh)
for tool in cat grep; do ln -s "$(command -v $tool)" "$fake/$tool"; done

# expect CODE: runs install-deps with only the made-up tools; its output is in $message.
expect() {
    code=0
    message=$(FAKE=$fake PATH=$fake "$sh" tools/install-deps 2>&1) || code=$?
    [ "$code" = "$1" ] || fail "expected exit $1, got $code: $message"
}

expect 1
case $message in *"not found: cc"*jansson*oneDNN*) ;; *) fail "a bare system: $message" ;; esac

# A Debian whose packages are the lines of installed; unknown are those of no list; apt-get update fails.
stub() {
    printf '#!%s\n%s\n' "$sh" "$2" >"$fake/$1"
    chmod +x "$fake/$1"
}
stub id 'echo 0'
stub dpkg-query 'for last; do :; done; grep -qxF "$last" "$FAKE/installed" && echo "install ok installed"'
stub apt-cache '! grep -qxF "$2" "$FAKE/unknown"'
stub apt-get 'echo "$*" >>"$FAKE/calls"
case "$*" in *update*) exit 100 ;; esac
for word; do case $word in -*|install) ;; *) echo "$word" >>"$FAKE/installed" ;; esac; done'

printf '%s\n' "$list" | grep -vxE 'ninja-build|libpng-dev' >"$fake/installed"
: >"$fake/unknown"
expect 0
grep -q 'install -y --no-install-recommends ninja-build libpng-dev$' "$fake/calls" || fail "apt-get was called: $(cat "$fake/calls")"

: >"$fake/calls"
expect 0
[ "$message" = "install-deps: all packages are installed" ] || fail "with everything there: $message"
[ ! -s "$fake/calls" ] || fail "with everything there apt-get was called: $(cat "$fake/calls")"

printf '%s\n' "$list" | grep -vxE 'libdnnl-dev|libpng-dev' >"$fake/installed"
echo libdnnl-dev >"$fake/unknown"
expect 1
case $message in *"libdnnl-dev is in no package list"*"make test ONEDNN=PREFIX"*"still missing: libdnnl-dev"*) ;; *) fail "no oneDNN: $message" ;; esac

printf '%s\n' "$list" | grep -vxF dataset-fashion-mnist >"$fake/installed"
echo dataset-fashion-mnist >"$fake/unknown"
expect 0
case $message in *"use --data-dir"*) ;; *) fail "no images: $message" ;; esac

stub id 'echo 1000'
expect 0 # the images are not needed to build
case $message in *"not root, and no sudo here"*dataset-fashion-mnist*) ;; *) fail "without root: $message" ;; esac
printf '%s\n' "$list" | grep -vxF cmake >"$fake/installed"
expect 1
case $message in *"not root, and no sudo here"*cmake*) ;; *) fail "without root: $message" ;; esac
