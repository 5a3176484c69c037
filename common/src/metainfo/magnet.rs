//! Magnet links (BEP 9): only made here, for now.

use super::Metainfo;

/// The link for a torrent: `xt`, `dn`, and a `tr` per tracker.
pub fn magnet_link(metainfo: &Metainfo) -> String {
    todo!()
}
