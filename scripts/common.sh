# What the scripts share; sourced by them, does nothing by itself.
# shellcheck shell=bash

# One line on standard error, and exit code 1.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Called wrongly: exit code 2.
misused() {
    printf '%s: %s\nrun %s --help for more\n' "${0##*/}" "$*" "${0##*/}" >&2
    exit 2
}

# The folder of the repository, wherever this is called from.
top_folder() {
    CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd
}

# The path of a program: in $TORRENT_BIN if that is set, else in target/release beside the scripts, else in PATH.
program() {
    local name=$1 built
    if [[ -n ${TORRENT_BIN:-} ]]; then
        [[ -x $TORRENT_BIN/$name ]] || fail "there is no $name in TORRENT_BIN ($TORRENT_BIN)"
        printf '%s\n' "$TORRENT_BIN/$name"
        return
    fi
    built=$(top_folder)/target/release/$name
    if [[ -x $built ]]; then
        printf '%s\n' "$built"
    else
        command -v -- "$name" || fail "there is no $name: run cargo build --release, or set TORRENT_BIN"
    fi
}

# Starts torrent-daemon in the background if none answers, and waits until it does. It goes on running when the script
# has ended; its log is told. Arguments: those that the commands get too (--config F, --port P).
ensure_daemon() {
    local status daemon log pid tries
    status=$(program torrent-status) || exit 1
    if "$status" "$@" >/dev/null 2>&1; then
        return
    fi
    daemon=$(program torrent-daemon) || exit 1
    [[ -n ${TORRENT_LOG:-}${XDG_STATE_HOME:-}${HOME:-} ]] || fail "no place for the daemon's log: set TORRENT_LOG or HOME"
    log=${TORRENT_LOG:-${XDG_STATE_HOME:-${HOME:-}/.local/state}/torrent/daemon.log}
    mkdir -p -- "$(dirname -- "$log")" || fail "cannot make the folder of $log"
    # A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
    setsid nohup "$daemon" "$@" </dev/null >>"$log" 2>&1 &
    pid=$!
    for ((tries = 0; tries < 150; tries++)); do
        if "$status" "$@" >/dev/null 2>&1; then
            printf '%s: started torrent-daemon, its log is %s\n' "${0##*/}" "$log" >&2
            return
        fi
        # Gone, and no other has taken its place meanwhile.
        if ! kill -0 "$pid" 2>/dev/null && ! "$status" "$@" >/dev/null 2>&1; then
            fail "torrent-daemon did not start: $(tail -n 1 -- "$log")"
        fi
        sleep 0.2
    done
    fail "torrent-daemon did not answer within 30 seconds: see $log"
}
