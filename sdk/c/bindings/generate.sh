#!/usr/bin/env bash
# Generates the C bindings from the WIT packages. Needed only when wit/ changes:
#   cargo install wit-bindgen-cli@0.61.0 && sdk/c/bindings/generate.sh
#
# One header has the types and functions of everything; the glue is one source for the host's functions and one for
# each extension point, so that a component links, and so imports and exports, only what it uses. What a component
# says of its interfaces is added when it is built (../build.sh), so there is no object file here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
wit=${PLINTH_WIT:-../../../wit}
bindgen=${WIT_BINDGEN:-wit-bindgen}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/wit/deps"
cp -r "$wit"/*/ "$work/wit/deps/"
rm -rf "$work/wit/deps/frozen"
cp worlds.wit "$work/wit/"

generate() { # world
    "$bindgen" c --world "$1" --rename-world plinth --rename plinth:types/types@0.2.0=plinth \
        --no-object-file --out-dir "$work/$1" "$work/wit" >/dev/null
    # Every source has the helper functions of the types it names: weak, since several are linked together.
    sed -e 's/"plinth\.h"/"plinth_wit.h"/' -e '/^\/\/ Ensure that the \*_component_type/,$d' \
        -e '/^\/\/ Helper Functions/,/^\/\/ Component Adapters/s/^\(void\|__attribute__((__always_inline__)) void\) \([a-z]\)/__attribute__((__weak__)) void \2/' \
        "$work/$1/plinth.c" >"$work/$1.c"
}

generate everything
cp "$work/everything/plinth.h" plinth_wit.h
for world in host loader transform gate drift predict; do
    generate "$world"
    cp "$work/$world.c" "plinth_wit_$world.c"
done
