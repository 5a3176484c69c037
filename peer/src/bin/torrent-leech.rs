//! Downloads a torrent.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::leech::main()
}
