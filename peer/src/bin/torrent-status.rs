//! Shows the daemon's torrents.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::status::main()
}
