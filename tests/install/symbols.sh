#!/bin/sh
# The shared library exports what the public headers declare and nothing else: nas_*, never nas__* or anybody's helpers.
# (Some oneDNN libraries refer to the linker's own marks of the sections' ends, which makes it export them.)
set -eu
symbols=$(nm -D --defined-only "$LIBDIR/libespalier.so" | awk '$NF !~ /^(__bss_start|_edata|_end)$/ { print $NF }')
printf '%s\n' "$symbols" | grep -qx nas_version || { echo "nas_version is not exported"; exit 1; }
code=0
alien=$(printf '%s\n' "$symbols" | grep -vE '^nas_[a-z0-9]') || code=$?
[ "$code" = 1 ] || { echo "exported, though not public:"; echo "$alien"; exit 1; }
for symbol in $symbols; do
    grep -qwh "$symbol" "$PREFIX"/include/espalier/*.h || { echo "exported, but in no public header: $symbol"; exit 1; }
done
