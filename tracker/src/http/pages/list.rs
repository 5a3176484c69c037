//! The list of torrents, with a search: `/?q=WORDS&sort=ORDER&page=N`.

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use torrent_common::ids::InfoHash;

use super::show::{self, Moment};
use super::{Frame, Place, Site, Visit, failed, magnet_of, now_s, page, problem};
use crate::catalogue::{Search, Sort};
use crate::http::answer::Answer;
use crate::http::entries::{self, Entry};

/// Torrents on a page.
const PAGE: u32 = 50;
/// The orders that a page offers; who asks for another gets it.
const ORDERS: [Sort; 4] = [Sort::Newest, Sort::Seeders, Sort::Size, Sort::Name];
/// The same of a search.
const ORDERS_OF_FOUND: [Sort; 5] = [Sort::Newest, Sort::Relevance, Sort::Seeders, Sort::Size, Sort::Name];

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    frame: Frame,
    /// What is looked for; empty: everything.
    search: String,
    sort: Sort,
    /// How many were found, in words.
    found: String,
    orders: Vec<Order>,
    rows: Vec<Row>,
    /// The number of the page, from 1.
    number: u64,
    pages: u64,
    earlier: Option<String>,
    later: Option<String>,
    feed: String,
}

/// An order to choose.
struct Order {
    name: &'static str,
    link: String,
    is_chosen: bool,
}

/// A torrent in the list, as it is shown.
struct Row {
    info_hash: InfoHash,
    name: String,
    size: String,
    files: String,
    seeders: u32,
    leechers: u32,
    completed: u64,
    age: String,
    exact: String,
    machine: String,
    magnet: String,
}

/// GET / of a browser.
pub(super) fn list(visit: Visit<'_>) -> Answer {
    let search = entries::search_of(visit.query);
    let number = page_number(visit.query);
    let (search, number) = match (search, number) {
        (Ok(search), Some(number)) => (search, number),
        (Err(error), _) => return problem(visit, 400, &error),
        (_, None) => return problem(visit, 400, "page is not a number"),
    };
    let text = search.text.trim().to_owned();
    let search = Search { text, offset: (number - 1).saturating_mul(PAGE.into()), limit: PAGE, ..search };
    let found = match entries::find(visit.shared, &search) {
        Ok(found) => found,
        Err(error) => return failed(visit, &error),
    };
    let pages = found.total.div_ceil(PAGE.into()).max(1);
    let link = |sort, number| link("/", &search.text, sort, number);
    let offered = if search.text.is_empty() { &ORDERS[..] } else { &ORDERS_OF_FOUND };
    let order = |sort| Order { name: name_of(sort), link: link(sort, 1), is_chosen: sort == search.sort };
    let orders = offered.iter().copied().map(order);
    let now_s = now_s();
    let template = List {
        frame: Frame::new(visit, Place::List),
        found: show::count(found.total, "torrent"),
        orders: orders.collect(),
        rows: found.entries.into_iter().map(|entry| Row::new(entry, visit.site, now_s)).collect(),
        number,
        pages,
        earlier: (number > 1).then(|| link(search.sort, pages.min(number - 1))),
        later: (number < pages).then(|| link(search.sort, number + 1)),
        feed: self::link("/torrents.rss", &search.text, search.sort, 1),
        sort: search.sort,
        search: search.text,
    };
    page(200, &template)
}

impl Row {
    fn new(entry: Entry, site: Option<&Site>, now_s: i64) -> Self {
        let created = Moment(entry.created);
        Self {
            info_hash: entry.info_hash,
            size: show::size(entry.size),
            files: show::number(entry.files),
            seeders: entry.seeders,
            leechers: entry.leechers,
            completed: entry.completed,
            age: created.ago(now_s),
            exact: created.exact(),
            machine: created.machine(),
            magnet: magnet_of(entry.info_hash, &entry.name, site),
            name: show::visible(&entry.name),
        }
    }
}

/// The order as people call it.
const fn name_of(sort: Sort) -> &'static str {
    match sort {
        Sort::Newest => "newest",
        Sort::Oldest => "oldest",
        Sort::Seeders => "most seeders",
        Sort::Size => "largest",
        Sort::Name => "name",
        Sort::Relevance => "best match",
    }
}

/// An address of this site that shows a search; what is as usual is left out.
pub(super) fn link(path: &str, search: &str, sort: Sort, number: u64) -> String {
    let mut parts = Vec::new();
    if !search.is_empty() {
        parts.push(format!("q={}", utf8_percent_encode(search, NON_ALPHANUMERIC)));
    }
    if sort != Sort::default() {
        parts.push(format!("sort={sort}"));
    }
    if number > 1 {
        parts.push(format!("page={number}"));
    }
    if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
}

/// The number of the page that a query asks for: 1 if it says nothing.
fn page_number(query: &str) -> Option<u64> {
    match query.split('&').find_map(|pair| pair.strip_prefix("page=")) {
        None | Some("") => Some(1),
        Some(number) => number.parse().ok().filter(|number| *number > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_leave_out_what_is_usual() {
        assert_eq!(link("/", "", Sort::Newest, 1), "/");
        assert_eq!(link("/", "a&b \"ü\"", Sort::Seeders, 3), "/?q=a%26b%20%22%C3%BC%22&sort=seeders&page=3");
    }

    #[test]
    fn page_numbers() {
        for (query, expected) in [
            ("", Some(1)),
            ("page=", Some(1)),
            ("q=a&page=7", Some(7)),
            ("page=0", None),
            ("page=-1", None),
            ("page=x", None),
            ("page=18446744073709551616", None),
        ] {
            assert_eq!(page_number(query), expected, "{query}");
        }
    }
}
