//! The trackers of one torrent, in the order of BEP 12: tiers in turn, each shuffled once, and who answers moves to the
//! front of its tier.

use std::collections::VecDeque;
use std::sync::Arc;

use torrent_common::config::is_tracker_url;

/// Trackers of one torrent at most; whoever makes a torrent must not make us knock at a thousand doors.
pub const MAX_TRACKERS: usize = 50;
/// Bytes of a tracker's URL at most.
pub const MAX_URL_LEN: usize = 4096;

/// A tracker, as one torrent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracker {
    /// Its announce URL.
    pub url: Arc<str>,
    /// The host and port of the URL.
    pub host: Arc<str>,
    /// What it named itself, to be sent back.
    pub id: Option<Vec<u8>>,
    /// It was told `started` and has answered, and was not told `stopped` since.
    pub knows_us: bool,
}

/// Where a round through the tiers stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    tiers: Vec<Vec<Tracker>>,
    /// Tier and place in it of the tracker to ask next.
    next: (usize, usize),
}

/// Why a tracker is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Neither http, https, nor udp.
    #[error("only http, https and udp trackers are supported")]
    Scheme,
    /// No host, for udp no port, or too long.
    #[error("not a valid tracker address")]
    Invalid,
}

impl Tiers {
    /// Takes the usable trackers, each once, and shuffles every tier. Also says which are not usable, and why.
    pub fn new(tiers: &[Vec<String>], random: &mut fastrand::Rng) -> (Self, Vec<(String, Unusable)>) {
        Self::sharing(tiers, random, &mut VecDeque::new())
    }

    /// The same with texts that are in `names` shared, and those that are not put in front of it.
    pub fn sharing(
        tiers: &[Vec<String>],
        random: &mut fastrand::Rng,
        names: &mut VecDeque<Arc<str>>,
    ) -> (Self, Vec<(String, Unusable)>) {
        let mut seen: Vec<Arc<str>> = Vec::new();
        let mut unusable = Vec::new();
        let mut kept = Vec::new();
        for tier in tiers {
            let mut trackers = Vec::with_capacity(tier.len().min(MAX_TRACKERS));
            for url in tier {
                if seen.len() + unusable.len() >= MAX_TRACKERS {
                    break;
                }
                if seen.iter().any(|other| **other == **url) {
                    continue;
                }
                match host_of(url) {
                    Ok(host) => {
                        let (url, host) = (shared(url, names), shared(&host, names));
                        seen.push(Arc::clone(&url));
                        trackers.push(Tracker { url, host, id: None, knows_us: false });
                    }
                    Err(reason) => unusable.push((url.chars().take(MAX_URL_LEN).collect(), reason)),
                }
            }
            random.shuffle(&mut trackers);
            if !trackers.is_empty() {
                kept.push(trackers);
            }
        }
        kept.shrink_to_fit();
        (Self { tiers: kept, next: (0, 0) }, unusable)
    }

    /// The tracker to ask next in this round; `None` if there are none at all.
    pub fn next(&self) -> Option<&Tracker> {
        self.tiers.get(self.next.0)?.get(self.next.1)
    }

    /// A tracker that must be told `stopped`.
    pub fn knowing(&self) -> Option<&Tracker> {
        self.tiers.iter().flatten().find(|tracker| tracker.knows_us)
    }

    /// The tracker of this URL.
    pub fn find(&mut self, url: &str) -> Option<&mut Tracker> {
        self.tiers.iter_mut().flatten().find(|tracker| *tracker.url == *url)
    }

    /// The tracker of this URL answered: it is asked first in its tier from now on, and a new round begins.
    pub fn answered(&mut self, url: &str) {
        for tier in &mut self.tiers {
            if let Some(place) = tier.iter().position(|tracker| *tracker.url == *url)
                && let Some(until) = tier.get_mut(..=place)
            {
                until.rotate_right(1);
            }
        }
        self.next = (0, 0);
    }

    /// The tracker asked did not answer: the next is to be asked. True when there is none: a new round begins.
    pub fn failed(&mut self) -> bool {
        let (tier, place) = self.next;
        let places = self.tiers.get(tier).map_or(0, Vec::len);
        self.next = if place + 1 < places { (tier, place + 1) } else { (tier + 1, 0) };
        let over = self.next.0 >= self.tiers.len();
        if over {
            self.next = (0, 0);
        }
        over
    }
}

