#!/bin/sh
# install.sh CMAKE BUILD: installs into an empty $PREFIX and looks whether everything is there.
set -eu
rm -rf "$PREFIX"
"$1" --install "$2" --prefix "$PREFIX" >/dev/null
for file in include/espalier/espalier.h include/espalier/core.h; do
    [ -f "$PREFIX/$file" ] || { echo "not installed: $file"; exit 1; }
done
for file in libespalier.so libespalier.a pkgconfig/espalier.pc; do
    [ -e "$LIBDIR/$file" ] || { echo "not installed: $file"; exit 1; }
done
[ "$(pkg-config --variable=includedir espalier | xargs realpath)" = "$(realpath "$PREFIX/include")" ]
[ "$(pkg-config --modversion espalier)" = "$(sed -n 's/^project(espalier VERSION \([0-9.]*\).*/\1/p' "$SOURCE/CMakeLists.txt")" ]
