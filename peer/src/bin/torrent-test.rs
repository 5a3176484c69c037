//! Tests whether daemon and tracker answer.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::test::main()
}
