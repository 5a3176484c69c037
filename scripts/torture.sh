#!/bin/bash
# Attacks the project for hours: scripts/torture.sh [HOURS] [STEP...]
#
# Every step that is short in `cargo test` is long here: 500 kills, 10,000 seeds, an hour of each fuzz target (with two
# processors), a soak for a fifth of the time. HOURS (10 without) is shared out: with fewer each step is cut short in
# proportion. A step that fails stops none of the others. Ctrl-C ends the step that runs, says what was seen so far, and
# ends.
#
# What the steps say is in $TORTURE_OUT (target/torture without), one log each, with a summary; soak.svg is a picture of
# the memory, threads and descriptors of the soak. Ends with 1 if a step failed, with 130 if it was stopped.
set -uo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"
cd -- "$(top_folder)" || exit

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' scripts/torture.sh
    printf '\nSteps: %s\n' "${STEPS[*]}"
}

STEPS=(build kills stops disks storage strangers control speed simulation fuzz soak)
hours=10
case ${1:-} in
    -h | --help) usage; exit 0 ;;
    [0-9]*) hours=$1; shift ;;
esac
[[ $hours =~ ^[0-9]+(\.[0-9]+)?$ ]] || misused "HOURS is a number, like 10 or 0.5"
steps=("$@")
[[ ${#steps[@]} -gt 0 ]] || steps=("${STEPS[@]}")
for step in "${steps[@]}"; do
    [[ " ${STEPS[*]} " == *" $step "* ]] || misused "there is no step $step, but ${STEPS[*]}"
done

export TORTURE_OUT=${TORTURE_OUT:-${CARGO_TARGET_DIR:-target}/torture}
mkdir -p -- "$TORTURE_OUT" || fail "cannot make $TORTURE_OUT"
TORTURE_OUT=$(cd -- "$TORTURE_OUT" && pwd)
summary=$TORTURE_OUT/summary
: >"$summary"

# A part of HOURS in seconds, so many thousandths of it, at least one.
part() {
    awk -v hours="$hours" -v part="$1" 'BEGIN { s = int(hours * 3600 * part / 1000); print s < 1 ? 1 : s }'
}

# So many when there are ten hours, fewer when there are fewer, at least five.
count() {
    awk -v hours="$hours" -v most="$1" 'BEGIN { n = int(most * hours / 10); n = n > most ? most : n; print n < 5 ? 5 : n }'
}

# Whether tests ran, and some for each name after `--` in `cargo test ... -- NAME...`: one that has changed matches none.
met() {
    local log=$1 word names='' well=0
    shift
    grep -qE '^test result: ok\. [1-9]' -- "$log" || well=1
    for word; do
        if [[ -n $names && $word != -* ]] && ! grep -qE "^test [^ ]*$word[^ ]* \.\.\." -- "$log"; then
            printf 'no test is named %s\n' "$word" | tee -a -- "$log" >>"$summary"
            well=1
        fi
        [[ $word != -- ]] || names=follow
    done
    return "$well"
}

failed=0 stopped=
trap 'stopped=yes' INT TERM

# Runs a step in a process group of its own, so that a stop reaches all it started.
run() {
    local name=$1 begin=$SECONDS status pid
    shift
    [[ -z $stopped ]] || return
    printf '\n==> %s: %s\n' "$name" "$*"
    setsid -- "$@" </dev/null >"$TORTURE_OUT/$name.log" 2>&1 &
    pid=$!
    while :; do
        wait "$pid"
        status=$?
        if [[ -n $stopped ]]; then
            kill -TERM -- "-$pid" 2>/dev/null
            # Programs under test are killed by who started them, or with their group.
            sleep 2
            kill -KILL -- "-$pid" 2>/dev/null
            wait "$pid" 2>/dev/null
            printf '%-12s stopped after %d s\n' "$name" $((SECONDS - begin)) >>"$summary"
            return
        fi
        # A signal that is not for us ends a wait early.
        kill -0 "$pid" 2>/dev/null || break
    done
    if [[ $1 = cargo && $2 = test && $name != build ]]; then
        met "$TORTURE_OUT/$name.log" "$@" || status=1
    fi
    if ((status == 0)); then
        printf '%-12s well, %d s\n' "$name" $((SECONDS - begin)) >>"$summary"
    else
        failed=1
        printf '%-12s FAILED after %d s: %s\n' "$name" $((SECONDS - begin)) "$TORTURE_OUT/$name.log" >>"$summary"
        tail -n 20 -- "$TORTURE_OUT/$name.log"
    fi
    # What the steps found is told in lines of their own.
    grep -hE -e 'kills of|stops in the middle|a stop took|stops, .* kills|^(steady|tracker).*then|inputs in|[0-9] seeds' \
        -e 'flood of .* more|connections: .* more|^\||^test result: ok\. [1-9]' \
        -- "$TORTURE_OUT/$name.log" | sed -E 's/^(test [^ ]+ \.\.\. )?/    /' >>"$summary"
}

# An ordinary test, with what it prints, one at a time.
tests() {
    local name=$1
    shift
    run "$name" cargo test --profile checked --locked "$@" --include-ignored --nocapture --test-threads=1
}

for step in "${steps[@]}"; do
    case $step in
        build)
            run build cargo test --profile checked --locked --workspace --no-run
            # What the tests start. They would build it themselves, and count that to their own time.
            run programs cargo build --profile checked --locked --workspace --bins
            ;;
        kills)
            TORTURE_KILLS=$(count 500)
            export TORTURE_KILLS
            tests kills -p torrent-tests --test torture -- kills:: wishes::
            ;;
        stops)
            TORTURE_STOPS=$(count 300)
            export TORTURE_STOPS
            tests stops -p torrent-tests --test torture -- shutdown::
            ;;
        disks)
            # Every way in which a disk may hang.
            export TORTURE_DISKS=3 TORRENT_MOUNTS=required
            tests disks -p torrent-tests --test torture -- disks:: changed_files:: failing_disk:: names::
            ;;
        storage)
            TORRENT_TORTURE_CUTS=$(count 1000)
            PROPTEST_CASES=$(count 100000)
            export TORRENT_TORTURE_CUTS PROPTEST_CASES
            tests storage -p torrent-peer --lib -- resume:: storage::
            ;;
        strangers)
            TORTURE_ROUNDS=$(count 40) TORTURE_MUTATIONS=$(count 5000000)
            export TORTURE_ROUNDS TORTURE_MUTATIONS
            tests strangers -p torrent-tests --test e2e --test torrents -- hostile siege mutat
            ;;
        control)
            # As many as thirty at once where the thread that takes requests may have priority: without it they cost more.
            CONTROL_FLOODS=8 CONTROL_ATTACK_S=$(count 120) KEPT_ROUNDS=$(count 2000)
            ((EUID != 0)) || CONTROL_FLOODS=30
            export CONTROL_FLOODS CONTROL_ATTACK_S KEPT_ROUNDS
            tests control -p torrent-tests --test e2e -- floods:: kept::
            ;;
        speed)
            # What attacks cost an honest download: over a fast line, where processors are the bound, and over a slower one.
            for role in leecher seeder; do
                for how in '' '--mbit 0' '--mib 256 --limit 20'; do
                    # shellcheck disable=SC2086 # words, not one
                    run "speed-$role${how//[ -]/}" cargo run --release --locked -q -p torrent-tests --example siege -- "--$role" $how
                done
            done
            ;;
        simulation)
            SIMULATION_SEEDS=$(count 10000)
            export SIMULATION_SEEDS
            # Those of every kind of trouble. How fast one seeder serves many is measured in few worlds, large ones.
            tests simulation -p torrent-peer --test simulation -- everybody one_corrupt
            ;;
        fuzz)
            # As many side by side as there are processors: three fifths of the time, an hour each at the most.
            targets=(tests/fuzz/fuzz_targets/*.rs)
            jobs=$(nproc)
            each=$(($(part 600) / ((${#targets[@]} + jobs - 1) / jobs)))
            ((each < 3600)) || each=3600
            ((each > 0)) || each=1
            run fuzz ./scripts/fuzz.sh --seconds "$each" --jobs "$jobs"
            ;;
        soak)
            # Not less than in the usual tests, or there are no samples to compare.
            TORTURE_SOAK_S=$(part 200)
            ((TORTURE_SOAK_S >= 30)) || TORTURE_SOAK_S=30
            export TORTURE_SOAK_S
            tests soak -p torrent-tests --test torture -- soak::
            if [[ -f $TORTURE_OUT/soak.csv ]] && command -v python3 >/dev/null; then
                python3 scripts/torture/plot.py "$TORTURE_OUT/soak.csv" "$TORTURE_OUT/soak.svg"
            fi
            ;;
    esac
done

printf '\n==> %s in %d s\n' "$([[ -n $stopped ]] && echo stopped || echo done)" "$SECONDS"
cat -- "$summary"
[[ -z $stopped ]] || exit 130
exit "$failed"
