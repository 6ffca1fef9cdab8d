#!/usr/bin/env bash
# Builds a plugin in Go:   sdk/go/build.sh FOLDER [OUT.wasm]
#
# FOLDER is a package main with a go.mod, and plugin.json, which says who the plugin is and becomes its manifest. OUT is
# FOLDER/NAME.wasm if it is not given. The same sources and compiler give the same bytes. README.md says what each step
# is for.
#
# GO            the go command, 1.24 or later [default: the one on the PATH]
# WASM_TOOLS    wasm-tools [default: the one on the PATH]
# PLINTH_WIT    the WIT packages [default: wit/ of this repository]
set -euo pipefail
sdk=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "build.sh: $*" >&2; exit 1; }

[[ $# -ge 1 && $# -le 2 ]] || fail "say which folder: build.sh FOLDER [OUT.wasm]"
folder=$1
manifest=$folder/plugin.json
[[ -f $manifest ]] || fail "there is no $manifest: it says the plugin's name, version, kind and capabilities"
source "$sdk/../componentize.sh"
name=$(manifest_text name)
out=${2:-$folder/$name.wasm}
go=${GO:-go}
command -v "$go" >/dev/null || fail "there is no Go: install it, or name it in GO"

# 1. Compile a library for WASI preview 1, without paths of this machine and without debugging information (names stay,
#    so that a trap says where it was).
GOOS=wasip1 GOARCH=wasm "$go" -C "$folder" build -buildmode=c-shared -trimpath -buildvcs=false -ldflags="-w" \
    -o "$work/core.wasm" .

# 2. to 4. Describe the interfaces, make a component of it, say who it is. The adapter turns preview 1, which is what Go
#    knows, into the WASI 0.2 that the host offers closed.
componentize "$work/core.wasm" "$out" --adapt "wasi_snapshot_preview1=$sdk/adapter/wasi_snapshot_preview1.reactor.wasm"
