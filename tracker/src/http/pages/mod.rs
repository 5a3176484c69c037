//! What people see of the tracker in a browser: pages without scripts, made by templates that escape every text
//! (`tracker/templates`), and the feed for readers. They are made in the catalogue's lane, never by those who answer
//! announces.
//!
//! `/` is the list for browsers and JSON for others; `/torrent/{info-hash}` is the page of a torrent, while
//! `/torrents/{info-hash}` stays the file, whoever asks; `/upload` has a form. What a page may load and where its forms
//! may go is said in the answer's head (`Kind::Page` in `http/answer.rs`): even a text that escaped nobody's notice could
//! run nothing and call nowhere.

mod entry;
mod feed;
mod list;
mod problem;
mod publish;
mod show;
mod site;

use askama::Template;
use tiny_http::Request;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::magnet;

use super::answer::{Answer, Kind};
use super::routes::Route;
use super::torrents;
use crate::catalogue::CatalogueError;
use crate::clock::Clock;
use crate::shared::Shared;

pub(super) use problem::problem;
pub(super) use publish::refused;
pub(super) use site::Site;

/// The style of every page.
const STYLE: &str = include_str!("../../../templates/style.css");
/// The icon, for tabs and the head of every page.
const ICON: &str = include_str!("../../../templates/icon.svg");
/// In the addresses of both, which may be kept for ever: another version of them has another address.
const ASSETS: u64 = fingerprint(fingerprint(0xcbf2_9ce4_8422_2325, STYLE.as_bytes()), ICON.as_bytes());

/// Who looks at a page, and at what.
#[derive(Clone, Copy)]
pub(super) struct Visit<'a> {
    pub(super) shared: &'a Shared,
    /// Not known when the Host header is missing or makes no sense.
    pub(super) site: Option<&'a Site>,
    /// What follows the `?`.
    pub(super) query: &'a str,
}

/// The parts of the site that the head of a page leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    List,
    Upload,
    Elsewhere,
}

/// What is around the content of every page.
struct Frame {
    place: Place,
    assets: String,
    version: &'static str,
    /// What the tracker has to do, in words.
    busy: String,
    /// Where to announce to, as the visitor reaches this tracker.
    trackers: Vec<String>,
    /// What does not work at the moment.
    degraded: Vec<String>,
}

impl Frame {
    fn new(visit: Visit<'_>, place: Place) -> Self {
        let totals = visit.shared.desk.swarms().totals();
        let busy = [
            show::count(visit.shared.catalogue.count() as u64, "torrent"),
            show::count(totals.swarms as u64, "swarm"),
            show::count(totals.peers as u64, "peer"),
        ];
        Self {
            place,
            assets: format!("{ASSETS:016x}"),
            version: env!("CARGO_PKG_VERSION"),
            busy: busy.join(" · "),
            trackers: visit.site.map(Site::trackers).unwrap_or_default(),
            degraded: visit.shared.health.degraded(),
        }
    }
}

/// The answer to a request of which [`Route`] says that it is for a page or the feed.
pub(super) fn answer(request: &Request, found: Route, visit: Visit<'_>) -> Answer {
    match found {
        Route::List => list::list(visit),
        Route::Entry(info_hash) => entry::entry(visit, info_hash),
        Route::Feed => feed::feed(visit).unless_known(request),
        _ => publish::form(visit),
    }
}

/// The style of the pages.
pub(super) fn style() -> Answer {
    Answer::asset(Kind::Style, STYLE)
}

/// The icon.
pub(super) fn icon() -> Answer {
    Answer::asset(Kind::Icon, ICON)
}

/// Makes a page. A template fails only where writing to memory does.
fn page(status: u16, template: &impl Template) -> Answer {
    match template.render() {
        Ok(page) => Answer::page(status, page),
        Err(error) => {
            log::error!("a page was not made: {error}");
            Answer::error(500, "the page could not be made")
        }
    }
}

/// The page of the catalogue's failure.
fn failed(visit: Visit<'_>, error: &CatalogueError) -> Answer {
    let (status, trouble) = torrents::trouble(error);
    let reason = format!("Nothing can be read at the moment: {trouble}. Announces go on.");
    problem(visit, status, &reason)
}

/// A link for clients that take torrents from peers: with the announce URLs that the visitor can reach.
fn magnet_of(info_hash: InfoHash, name: &str, site: Option<&Site>) -> String {
    let trackers = site.map(Site::trackers).unwrap_or_default();
    magnet::magnet(info_hash, name, trackers.iter().map(String::as_str))
}

fn now_s() -> i64 {
    i64::try_from(Clock::wall_s()).unwrap_or(i64::MAX)
}

/// FNV-1a: tells versions apart, nothing else.
const fn fingerprint(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0100_0000_01b3);
        bytes = rest;
    }
    hash
}
