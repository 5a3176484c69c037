#!/bin/bash
# Runs the fuzz targets (tests/src/fuzz), one after the other: scripts/fuzz.sh [--seconds N] [TARGET...]
#
# With the stable compiler: what cargo-fuzz asks of a nightly one is the sanitizers, which find little in code without
# unsafe. libFuzzer itself needs a C++ compiler. New inputs are kept in $CARGO_TARGET_DIR/corpus, so that the next run
# goes on from there; an input that breaks something is written to $CARGO_TARGET_DIR/artifacts. To go on with one:
#
#     cp target/fuzz/artifacts/TARGET/crash-… tests/fuzz/seeds/TARGET/ && cargo test -p torrent-tests --test seeds
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
if [ "${1:-}" = --seconds ]; then
    seconds=$2
    shift 2
fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# Counters at every edge of the code, and what is compared. Not for build scripts: that is what --target is for.
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$RUSTFLAGS")
# The same versions of everything as in the programs themselves.
cp Cargo.lock tests/fuzz/Cargo.lock
cargo build --release --manifest-path tests/fuzz/Cargo.toml --target "$host" "${targets[@]/#/--bin=}"

failed=0
for target in "${targets[@]}"; do
    corpus=$CARGO_TARGET_DIR/corpus/$target artifacts=$CARGO_TARGET_DIR/artifacts/$target/
    mkdir -p "$corpus" "$artifacts"
    log=$artifacts/log
    # A whole run may take no more memory than this, whatever the inputs were, and an input no longer than 5 s.
    if ! "$CARGO_TARGET_DIR/$host/release/$target" "$corpus" "tests/fuzz/seeds/$target" -max_total_time="$seconds" \
        -artifact_prefix="$artifacts" -rss_limit_mb=512 -timeout=5 -max_len=16384 -print_final_stats=1 2>"$log"; then
        tail -n 40 "$log" >&2
        printf '%s: something does not hold; the input is in %s\n' "$target" "$artifacts" >&2
        # The others have their time all the same.
        failed=1
        continue
    fi
    awk -v target="$target" -v seconds="$seconds" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1); else if ($i == "corp:") inputs = $(i + 1) }
        /number_of_executed_units/ { runs = $2 }
        /peak_rss_mb/ { memory = $2 }
        END { printf "%-15s %10d inputs in %d s, %d edges, %s kept, %d MiB at most\n", target, runs, seconds, edges, inputs, memory }
    ' "$log"
done
exit "$failed"
