#!/bin/sh
# check-layers on small made-up trees: silent about a good one, and one complaint for each way to break the rules.
set -eu
check=$PWD/tools/check-layers
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"

good_tree() {
    rm -rf src
    mkdir -p src/core src/tensor src/kernels src/space/spaces
    for room in src/*; do echo "# a room" >"$room/README.md"; done
    echo '#include "core/a.h"' >src/core/a.h
    echo '#include "a.h"' >src/core/a.c
    printf '#include "kernels/kernels.h"\n#include "kernels/late.h"\n' >src/tensor/b.c
    printf '#include <stdio.h>\n#include "core/a.h"\n#include <oneapi/dnnl/dnnl.h>\n' >src/kernels/onednn_c.c
    printf '#include <espalier/tensor.h>\n  #  include "core/a.h"\n' >src/space/spaces/d.c
}

# breach NAME FILE TEXT COMPLAINT: with TEXT in FILE the check fails with exactly this one complaint.
breach() {
    good_tree
    [ -z "$2" ] || printf '%s\n' "$3" >>"$2"
    eval "${5:-:}"
    if output=$("$check" "$tree" 2>&1); then
        echo "$1: not noticed"
        exit 1
    fi
    case $output in *"$4"*) ;; *) echo "$1: expected '$4', got: $output"; exit 1 ;; esac
    [ "$(printf '%s\n' "$output" | wc -l)" = 1 ] || { echo "$1: more than one complaint: $output"; exit 1; }
}

good_tree
"$check" "$tree"

breach "upward include" src/core/a.c '#include "space/d.h"' 'src/core/a.c:2: core may not include space/d.h'
breach "upward include of a public header" src/core/a.c '#include <espalier/tensor.h>' 'core may not include espalier/tensor.h'
breach "the exception is for two headers" src/tensor/b.c '#include "kernels/simd.h"' 'tensor may not include kernels/simd.h'
breach "the exception is for one room" src/core/a.c '#include "kernels/kernels.h"' 'core may not include kernels/kernels.h'
breach "umbrella header below" src/tensor/b.c '#include <espalier/espalier.h>' 'tensor may not include espalier/espalier.h'
breach "sub-folder counts as its room" src/space/spaces/d.c '#include "search/x.h"' 'space may not include search/x.h'
breach "oneDNN elsewhere" src/tensor/b.c '#include <oneapi/dnnl/dnnl.h>' 'only src/kernels/onednn_'
breach "oneDNN in another kernel" src/kernels/simd_c.c '#include "dnnl.h"' 'only src/kernels/onednn_'
breach "dotted path" src/tensor/b.c '#include "../core/a.h"' 'is no room'
breach "bare name of another room" src/tensor/b.c '#include "a.h"' 'write ROOM/a.h'
breach "unknown room" "" "" 'no such room: attic' 'mkdir src/attic; echo "# x" >src/attic/README.md; echo "int x;" >src/attic/x.c'
breach "room without README" "" "" 'src/core/README.md: missing' 'rm src/core/README.md'
breach "long README" "" "" 'longer than 8 lines' 'seq 9 >src/core/README.md'
