//! Tests whether daemon and tracker answer.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::test::main()
}
