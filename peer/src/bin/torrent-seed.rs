//! Makes a torrent, seeds and publishes it.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::seed::main()
}
