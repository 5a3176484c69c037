//! What is the daemon's own, and no download may be put in its place: whoever makes a torrent chooses its name.

use std::path::Path;

use torrent_common::metainfo::Metainfo;

use crate::control::engine::Refusal;
use crate::storage::part;

/// That a torrent downloaded to `output` does not write to a file where bytes of another torrent wait, nor to what
/// the daemon believes of all of them. Asks no disk: a folder that leads to `state_dir` by another name is the user's doing.
///
/// # Errors
/// [`Refusal::BadRequest`].
pub(super) fn check(metainfo: &Metainfo, output: &Path, state_dir: &Path) -> Result<(), Refusal> {
    let root = metainfo.root.as_str();
    if part::is_name(root) {
        return Err(Refusal::BadRequest(format!(
            "the torrent is named {root:?}, as are the files in which bytes of torrents wait that are not selected: it \
             would write over one"
        )));
    }
    let payload = output.join(root);
    if payload.starts_with(state_dir) || state_dir.starts_with(&payload) {
        return Err(Refusal::BadRequest(format!(
            "{} is where the daemon keeps its state (STATE_DIR), or above it: use another output folder",
            payload.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{TestFile, torrent};

    #[test]
    fn what_is_our_own_is_no_download() {
        let files = TestFile::list(&[("state/x", 150)]);
        let refused = |name: &str, output: &str| {
            check(&torrent(name, &files, 100, None), Path::new(output), Path::new("/home/u/peer-data/state"))
                .is_err()
        };
        assert!(refused(".0123456789ABCDEF0123456789abcdef01234567.parts", "/srv"));
        assert!(refused("peer-data", "/home/u"));
        assert!(refused("u", "/home"));
        assert!(refused("state", "/home/u/peer-data"));
        assert!(refused("x", "/home/u/peer-data/state"));
        assert!(!refused("state2", "/home/u/peer-data"));
        assert!(!refused("peer-data", "/srv"));
        assert!(!refused("x", "/home/u"));
    }
}
