#!/bin/bash
# Runs the fuzz targets (tests/src/fuzz): scripts/fuzz.sh [--seconds N] [--jobs N] [TARGET...]
#
# Each target for so many seconds (60 without), so many of them side by side (one without).
# With the stable compiler: what cargo-fuzz asks of a nightly one is the sanitizers, which find little in code without
# unsafe. libFuzzer itself needs a C++ compiler. New inputs are kept in $CARGO_TARGET_DIR/corpus, so that the next run
# goes on from there; an input that breaks something is written to $CARGO_TARGET_DIR/artifacts. To go on with one:
#
#     cp target/fuzz/artifacts/TARGET/crash-… tests/fuzz/seeds/TARGET/ && cargo test -p torrent-tests --test seeds
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"
cd -- "$(top_folder)"

seconds=60 jobs=1
while (($# > 0)); do
    case $1 in
        --help | -h) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' scripts/fuzz.sh; exit 0 ;;
        --seconds | --jobs)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || misused "$1 needs a number"
            if [[ $1 = --jobs ]]; then jobs=$2; else seconds=$2; fi
            shift 2
            ;;
        -*) misused "unknown option $1" ;;
        *) break ;;
    esac
done
targets=("$@")
for target in "${targets[@]}"; do
    [[ -f tests/fuzz/fuzz_targets/$target.rs ]] || misused "there is no target $target"
done
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

# Begins with a target.
begin() {
    local target=$1 corpus=$CARGO_TARGET_DIR/corpus/$1 artifacts=$CARGO_TARGET_DIR/artifacts/$1/
    mkdir -p "$corpus" "$artifacts"
    # A whole run may take no more memory than this, whatever the inputs were, and an input no longer than 5 s.
    "$CARGO_TARGET_DIR/$host/release/$target" "$corpus" "tests/fuzz/seeds/$target" -max_total_time="$seconds" \
        -artifact_prefix="$artifacts" -rss_limit_mb=512 -timeout=5 -max_len=16384 -print_final_stats=1 2>"$artifacts/log" &
    running+=("$target" $!)
}

# Waits for the one that began first, and prints a line of what it did.
finish() {
    local target=${running[0]} pid=${running[1]} artifacts=$CARGO_TARGET_DIR/artifacts/${running[0]}/
    running=("${running[@]:2}")
    if ! wait "$pid"; then
        tail -n 40 "$artifacts/log" >&2
        printf '%s: something does not hold; the input is in %s\n' "$target" "$artifacts" >&2
        # The others have their time all the same.
        failed=1
        return
    fi
    awk -v target="$target" -v seconds="$seconds" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1); else if ($i == "corp:") inputs = $(i + 1) }
        /number_of_executed_units/ { runs = $2 }
        /peak_rss_mb/ { memory = $2 }
        END { printf "%-15s %10d inputs in %d s, %d edges, %s kept, %d MiB at most\n", target, runs, seconds, edges, inputs, memory }
    ' "$artifacts/log"
}

failed=0 running=()
# What runs in the background does not hear Ctrl-C by itself.
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM
for target in "${targets[@]}"; do
    ((${#running[@]} < 2 * jobs)) || finish
    begin "$target"
done
while ((${#running[@]} > 0)); do
    finish
done
exit "$failed"
