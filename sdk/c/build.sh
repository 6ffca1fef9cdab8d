#!/usr/bin/env bash
# Builds a plugin in C:   sdk/c/build.sh FOLDER [OUT.wasm]
#
# FOLDER has plugin.json, which says who the plugin is and becomes its manifest, and *.c. OUT is FOLDER/NAME.wasm if it
# is not given. The same sources and compiler give the same bytes. README.md says what each step is for.
#
# CC_WASM       a C compiler for wasm32-wasi: `zig cc`, or wasi-sdk's clang [default: zig on the PATH, python3 -m ziglang,
#               then WASI_SDK_PATH]
# WASM_TOOLS    wasm-tools [default: the one on the PATH]
# WASI_ADAPTER  wasmtime's adapter of WASI preview 1, for a plugin that prints [default: the one in sdk/go]
# PLINTH_WIT    the WIT packages [default: wit/ of this repository]
# CFLAGS        more flags for the plugin's own sources
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

if [[ -n ${CC_WASM:-} ]]; then read -ra cc <<<"$CC_WASM"
elif command -v zig >/dev/null; then cc=(zig cc)
elif python3 -c 'import ziglang' 2>/dev/null; then cc=(python3 -m ziglang cc)
elif [[ -n ${WASI_SDK_PATH:-} ]]; then cc=("$WASI_SDK_PATH/bin/clang")
else fail "there is no C compiler for WebAssembly: pip install ziglang, or name one in CC_WASM"
fi

# 1. Compile the SDK, the JSON reader (for size) and the glue of what is exported; then the plugin (for speed), and link.
#    No fused multiply-add, so that results are the same everywhere; a stack of 256 KiB, since compilers reserve up to
#    16 MB for each instance.
flags=(-target wasm32-wasi -std=c11 -msimd128 -ffp-contract=off -ffunction-sections -fdata-sections -I "$sdk"
    -I "$sdk/vendor/yyjson" -DYYJSON_DISABLE_WRITER -DYYJSON_DISABLE_UTILS -DYYJSON_DISABLE_NON_STANDARD)
objects=()
compile() { # object source flag…
    "${cc[@]}" "${flags[@]}" "${@:3}" -c "$2" -o "$work/$1.o"
    objects+=("$work/$1.o")
}
glue=("$sdk/bindings/plinth_wit_host.c")
for kind in $(manifest_list kind); do
    [[ -f $sdk/bindings/plinth_wit_$kind.c ]] || fail "$manifest: there is no extension point \`$kind\`"
    glue+=("$sdk/bindings/plinth_wit_$kind.c")
done
compile yyjson "$sdk/vendor/yyjson/yyjson.c" -Os
for source in "$sdk"/src/*.c "${glue[@]}"; do compile "sdk_$(basename "$source" .c)" "$source" -O2; done
for source in "$folder"/*.c; do compile "own_$(basename "$source" .c)" "$source" -O3 -Wall -Wextra ${CFLAGS:-}; done
"${cc[@]}" -target wasm32-wasi -mexec-model=reactor "${objects[@]}" -lm -Wl,--gc-sections -Wl,-z,stack-size=262144 \
    -o "$work/linked.wasm"
# Names stay, so that a trap says where it was.
if [[ -n ${PLINTH:-} ]]; then mv "$work/linked.wasm" "$work/core.wasm"
else "$wasm_tools" strip --delete '^\.debug' "$work/linked.wasm" -o "$work/core.wasm"
fi

# 2. to 4. Describe the interfaces, make a component of it, say who it is. What prints imports preview 1 of WASI (a
#    name stands behind its length), and an adapter turns that into the 0.2 that the host offers closed; Plinth has one.
adapt=()
if [[ -z ${PLINTH:-} ]] && LC_ALL=C grep -aq $'\x16wasi_snapshot_preview1' "$work/core.wasm"; then
    adapter=${WASI_ADAPTER:-$sdk/../go/adapter/wasi_snapshot_preview1.reactor.wasm}
    [[ -f $adapter ]] || fail "the plugin uses stdio, and there is no $adapter: build it with \`plinth plugin build\`, or name an adapter in WASI_ADAPTER"
    adapt=(--adapt "wasi_snapshot_preview1=$adapter")
fi
componentize "$work/core.wasm" "$out" ${adapt[@]+"${adapt[@]}"}
