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
    cd / && rm -rf -- "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    printf '\n== %s\n' "$*"
}

# Shows a command of ours as one would type it.
show() {
    printf '$'
    printf ' %q' "$@"
    printf '\n'
}

# Shows it and does it.
run() {
    local path
    show "$@"
    path=$(program "$1")
    shift
    "$path" "$@"
}

# start FOLDER PROGRAM ARGUMENTS: in the background, in a folder of its own.
start() {
    local folder=$1
    shift
    (cd -- "$folder" && exec "$@" >ready 2>log </dev/null) &
    started+=($!)
}

# port_of FOLDER KEY PID: waits for the line in which a program tells that it is ready and where, and prints the port.
port_of() {
    local folder=$1 key=$2 pid=$3 tries line
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
    # Cargo may have been told another place.
    TORRENT_BIN=$(cd -- "$top" && cd -- "${CARGO_TARGET_DIR:-target}/release" && pwd)
fi
TORRENT_BIN=$(cd -- "$TORRENT_BIN" && pwd)
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
tracker_port=$(port_of "$work/tracker" http "${started[-1]}")
# daemon_for NAME: in its own folder, and NAME.ini tells the commands where it is.
daemon_for() {
    local name=$1 port
    cat >"$work/$name/config.ini" <<END
[peer]
TRACKER_URL = http://127.0.0.1:$tracker_port/announce
PORT = 0
PEER_PORT = 0
END
    start "$work/$name" "$daemon" --config config.ini
    port=$(port_of "$work/$name" control "${started[-1]}")
    cat >"$work/$name.ini" <<END
[peer]
TRACKER_URL = http://127.0.0.1:$tracker_port/announce
TORRENT_DIR = $name/fetched
PORT = $port
END
}
daemon_for alice
daemon_for bob
cd -- "$work"
run torrent-test --config alice.ini
run torrent-test --config bob.ini

step "Alice publishes the folder"
run torrent-seed --config alice.ini --input source/demo-files --description "files of the demo"

step "Bob looks into the catalogue, and takes the torrent file"
run torrent-fetch --config bob.ini --search demo
show torrent-fetch --config bob.ini --search demo-files --one
torrent=$("$(program torrent-fetch)" --config bob.ini --search demo-files --one)
printf '%s\n' "$torrent"
torrent=${torrent#"$work/"}

step "Bob downloads it"
run torrent-leech --config bob.ini --torrent "$torrent" --output bob/files --wait

step "The checksums of what Bob has are those of what Alice has"
checksums source/demo-files >alice.sums
checksums bob/files/demo-files >bob.sums
diff alice.sums bob.sums || fail "the files differ"
printf '%s files are the same\n' "$(wc -l <alice.sums)"

step "Both seed it now"
run torrent-status --config alice.ini
run torrent-status --config bob.ini

step "Done; everything is stopped and removed"
