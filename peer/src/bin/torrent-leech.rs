//! Downloads a torrent.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::leech::main()
}
