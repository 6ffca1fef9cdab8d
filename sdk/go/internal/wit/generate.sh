#!/usr/bin/env bash
# Generates the Go bindings from the WIT packages. Needed only when wit/ changes:
#   cargo install wit-bindgen-cli@0.61.0 && sdk/go/internal/wit/generate.sh
#
# Every world goes into this one folder, so that they share the packages of types; each has its own package of exports,
# and a component links those that it imports. The runtime they use is ours (../abi), for its rule of when the garbage
# collector may run. Files that are not named wit_*.go or empty.s are written by hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
wit=${PLINTH_WIT:-../../../../wit}
bindgen=${WIT_BINDGEN:-wit-bindgen}
module=$(sed -n 's/^module //p' ../../go.mod)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/wit/deps"
cp -r "$wit"/*/ "$work/wit/deps/"
rm -rf "$work/wit/deps/frozen"
cp worlds.wit "$work/wit/"

for world in host loader transform gate drift predict; do
    "$bindgen" go --world "$world" --pkg-name "$module/internal/wit" --out-dir "$work/$world" "$work/wit" >/dev/null
    find "$work/$world" -type f | while read -r file; do
        path=${file#"$work/$world/"}
        path=${path/#wit_exports\//wit_exports_$world/}
        mkdir -p "$(dirname "$path")"
        {
            # The tag keeps all of it out of ordinary builds and tests. Go's exported functions take at most 128 bytes of
            # arguments, which a method over a block just exceeds unless its handle is 32 bits wide, as it is anyway. What
            # is returned needs no pin, and so nobody to be told that the host has read it: see ../abi/runtime.
            printf '//go:build wasip1\n\n'
            sed -e "s#go.bytecodealliance.org/pkg/wit/#$module/internal/abi/#" \
                -e "s#^package wit_exports\$#package wit_exports_$world#" \
                -e '/^func wasm_export_.*_method_/s/(arg0 uintptr/(arg0 uint32/' \
                -e 's/^var syncExportPinner = runtime.Pinner{}/var syncExportPinner = witRuntime.Unpinned{}/' \
                -e '/^\/\/go:wasmexport cabi_post_/,/^}/d' "$file"
        } >"$path"
    done
done
rm -rf wit_exports_host
if command -v gofmt >/dev/null; then gofmt -w .; fi
