//! The parts of a torrent file that name other machines: trackers (BEP 12), web seeds (BEP 19), nodes (BEP 5). They are
//! outside `info`, often in disrepair, and none of them is worth refusing a torrent for: what makes no sense is left out.

use crate::bencode::Value;

/// The most trackers, web seeds, or nodes kept of a torrent.
pub const MAX_ADDRESSES: usize = 100;
/// The longest URL kept, in bytes.
pub const MAX_URL_LEN: usize = 2048;

/// Whether we can announce to this URL: HTTP, HTTPS or UDP, with a host, and of a sane length.
pub fn is_tracker_url(url: &str) -> bool {
    is_url(url, &["http", "https", "udp"])
}

/// The trackers by tier: `announce-list`, or, if that has none that we can use, `announce`.
pub(super) fn tiers(announce: Option<Value<'_>>, announce_list: Option<Value<'_>>) -> Vec<Vec<String>> {
    let mut seen: Vec<&str> = Vec::new();
    let mut tiers = Vec::new();
    for tier in announce_list.and_then(|list| list.as_list()).into_iter().flatten() {
        let before = seen.len();
        // Some programs write the URL where the tier's list should be.
        let urls = tier.as_list().into_iter().flatten().chain(tier.as_bytes().map(|_| tier));
        for url in urls.filter_map(|url| url.as_str()).map(str::trim).filter(|url| is_tracker_url(url)) {
            if seen.len() == MAX_ADDRESSES {
                break;
            }
            if !seen.contains(&url) {
                seen.push(url);
            }
        }
        let tier: Vec<String> = seen.iter().skip(before).map(|&url| url.to_owned()).collect();
        if !tier.is_empty() {
            tiers.push(tier);
        }
    }
    if tiers.is_empty() {
        let lone = announce.and_then(|url| url.as_str()).map(str::trim).filter(|url| is_tracker_url(url));
        tiers.extend(lone.map(|url| vec![url.to_owned()]));
    }
    tiers
}

/// `url-list`: a string, or a list of them.
pub(super) fn web_seeds(value: Option<Value<'_>>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let urls = value.as_list().into_iter().flatten().chain(value.as_bytes().map(|_| value));
    let urls = urls
        .filter_map(|url| url.as_str())
        .map(str::trim)
        .filter(|url| is_url(url, &["http", "https", "ftp"]));
    urls.take(MAX_ADDRESSES).map(str::to_owned).collect()
}

/// `nodes`: a list of pairs of host and port.
pub(super) fn nodes(value: Option<Value<'_>>) -> Vec<(String, u16)> {
    let pairs = value.and_then(|value| value.as_list()).into_iter().flatten();
    pairs.filter_map(node).take(MAX_ADDRESSES).collect()
}

fn node(pair: Value<'_>) -> Option<(String, u16)> {
    let mut pair = pair.as_list()?;
    let (host, port) = (pair.next()?.as_str()?, pair.next()?.as_i64()?);
    let port = u16::try_from(port).ok().filter(|&port| port > 0)?;
    (is_host(host) && host.len() <= 253).then(|| (host.to_owned(), port))
}

fn is_url(url: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    url.len() <= MAX_URL_LEN
        && schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme))
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
        && is_host(host)
        && !host.starts_with(':')
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode::{Limits, scan};

    fn value(bencode: &str) -> Value<'_> {
        scan(bencode.as_bytes(), &Limits::for_len(1 << 20)).unwrap().root
    }

    fn string(text: &str) -> String {
        format!("{}:{text}", text.len())
    }

    #[test]
    fn urls_we_can_announce_to() {
        for url in ["http://t/a", "HTTPS://t.example:443/a?k=v", "udp://[::1]:6969", "http://u:p@t/x"] {
            assert!(is_tracker_url(url), "{url}");
        }
        let long = format!("http://t/{}", "a".repeat(MAX_URL_LEN));
        for url in [
            "",
            "t/a",
            "wss://t/a",
            "http:/t",
            "http://",
            "http:///a",
            "http://:80/a",
            "http://t/a b",
            "http://t\r\n/",
            "file:///etc",
            &long,
        ] {
            assert!(!is_tracker_url(url), "{url}");
        }
    }

    #[test]
    fn tiers_keep_their_order_and_drop_the_unusable() {
        let list = format!(
            "ll{}{}el{}el{}ei5e{}e",
            string("http://a/1"),
            string("wss://w/2"),
            string("dht://x"),
            string("http://a/1"),
            string(" udp://b:3 ")
        );
        let announce = string("http://c/");
        assert_eq!(tiers(Some(value(&announce)), Some(value(&list))), [["http://a/1"], ["udp://b:3"]]);
    }

    #[test]
    fn announce_counts_when_the_list_has_nothing() {
        let announce = string("http://c/");
        for list in ["le", "llee", "ll5:wss:/ee", "i1e", "0:"] {
            assert_eq!(tiers(Some(value(&announce)), Some(value(list))), [["http://c/"]], "{list}");
        }
        assert!(tiers(Some(value("i5e")), None).is_empty());
        assert!(tiers(None, None).is_empty());
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let urls: String = (0..1000).map(|i| string(&format!("http://h/{i}"))).collect();
        assert_eq!(tiers(None, Some(value(&format!("ll{urls}ee")))).concat().len(), MAX_ADDRESSES);
        assert_eq!(web_seeds(Some(value(&format!("l{urls}e")))).len(), MAX_ADDRESSES);
        let pairs = "l1:hi1ee".repeat(1000);
        assert_eq!(nodes(Some(value(&format!("l{pairs}e")))).len(), MAX_ADDRESSES);
    }

    #[test]
    fn web_seeds_and_nodes() {
        assert_eq!(web_seeds(Some(value(&string("http://h/")))), ["http://h/"]);
        assert_eq!(web_seeds(Some(value("0:"))), [""; 0]);
        let list = "ll9:127.0.0.1i6881eel1:hi0eel1:hi70000eel1:hel0:i1eei3el1:hi2eee";
        assert_eq!(nodes(Some(value(list))), [("127.0.0.1".to_owned(), 6881), ("h".to_owned(), 2)]);
    }
}
