#!/bin/sh
# Rewrite the hash-pinned lock files from pyproject.toml. Add `--upgrade` to move to newer versions.
set -eu
cd "$(dirname "$0")/.."
lock() {
    out=$1; shift
    uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
        --no-annotate --custom-compile-command "make locks" --output-file "requirements/$out.lock" "$@"
}
lock aggregator "$@" --extra aggregator pyproject.toml
lock operator "$@" --extra operator pyproject.toml
lock dev "$@" --all-extras --group dev pyproject.toml
lock build "$@" --group build