fn shared(name: &str, names: &mut VecDeque<Arc<str>>) -> Arc<str> {
    if let Some(known) = names.iter().find(|known| ***known == *name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    names.push_front(Arc::clone(&new));
    new
}

/// The host and port of an announce URL, in lower case, for counting requests per host.
fn host_of(url: &str) -> Result<String, Unusable> {
    if url.len() > MAX_URL_LEN {
        return Err(Unusable::Invalid);
    }
    let (scheme, rest) = url.split_once("://").ok_or(Unusable::Invalid)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {}
        "udp" if !is_tracker_url(url) => return Err(Unusable::Invalid),
        "udp" => {}
        _ => return Err(Unusable::Scheme),
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() {
        return Err(Unusable::Invalid);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(tiers: &[&[&str]]) -> Tiers {
        let tiers: Vec<Vec<String>> =
            tiers.iter().map(|tier| tier.iter().map(|url| (*url).into()).collect()).collect();
        Tiers::new(&tiers, &mut fastrand::Rng::with_seed(1)).0
    }

    fn round(tiers: &mut Tiers) -> Vec<String> {
        let mut asked = Vec::new();
        loop {
            asked.push(tiers.next().unwrap().url.to_string());
            if tiers.failed() {
                return asked;
            }
        }
    }

    #[test]
    fn a_round_asks_every_tracker_tier_by_tier() {
        let mut tiers = tiers(&[
            &["http://a/", "http://b/", "http://c/"],
            &[],
            &["http://d/"],
            &["http://a/", "http://e/"],
        ]);
        let asked = round(&mut tiers);
        assert_eq!(asked.len(), 5, "{asked:?}");
        let mut first = asked[..3].to_vec();
        first.sort();
        assert_eq!(first, ["http://a/", "http://b/", "http://c/"]);
        assert_eq!(asked[3..], ["http://d/", "http://e/"]);
        assert_eq!(round(&mut tiers), asked, "the order is kept");
    }

    #[test]
    fn tiers_are_shuffled() {
        let urls: Vec<Vec<String>> = vec![(0..8).map(|n| format!("http://{n}/")).collect()];
        let orders: std::collections::HashSet<_> = (0..20)
            .map(|seed| round(&mut Tiers::new(&urls, &mut fastrand::Rng::with_seed(seed)).0))
            .collect();
        assert!(orders.len() > 10);
    }

    #[test]
    fn who_answers_moves_to_the_front_of_its_tier_only() {
        let mut tiers = tiers(&[&["http://a/", "http://b/"], &["http://c/", "http://d/", "http://e/"]]);
        let before = round(&mut tiers);
        while tiers.next().unwrap().url.as_ref() != before[4] {
            tiers.failed();
        }
        tiers.answered(&before[4]);
        let after = round(&mut tiers);
        assert_eq!(after, [&before[0], &before[1], &before[4], &before[2], &before[3]].map(Clone::clone));
    }

    #[test]
    fn what_is_not_usable_is_said() {
        let urls = ["udp://a/announce", "wss://b/", "http:///x", "nonsense", "", "HTTP://User@C:80/announce"];
        let urls = vec![urls.iter().map(|url| (*url).to_owned()).collect()];
        let (tiers, unusable) = Tiers::new(&urls, &mut fastrand::Rng::with_seed(1));
        let reasons: Vec<Unusable> = unusable.into_iter().map(|(_, reason)| reason).collect();
        use Unusable::{Invalid, Scheme};
        assert_eq!(reasons, [Invalid, Scheme, Invalid, Invalid, Invalid]);
        assert_eq!(tiers.next().unwrap().host.as_ref(), "c:80");
        let urls = vec![vec!["UDP://[2001:db8::1]:6969".to_owned()]];
        let (tiers, unusable) = Tiers::new(&urls, &mut fastrand::Rng::with_seed(1));
        assert_eq!((tiers.next().unwrap().host.as_ref(), unusable), ("[2001:db8::1]:6969", vec![]));
    }

    #[test]
    fn a_torrent_has_so_many_trackers_at_most() {
        let urls = vec![(0..500).map(|n| format!("http://{n}/")).collect()];
        assert_eq!(round(&mut Tiers::new(&urls, &mut fastrand::Rng::with_seed(1)).0).len(), MAX_TRACKERS);
        let long = vec![vec![format!("http://a/{}", "x".repeat(MAX_URL_LEN))]];
        assert!(Tiers::new(&long, &mut fastrand::Rng::with_seed(1)).0.next().is_none());
    }
}
