//! Lists the catalogue and takes torrent files from it.

fn main() -> std::process::ExitCode {
    torrent_peer::cli::fetch::main()
}
