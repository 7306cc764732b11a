#!/bin/sh
# Every public header compiles by itself, as strict C17 and as C++17; espalier.h includes all the others.
set -eu
flags=$(pkg-config --cflags espalier)
count=0
for header in "$PREFIX"/include/espalier/*.h; do
    name=espalier/$(basename "$header")
    # Twice: the include guard works too.
    # shellcheck disable=SC2086
    printf '#include <%s>\n#include <%s>\nint nothing;\n' "$name" "$name" |
        $CC -std=c17 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror $flags -fsyntax-only -x c -
    # shellcheck disable=SC2086
    printf '#include <%s>\n' "$name" | $CXX -std=c++17 -Wall -Wextra -Werror $flags -fsyntax-only -x c++ -
    [ "$name" = espalier/espalier.h ] || grep -q "^#include <$name>" "$PREFIX/include/espalier/espalier.h" ||
        { echo "espalier.h does not include $name"; exit 1; }
    count=$((count + 1))
done
[ "$count" -ge 4 ] || { echo "only $count headers"; exit 1; }
