//! Makes a torrent, seeds and publishes it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::seed::main()
}
