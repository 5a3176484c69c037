//! Lists the catalogue and takes torrent files from it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    torrent_peer::cli::fetch::main()
}
