//! Seeds and leeches torrents.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::daemon::main()
}
