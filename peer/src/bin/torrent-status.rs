//! Shows the daemon's torrents.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::status::main()
}
