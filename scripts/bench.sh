#!/bin/bash
# Measures the programs of this project beside other BitTorrent programs that are installed: bench.sh --help
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"

top=$(top_folder)
command -v python3 >/dev/null || fail "needs python3"
export PYTHONDONTWRITEBYTECODE=1
loopback=
for argument in "$@"; do
    case $argument in
        --help | -h | --report) exec python3 "$top/scripts/bench" "$@" ;;
        --loopback) loopback=yes ;;
    esac
done
# A wrong call is told before anything is built.
python3 "$top/scripts/bench" --check "$@" || exit

if [[ -z ${TORRENT_BIN:-} ]]; then
    printf 'Building the programs (release)\n' >&2
    (cd -- "$top" && cargo build --release --bins --examples)
    # Cargo may have been told another place.
    TORRENT_BIN=$(cd -- "$top" && cd -- "${CARGO_TARGET_DIR:-target}/release" && pwd)
fi
TORRENT_BIN=$(cd -- "$TORRENT_BIN" && pwd)
export TORRENT_BIN
program torrent-daemon >/dev/null
program torrent-tracker >/dev/null

# A network and mounts of its own: hosts are made in there, as root or, where users may, without. They end with the script.
isolate=()
if [[ -z $loopback ]] && command -v unshare nsenter ip mount >/dev/null; then
    if ((EUID == 0)); then
        isolate=(unshare --net --mount)
    else
        isolate=(unshare --user --map-root-user --net --mount)
    fi
    # A trial: mounts and bridges may be forbidden although namespaces are not.
    if "${isolate[@]}" sh -c 'mount -t tmpfs tmpfs /run && ip link add bench type bridge' 2>/dev/null; then
        export BENCH_NETWORK=namespaces
    else
        printf 'Network namespaces cannot be made here: everything runs on loopback\n' >&2
        isolate=()
    fi
fi
exec ${isolate[@]+"${isolate[@]}"} python3 "$top/scripts/bench" "$@"
