# From a core module to a Plinth plugin: what sdk/c/build.sh and sdk/go/build.sh have in common. To be sourced, with
# $manifest set and fail() defined.
#
# Makes the folder $work, which is gone at the end.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wasm_tools=${WASM_TOOLS:-wasm-tools}
[[ -n ${PLINTH:-} ]] || command -v "$wasm_tools" >/dev/null || fail "there is no wasm-tools: cargo install wasm-tools, or name it in WASM_TOOLS"
wit=${PLINTH_WIT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../wit" && pwd)}

# A text of the manifest.
manifest_text() { # key
    local found
    found=$(tr -d '\n' <"$manifest" | sed -n 's/.*"'"$1"'"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p')
    [[ -n $found ]] || fail "$manifest: \"$1\" is missing"
    printf '%s' "$found"
}

# The words of a list of the manifest, one a line.
manifest_list() { # key
    tr -d '\n' <"$manifest" | sed -n 's/.*"'"$1"'"[[:space:]]*:[[:space:]]*\[\([^]]*\)\].*/\1/p' | tr ',' '\n' |
        sed -n 's/.*"\([a-z0-9-]*\)".*/\1/p'
}

# An unsigned number in LEB128.
leb128() { # number
    local rest=$1
    while ((rest > 127)); do
        printf "\\x$(printf %02x $((rest & 127 | 128)))"
        rest=$((rest >> 7))
    done
    printf "\\x$(printf %02x "$rest")"
}

componentize() { # core-module out [wasm-tools-component-new-argument…]
    local core=$1 out=$2 kind interface section=plinth-manifest size
    shift 2
    # `plinth plugin build` names itself: it does all of what follows without other tools.
    if [[ -n ${PLINTH:-} ]]; then
        "$PLINTH" plugin componentize "$core" "$out" --manifest "$manifest" ${1:+--adapt "${2#*=}"}
        return
    fi
    # 2. Describe: the world of this plugin, which is all that the host offers (what the module does not import is left
    #    out again) and the extension points that its manifest names.
    mkdir -p "$work/wit/deps"
    cp -r "$wit"/*/ "$work/wit/deps/"
    {
        echo 'package plinth:plugin;'
        echo 'world plugin {'
        grep -ho '^interface [a-z-]*' "$wit"/host/*.wit | while read -r _ interface; do
            echo "  import plinth:host/$interface@0.2.0;"
        done
        for kind in $(manifest_list kind); do echo "  export plinth:$kind/$kind@0.2.0;"; done
        echo '}'
    } >"$work/wit/plugin.wit"
    "$wasm_tools" component embed --world plugin "$work/wit" "$core" -o "$work/embedded.wasm"
    # 3. Make a component of it, which also checks that it exports what it says.
    "$wasm_tools" component new "$work/embedded.wasm" "$@" -o "$work/component.wasm"
    # 4. Say who it is: a custom section at the end, that holds the manifest.
    size=$(wc -c <"$manifest")
    {
        cat "$work/component.wasm"
        printf '\x00'
        leb128 $((size + ${#section} + 1))
        leb128 ${#section}
        printf '%s' "$section"
        cat "$manifest"
    } >"$work/plugin.wasm"
    mv "$work/plugin.wasm" "$out"
    echo "$out: $(($(wc -c <"$out") / 1024)) KiB"
}
