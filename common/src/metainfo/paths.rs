//! Promise 4: no path in a torrent leads outside the download folder.

use std::fmt;

/// A relative path of safe components: none empty, `.`, `..`, none with a separator or NUL, none over 255 bytes, no
/// name that Windows reserves. Made only by this module.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TorrentPath(Box<[Box<str>]>);

impl TorrentPath {
    /// The components, at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|component| &**component)
    }
}

/// With `/` between components.
impl fmt::Display for TorrentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl fmt::Debug for TorrentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
