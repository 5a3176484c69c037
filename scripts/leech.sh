#!/bin/bash
# Downloads a torrent of the catalogue, unattended: for cron and CI.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"

usage() {
    cat <<'END'
Usage: leech.sh [--config F] [--port P] NAME-or-HASH DIR

Finds a torrent in the tracker's catalogue, by its info-hash or its name, downloads it to the folder DIR, and waits until
it is complete. What is there already is checked and kept. The daemon seeds it afterwards. If no torrent-daemon answers,
one is started; it goes on running, and its log is ~/.local/state/torrent/daemon.log (or $TORRENT_LOG).

  --config F   the configuration file, for the daemon as well
  --port P     the daemon's control port

A name must be that of exactly one torrent, or the search for it must find exactly one.
Exit code: 0 complete, 1 failed, 2 called wrongly.
The programs are taken from $TORRENT_BIN, else from target/release beside this script, else from PATH.
END
}

place=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --config | --port) (($# > 1)) || misused "$1 needs a value"; place+=("$1" "$2"); shift 2 ;;
        --) shift; break ;;
        -*) misused "unknown option $1" ;;
        *) break ;;
    esac
done
(($# == 2)) || misused "say which torrent, and the folder for it"
wanted=$1
folder=$2
[[ -n $wanted ]] || misused "say which torrent"
mkdir -p -- "$folder" || fail "cannot make the folder $folder"

fetch=$(program torrent-fetch)
leech=$(program torrent-leech)
if [[ $wanted =~ ^[0-9a-fA-F]{40}$ ]]; then
    which=(--info-hash "$wanted")
else
    which=(--search "$wanted" --one)
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
"$fetch" ${place[@]+"${place[@]}"} "${which[@]}" --output "$work/wanted.torrent" >/dev/null
ensure_daemon ${place[@]+"${place[@]}"}
"$leech" ${place[@]+"${place[@]}"} --torrent "$work/wanted.torrent" --output "$folder" --wait
