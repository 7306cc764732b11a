#!/bin/sh
# program.sh shared|static SOURCE ARGUMENTS...: compiles SOURCE against the installed library, as its README says, and runs it
# with the arguments in a fresh directory.
set -eu
kind=$1 source=$2
shift 2
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

case $source in
*.cpp) compile="$CXX -std=c++17" ;;
*) compile="$CC -std=c17" ;;
esac
libraries=$(pkg-config --libs espalier)
if [ "$kind" = static ]; then
    libraries=$(pkg-config --static --libs espalier | sed 's/-lespalier/-l:libespalier.a/')
fi
# shellcheck disable=SC2046,SC2086
$compile -Wall -Wextra -Wno-missing-field-initializers -Werror "$source" -o program $(pkg-config --cflags espalier) $libraries -lm
if [ "$kind" = static ] && ldd program | grep -q libespalier; then
    echo "the static link still needs the shared library"
    exit 1
fi
LD_LIBRARY_PATH=$LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ./program "$@"
