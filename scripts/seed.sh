#!/bin/bash
# Publishes a file or folder, unattended: for cron and CI.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)/common.sh"

usage() {
    cat <<'END'
Usage: seed.sh [--config F] [--port P] PATH [OPTIONS OF torrent-seed]

Seeds the file or folder PATH and publishes it to the tracker's catalogue. Prints the info-hash, the torrent file's path
and the magnet link. If no torrent-daemon answers, one is started; it goes on running, and its log is
~/.local/state/torrent/daemon.log (or $TORRENT_LOG).

  --config F   the configuration file, for the daemon as well
  --port P     the daemon's control port

Exit code: 0 seeded and published (with --private: seeded), 1 failed, 2 called wrongly.
The programs are taken from $TORRENT_BIN, else from target/release beside this script, else from PATH.
END
}

place=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --config | --port) (($# > 1)) || misused "$1 needs a value"; place+=("$1" "$2"); shift 2 ;;
        --) shift; break ;;
        -*) misused "unknown option $1 (options of torrent-seed come after PATH)" ;;
        *) break ;;
    esac
done
(($# > 0)) || misused "what is to be seeded?"
input=$1
shift
[[ -e $input ]] || fail "there is no $input"

seed=$(program torrent-seed)
ensure_daemon ${place[@]+"${place[@]}"}
exec "$seed" ${place[@]+"${place[@]}"} --input "$input" "$@"
