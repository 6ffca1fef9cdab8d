#!/usr/bin/env bash
# Runs the tests of the SDK and of its examples, on this machine; GO is the go command if it is not on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
for folder in . examples/*/; do
    (cd "$folder" && "$go" vet ./... && "$go" test ./...)
done
# What is only compiled for components.
GOOS=wasip1 GOARCH=wasm "$go" vet -unsafeptr=false -composites=false ./...
