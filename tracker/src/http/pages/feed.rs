//! The feed: `/torrents.rss?q=WORDS&sort=ORDER&limit=N`, RSS 2.0 as readers that download torrents take it.
//!
//! What they look at, beside the elements that every feed has: the `enclosure` of type `application/x-bittorrent` for the
//! torrent file (its `length` is the file's own, as RSS has it); elements in the ezrss namespace for the payload's size,
//! the info-hash, a magnet link, seeders, and all peers; and a `guid` that never changes. The description is HTML to
//! readers, so a publisher's text is escaped twice. There is no `lastBuildDate`: one reader goes by it and would miss what
//! is published in the same second. An unchanged feed is answered in a few bytes to who shows its ETag.

use askama::Template;
use torrent_common::ids::InfoHash;

use super::show::{self, Moment};
use super::{Site, Visit, list, magnet_of};
use crate::catalogue::clip;
use crate::http::answer::Answer;
use crate::http::entries::{self, Entry};
use crate::http::torrents;

/// What an item shows of a description, in bytes. Escaped twice, one byte can become nine.
const MAX_TEXT_LEN: usize = 500;

#[derive(Template)]
#[template(path = "feed.xml")]
struct Feed {
    title: String,
    description: String,
    version: &'static str,
    /// `http://host:port`.
    base: String,
    /// The addresses of the list that shows the same, and of the feed, below it.
    page: String,
    itself: String,
    items: Vec<Item>,
}

struct Item {
    info_hash: InfoHash,
    name: String,
    published: String,
    torrent_len: u64,
    /// HTML.
    text: String,
    size: u64,
    magnet: String,
    seeders: u32,
    peers: u32,
}

/// What readers show of an item.
#[derive(Template)]
#[template(path = "item.html")]
struct Text<'a> {
    size: String,
    files: String,
    seeders: u32,
    leechers: u32,
    lines: Vec<&'a str>,
}

/// GET /torrents.rss. Links in a feed are absolute, so it takes a Host header to make one.
pub(super) fn feed(visit: Visit<'_>) -> Answer {
    let Some(site) = visit.site else {
        return Answer::error(400, "a feed needs a valid Host header");
    };
    let search = match entries::search_of(visit.query) {
        Ok(search) => search,
        Err(error) => return Answer::error(400, &error),
    };
    let found = match entries::find(visit.shared, &search) {
        Ok(found) => found,
        Err(error) => return torrents::failed("nothing can be read at the moment", &error),
    };
    let words = show::visible(&search.text);
    let feed = Feed {
        title: if words.is_empty() { "Torrents".to_owned() } else { format!("Torrents: {words}") },
        description: format!("Torrents published at {}", site.base()),
        version: env!("CARGO_PKG_VERSION"),
        base: site.base(),
        page: list::link("/", &search.text, search.sort, 1),
        itself: list::link("/torrents.rss", &search.text, search.sort, 1),
        items: found.entries.into_iter().map(|entry| Item::new(entry, site)).collect(),
    };
    match feed.render() {
        Ok(feed) => Answer::feed(feed),
        Err(error) => {
            log::error!("a feed was not made: {error}");
            Answer::error(500, "the feed could not be made")
        }
    }
}

impl Item {
    fn new(entry: Entry, site: &Site) -> Self {
        let description = show::visible(clip(&entry.description, MAX_TEXT_LEN));
        let text = Text {
            size: show::size(entry.size),
            files: show::count(entry.files, "file"),
            seeders: entry.seeders,
            leechers: entry.leechers,
            lines: description.lines().collect(),
        };
        Self {
            info_hash: entry.info_hash,
            published: Moment(entry.created).mail(),
            torrent_len: entry.torrent_size,
            text: text.render().unwrap_or_default(),
            size: entry.size,
            magnet: magnet_of(entry.info_hash, &entry.name, Some(site)),
            seeders: entry.seeders,
            peers: entry.seeders.saturating_add(entry.leechers),
            name: show::visible(&entry.name),
        }
    }
}
