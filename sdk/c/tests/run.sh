#!/usr/bin/env bash
# Compiles the SDK and its examples for this machine, with the checks for memory and undefined behaviour that the
# compiler has, and runs their tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CC:-cc} -std=c11 -g -O1 -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=undefined \
    -ffp-contract=off -I . -I vendor/yyjson tests/tests.c src/*.c examples/*/*.c vendor/yyjson/yyjson.c -lm -o "$work/tests"
"$work/tests"
