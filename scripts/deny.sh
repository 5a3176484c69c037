#!/bin/bash
# What comes in with dependencies: advisories, licences, sources, crates that are not wanted, and second versions (deny.toml).
# Wants cargo-deny (`cargo install --locked cargo-deny`); says so and ends well where it is not installed. Without a network
# all is looked at but the advisories, whose database is fetched anew: one of some time ago would say less than none.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny); tidy.rs has looked for async runtimes"
    exit 0
fi
cargo deny --offline --locked --log-level error check bans licenses sources
if cargo deny --locked --log-level off fetch db >/dev/null 2>&1; then
    cargo deny --offline --locked --log-level error check advisories
else
    echo "advisories: not looked at, their database cannot be fetched here"
fi
