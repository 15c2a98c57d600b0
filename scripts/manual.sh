#!/bin/bash
# Writes the generated parts of the manual pages from the binary's own tables, and checks the pages.
set -eu
cd "$(dirname "$0")/.."
UPDATE_PAGES=1 cargo test --quiet --test pages -- --test-threads=1 >/dev/null || true
cargo test --quiet --test pages
mandoc -T lint -W warning man/*.[1-9]
