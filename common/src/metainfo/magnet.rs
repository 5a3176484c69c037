//! Magnet links (BEP 9): only made here, for now.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Metainfo;
use crate::ids::InfoHash;

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The link for a torrent: see [`magnet`].
pub fn magnet_link(metainfo: &Metainfo) -> String {
    let trackers = metainfo.trackers.iter().flatten().map(String::as_str);
    magnet(metainfo.info_hash, &metainfo.name, trackers)
}

/// A link: `xt`, `dn`, and a `tr` per tracker. ASCII, without spaces, quotes or control characters, whatever the name is.
pub fn magnet<'a>(info_hash: InfoHash, name: &str, trackers: impl IntoIterator<Item = &'a str>) -> String {
    let name = utf8_percent_encode(name, ENCODED);
    let mut link = format!("magnet:?xt=urn:btih:{info_hash}&dn={name}");
    for tracker in trackers {
        link.push_str("&tr=");
        link.extend(utf8_percent_encode(tracker, ENCODED));
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::MetainfoLimits;

    #[test]
    fn names_and_trackers_are_encoded() {
        let torrent = b"d8:announce22:http://t.example/a?b=c4:infod6:lengthi1e4:name6:a&b \xc3\xbc12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";
        let metainfo = Metainfo::parse(torrent, &MetainfoLimits::default()).unwrap();
        let expected = format!(
            "magnet:?xt=urn:btih:{}&dn=a%26b%20%C3%BC&tr=http%3A%2F%2Ft.example%2Fa%3Fb%3Dc",
            metainfo.info_hash
        );
        assert_eq!(magnet_link(&metainfo), expected);
    }
}
