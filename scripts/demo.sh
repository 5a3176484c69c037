#!/bin/bash
# One swarm, end to end, on this machine: a tracker and two daemons on free ports, in a temporary folder that is removed
# again. Takes no arguments; TORRENT_BIN=FOLDER uses programs that are built already.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"

case ${1:-} in
    '') ;;
    --help | -h) sed -n '2,3s/^# //p' -- "${BASH_SOURCE[0]}"; exit 0 ;;
    *) misused "it takes no arguments" ;;
esac

top=$(top_folder)
work=$(mktemp -d)
started=()

# Ends what was started here and nothing else, the last first.
clean_up() {
    local code=$? at tries
    trap - EXIT INT TERM
    for ((at = ${#started[@]} - 1; at >= 0; at--)); do
        kill "${started[at]}" 2>/dev/null || true
    done
    for ((at = 0; at < ${#started[@]}; at++)); do
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "${started[at]}" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "${started[at]}" 2>/dev/null || true
    done
    if ((code != 0)); then
        printf '\nThe demo failed. The ends of the logs:\n' >&2
        tail -n 20 -- "$work"/*/log >&2 || true
    fi
    rm -rf -- "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    printf '\n== %s\n' "$*"
}

# Shows a command as one would type it, and does it.
show() {
    printf '$ %s' "${1##*/}"
    shift
    printf ' %q' "$@"
    printf '\n'
}
run() {
    show "$@"
    "$@"
}

# start FOLDER PROGRAM ARGUMENTS: in the background, in a folder of its own.
start() {
    local folder=$1
    shift
    (cd -- "$folder" && exec "$@" >ready 2>log </dev/null) &
    started+=($!)
}

# address FOLDER KEY: waits for the line in which a program tells that it is ready and where, and prints the port.
port_of() {
    local folder=$1 key=$2 tries line pid=${3:?}
    for ((tries = 0; tries < 300; tries++)); do
        line=$(grep -m1 '^ready ' -- "$folder/ready" 2>/dev/null || true)
        if [[ $line =~ \ $key=[^\ ]*:([0-9]+)(\ |$) ]]; then
            printf '%s\n' "${BASH_REMATCH[1]}"
            return
        fi
        kill -0 "$pid" 2>/dev/null || fail "what was started in $folder has ended"
        sleep 0.1
    done
    fail "what was started in $folder is not ready after 30 seconds"
}

# Checksums of all files of a folder, by name.
checksums() {
    (cd -- "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum)
}

if [[ -z ${TORRENT_BIN:-} ]]; then
    step "Build the programs (release)"
    (cd -- "$top" && cargo build --release --bins)
    # Where cargo has put them, if it was told another place.
    export TORRENT_BIN=${CARGO_TARGET_DIR:-$top/target}/release
fi
tracker=$(program torrent-tracker)
daemon=$(program torrent-daemon)

step "Some real files: the sources of this repository, and the programs built from them"
payload=$work/source/demo-files
mkdir -p -- "$payload/programs" "$work/tracker" "$work/alice" "$work/bob"
for part in common tracker peer Cargo.toml Cargo.lock; do
    cp -R -- "$top/$part" "$payload/"
done
cp -- "$tracker" "$daemon" "$payload/programs/"
find "$payload" -type f | wc -l | xargs printf '%s files, '
du -sh -- "$payload" | cut -f1

step "A tracker, and two daemons: Alice, who has the files, and Bob, who wants them"
cat >"$work/tracker/config.ini" <<'END'
[tracker]
PORT = 0
END
start "$work/tracker" "$tracker" --config config.ini
tracker_port=$(port_of "$work/tracker" http "${started[0]}")
for name in alice bob; do
    cat >"$work/$name/config.ini" <<END
[peer]
TRACKER_URL = http://127.0.0.1:$tracker_port/announce
PORT = 0
PEER_PORT = 0
END
    start "$work/$name" "$daemon" --config config.ini
done
alice=(--config "$work/alice/config.ini" --port "$(port_of "$work/alice" control "${started[1]}")")
bob=(--config "$work/bob/config.ini" --port "$(port_of "$work/bob" control "${started[2]}")")
run "$(program torrent-test)" "${alice[@]}"

step "Alice publishes the folder"
run "$(program torrent-seed)" "${alice[@]}" --input "$payload" --description "files of the demo"

step "Bob looks into the catalogue, and takes the torrent file"
run "$(program torrent-fetch)" "${bob[@]}" --search demo
show "$(program torrent-fetch)" "${bob[@]}" --search demo-files --one
torrent=$("$(program torrent-fetch)" "${bob[@]}" --search demo-files --one)
printf '%s\n' "$torrent"

step "Bob downloads it"
run "$(program torrent-leech)" "${bob[@]}" --torrent "$torrent" --output "$work/bob/files" --wait

step "The checksums of what Bob has are those of what Alice has"
checksums "$payload" >"$work/alice.sums"
checksums "$work/bob/files/demo-files" >"$work/bob.sums"
diff "$work/alice.sums" "$work/bob.sums" || fail "the files differ"
printf '%s files are the same\n' "$(wc -l <"$work/alice.sums")"

step "Both seed it now"
run "$(program torrent-status)" "${alice[@]}"
run "$(program torrent-status)" "${bob[@]}"

step "Done; everything is stopped and removed"
