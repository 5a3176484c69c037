//! Seeds and leeches torrents.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::daemon::main()
}
