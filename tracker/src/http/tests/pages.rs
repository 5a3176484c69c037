//! What browsers and feed readers get.

use std::time::Instant;

use torrent_common::secret::Secret;

use super::*;
use crate::health::Part;

/// A name that means something in every language that it may end up in.
const NASTY: &str = "<script>alert(1)</script> & \"quoted\" 'single' ]]> {{ name }} %0d%0a \u{5e9}\u{5dc}";

impl Fixture {
    /// A whole answer: head and body.
    fn visit(&self, target: &str, more: &str) -> String {
        self.raw(format!("GET {target} HTTP/1.0\r\nHost: t.example:8000\r\n{more}\r\n").as_bytes())
    }

    fn page(&self, target: &str) -> String {
        self.visit(target, "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n")
    }

    /// Publishes through the form. Returns the whole answer.
    fn fill(&self, fields: &[(&str, &[u8])], more: &str) -> String {
        let mut body = Vec::new();
        for (name, value) in fields {
            let file = if *name == "torrent" { "; filename=\"a \\\"b\\\".torrent\"" } else { "" };
            write!(body, "--XX\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").unwrap();
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--XX--\r\n");
        let head = format!(
            "POST /upload HTTP/1.0\r\nHost: t.example:8000\r\nAccept: text/html\r\n{more}\
             Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), &body].concat())
    }
}

fn status(reply: &str) -> &str {
    reply.get(9..12).unwrap_or_default()
}

#[test]
fn browsers_get_pages_and_others_json() {
    let fixture = Fixture::new();
    for accept in ["text/html", "application/json;q=0.1, TEXT/HTML;q=0.9", "text/html; q=1.0, */*"] {
        let reply = fixture.visit("/", &format!("Accept: {accept}\r\n"));
        assert!(reply.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{accept}: {reply}");
        assert!(reply.contains("\r\nVary: Accept\r\n"), "{reply}");
    }
    for accept in ["", "Accept: */*\r\n", "Accept: application/json\r\n", "Accept: text/html;q=0\r\n"] {
        let reply = fixture.visit("/", accept);
        assert!(reply.contains("\r\nContent-Type: application/json\r\n"), "{accept}: {reply}");
        assert!(reply.contains("\r\nVary: Accept\r\n"), "{reply}");
    }
    let reply = fixture.page("/nothing");
    assert!(status(&reply) == "404" && reply.contains("<p>there is nothing at this path</p>"), "{reply}");
    let reply = fixture.visit("/style.css", "Accept: text/css,*/*;q=0.1\r\n");
    assert!(reply.contains("\r\nContent-Type: text/css; charset=utf-8\r\n"), "{reply}");
    assert!(reply.contains("immutable"), "{reply}");
    assert!(fixture.visit("/icon.svg", "").contains("\r\nContent-Type: image/svg+xml\r\n"));
    let (hash, address) = (InfoHash::new([7; 20]), "/torrents/");
    let reply = fixture.page(&format!("{address}{hash}.torrent"));
    assert!(status(&reply) == "404" && reply.contains("text/html"), "a browser is told in words: {reply}");
}

#[test]
fn every_page_says_what_it_may_load() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes)]);
    let entry = format!("/torrent/{hash}");
    let style = fixture.page("/");
    let style = style.split("href=\"/style.css").nth(1).unwrap().split('"').next().unwrap().to_owned();
    for target in ["/", "/?q=x", "/?page=x", "/upload", &entry, "/torrent/00", "/?page=9"] {
        let reply = fixture.page(target);
        let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
        assert!(reply.contains(&format!("\r\nContent-Security-Policy: {policy}\r\n")), "{target}: {reply}");
        assert!(reply.contains("\r\nX-Content-Type-Options: nosniff\r\n"), "{target}");
        // no-referrer would hide the origin of our own form.
        assert!(reply.contains("\r\nReferrer-Policy: same-origin\r\n"), "{target}");
        assert!(reply.contains(&format!("href=\"/style.css{style}\"")), "{target}");
        for forbidden in ["<script", "javascript:", " style=", "<style", " onclick", "http-equiv"] {
            assert!(!reply.contains(forbidden), "{target} has {forbidden}");
        }
    }
}

#[test]
fn strangers_texts_are_escaped_on_every_page() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("own <i>name", false);
    let description = format!("{NASTY}\n</p><form action=//evil>");
    let reply = fixture.fill(
        &[("torrent", &bytes), ("name", NASTY.as_bytes()), ("description", description.as_bytes())],
        "",
    );
    assert_eq!(status(&reply), "303", "{reply}");
    assert!(reply.contains(&format!("\r\nLocation: /torrent/{hash}?published\r\n")), "{reply}");
    let query = "/?q=%3Cscript%3Ealert(1)%22%27%3E%0d%0aX:%20y";
    let entry = format!("/torrent/{hash}");
    let pages = ["/", "/?q=script", query, &entry, "/torrents.rss", "/torrents.rss?q=%22%3Cscript%3E"];
    let replies: Vec<_> = pages.iter().map(|target| fixture.page(target)).collect();
    for (reply, target) in replies.iter().zip(pages) {
        assert_eq!(status(reply), "200", "{target}: {reply}");
        for forbidden in ["<script", "<i>", "<form action=//", "alert(1)\"", "]]> ", "\nX: y\r\n"] {
            assert!(!reply.contains(forbidden), "{target} has {forbidden}: {reply}");
        }
    }
    let shown = "&#60;script&#62;alert(1)&#60;/script&#62; &#38; &#34;quoted&#34; &#39;single&#39; ]]&#62; {{ name }}";
    assert!(replies[0].contains(shown) && replies[3].contains(shown), "{}", replies[3]);
    assert!(replies[4].contains(&format!("<title>{shown}")), "{}", replies[4]);
    // HTML inside of XML.
    assert!(replies[4].contains("&#60;p&#62;&#38;#60;script&#38;#62;"), "{}", replies[4]);
    assert!(replies[2].contains("No torrent has all of these words"), "{}", replies[2]);
}

#[test]
fn a_list_is_searched_sorted_and_paged() {
    let fixture = Fixture::new();
    let reply = fixture.page("/");
    assert!(reply.contains("Nothing is published yet") && reply.contains("torrent-seed --input"), "{reply}");
    for n in 0..120 {
        let name = format!("{} {n}", if n % 2 == 0 { "even" } else { "odd & strange" });
        fixture.upload(&[("torrent", &torrent(&name, false).0)]);
    }
    let shown = |target: &str| fixture.page(target).matches("<th scope=\"row\"").count();
    assert_eq!([shown("/"), shown("/?page=3"), shown("/?page=4"), shown("/?q=odd&page=2")], [50, 20, 0, 10]);
    let reply = fixture.page("/?q=odd+%26+strange&sort=name&page=1");
    assert!(reply.contains("<p>60 torrents, page 1 of 2 · "), "{reply}");
    assert!(
        reply.contains("rel=\"next\" href=\"/?q=odd%20%26%20strange&#38;sort=name&#38;page=2\""),
        "{reply}"
    );
    assert!(reply.contains("value=\"odd &#38; strange\""), "{reply}");
    assert!(
        reply.contains("<a href=\"/?q=odd%20%26%20strange&#38;sort=name\" aria-current=\"true\">name</a>"),
        "{reply}"
    );
    assert!(reply.contains("href=\"/torrents.rss?q=odd%20%26%20strange&#38;sort=name\""), "{reply}");
    assert!(fixture.page("/?page=2").contains("rel=\"prev\" href=\"/\""));
    assert!(fixture.page("/?page=9").contains("There are only 3 pages"));
    for bad in ["/?page=0", "/?page=x", "/?sort=best", "/?q=%ff"] {
        assert_eq!(status(&fixture.page(bad)), "400", "{bad}");
    }
    assert_eq!(status(&fixture.page("/?page=18446744073709551615")), "200");
}

#[test]
fn a_torrent_has_a_page_with_links_that_the_visitor_can_use() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("a&b", false);
    fixture.upload(&[("torrent", &bytes), ("description", b"one\r\ntwo")]);
    let target = format!("/torrent/{hash}");
    let reply = fixture.page(&target);
    let port = fixture.address().port();
    let magnet = format!(
        "magnet:?xt=urn:btih:{hash}&#38;dn=a%26b&#38;tr=http%3A%2F%2Ft.example%3A8000%2Fannounce\
         &#38;tr=udp%3A%2F%2Ft.example%3A{port}%2Fannounce\""
    );
    assert!(reply.contains(&magnet), "{reply}");
    for part in ["No seeders", "97.6 KiB", "2 of 64 KiB", "one\ntwo", "<td><bdi>a&#38;b</bdi></td>"] {
        assert!(reply.contains(part), "{part} is not in {reply}");
    }
    assert!(reply.contains(&format!("href=\"/torrents/{hash}.torrent\"")));
    // A stranger's Host is no address.
    let reply = fixture
        .raw(format!("GET {target} HTTP/1.0\r\nHost: a\"><script>\r\nAccept: text/html\r\n\r\n").as_bytes());
    assert!(reply.contains("dn=a%26b\"") && !reply.contains("<script"), "{reply}");
    assert_eq!(status(&fixture.page(&format!("/torrent/{}", InfoHash::new([9; 20])))), "404");

    let encoded: String = hash.as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let peer = "peer_id=-XX0001-abcdefghijkl&port=6881&left=0";
    fixture.announce(&format!("info_hash={encoded}&{peer}"));
    assert!(fixture.page(&target).contains("1 seeder</strong>"));
    fs::remove_file(fixture.torrents().join(format!("{hash}.torrent"))).unwrap();
    let reply = fixture.page(&target);
    assert!(status(&reply) == "200" && reply.contains("has lost the .torrent file"), "{reply}");
}

#[test]
fn what_does_not_work_is_said_on_every_page() {
    let fixture = Fixture::new();
    assert!(!fixture.page("/upload").contains("Not everything works"));
    let health = &fixture.running.as_ref().unwrap().shared.health;
    health.trouble(Part::Uploads, "the disk is <full>");
    for target in ["/", "/upload", "/nothing"] {
        assert!(fixture.page(target).contains("<li>uploads: the disk is &#60;full&#62;</li>"), "{target}");
    }
}

/// Answers that fit into no buffer hold up the threads that send them; pages have others.
#[test]
fn who_does_not_read_long_answers_does_not_hold_up_pages() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("a", false);
    let mut long = b"d7:comment".to_vec();
    write::bytes(&mut long, &vec![b'c'; 8_000_000]);
    long.extend_from_slice(&bytes[bytes.windows(6).position(|w| w == b"4:info").unwrap()..]);
    assert_eq!(fixture.upload(&[("torrent", &long)]).status, 201);
    let deaf: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = fixture.connect();
            write!(stream, "GET /torrents/{hash} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            // The answer has begun.
            stream.read_exact(&mut [0]).unwrap();
            stream
        })
        .collect();
    for target in ["/", "/upload", &format!("/torrent/{hash}")] {
        let start = Instant::now();
        assert_eq!(status(&fixture.page(target)), "200", "{target}");
        // They are cut off after 20 s.
        assert!(start.elapsed() < Duration::from_secs(10), "{target}: {:?}", start.elapsed());
    }
    drop(deaf);
}

/// A torrent of a folder with so many files of one byte, each with a long name.
fn folder(names: impl Iterator<Item = String>) -> (Vec<u8>, InfoHash) {
    let mut info = Vec::new();
    write::dictionary(&mut info, |info| {
        let files: String =
            names.map(|name| format!("d6:lengthi1e4:pathl3:sub{}:{name}ee", name.len())).collect();
        info.key(b"files").extend_from_slice(format!("l{files}e").as_bytes());
        info.bytes(b"name", b"dir");
        info.integer(b"piece length", 16_384);
        info.bytes(b"pieces", &[7; 20]);
    });
    ([b"d4:info", info.as_slice(), b"e"].concat(), InfoHash::of(&info))
}

/// A page is made long by whoever publishes: it is sent by those who send long answers.
#[test]
fn who_does_not_read_long_pages_does_not_hold_up_others() {
    let fixture = Fixture::new();
    let (bytes, hash) = folder((0..1000).map(|n| format!("{n:04}{}", "&".repeat(200))));
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 201);
    let target = format!("/torrent/{hash}");
    let reply = fixture.page(&target);
    assert!((100_000..500_000).contains(&reply.len()), "{}", reply.len());
    let shown = reply.matches("<span class=\"folder\">dir/sub/</span>").count();
    assert!((200..1000).contains(&shown) && reply.contains(&format!("/files?offset={shown}\"")), "{shown}");
    let deaf: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = fixture.connect();
            write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // Two of the answers have begun, so both threads that send them wait.
    let mut begun = 0;
    while begun < 2 {
        begun = deaf.iter().filter(|stream| stream.peek(&mut [0]).is_ok_and(|len| len > 0)).take(2).count();
    }
    for target in ["/", "/upload", "/metrics"] {
        let start = Instant::now();
        assert_eq!(status(&fixture.page(target)), "200", "{target}");
        assert!(start.elapsed() < Duration::from_secs(10), "{target}: {:?}", start.elapsed());
    }
}

#[test]
fn long_lists_of_files_are_cut() {
    let fixture = Fixture::new();
    let (bytes, hash) = folder((0..1500).map(|n| format!("{n:04}")));
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 201);
    let reply = fixture.page(&format!("/torrent/{hash}"));
    assert!(reply.contains("1,500 files, 1.4 KiB. The first 1,000 are shown; "), "{reply}");
    assert_eq!(reply.matches("<span class=\"folder\">dir/sub/</span>").count(), 1000);
    let rest = reply
        .split("href=\"")
        .find(|part| part.starts_with("/torrents/") && part.contains("/files"))
        .unwrap();
    assert_eq!(fixture.json(rest.split('"').next().unwrap())["files"][0]["path"], "dir/sub/1000");
    assert!(reply.contains("</span>0999</bdi>") && !reply.contains("</span>1000</bdi>"));
}

#[test]
fn a_form_is_taken_or_shown_again() {
    let fixture = Fixture::with(|config| config.upload_token = Secret::new("0123456789abcdef"));
    let (bytes, hash) = torrent("a", false);
    let form = fixture.page("/upload");
    assert!(form.contains("enctype=\"multipart/form-data\"") && form.contains("name=\"token\""), "{form}");
    let token = ("token", &b"0123456789abcdef"[..]);
    let reply = fixture.fill(&[("torrent", &bytes), ("name", b"<b>"), ("token", b"wrong")], "");
    assert_eq!(status(&reply), "403", "{reply}");
    assert!(
        reply.contains("role=\"alert\"") && reply.contains("not the tracker&#39;s UPLOAD_TOKEN"),
        "{reply}"
    );
    assert!(reply.contains("value=\"&#60;b&#62;\"") && !reply.contains("wrong"), "{reply}");
    // What a browser sends when no file was chosen.
    let reply = fixture.fill(&[("torrent", b""), ("name", b""), token], "");
    assert!(status(&reply) == "400" && reply.contains("Nothing was published"), "{reply}");
    for foreign in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: null\r\n"] {
        let reply = fixture.fill(&[("torrent", &bytes), token], foreign);
        assert!(status(&reply) == "403" && reply.contains("of other sites"), "{reply}");
    }
    assert_eq!(fixture.json("/torrents")["total"], 0);
    let own = "Origin: http://t.example:8000\r\nSec-Fetch-Site: same-origin\r\n";
    let reply = fixture.fill(&[("torrent", &bytes), ("name", b""), ("description", b""), token], own);
    assert!(reply.contains(&format!("\r\nLocation: /torrent/{hash}?published\r\n")), "{reply}");
    let reply = fixture.fill(&[("torrent", &bytes), token], own);
    assert!(reply.contains(&format!("\r\nLocation: /torrent/{hash}?known\r\n")), "{reply}");
    assert!(fixture.page(&format!("/torrent/{hash}?published")).contains("role=\"status\""));
}

#[test]
fn a_feed_has_what_readers_look_for() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("a&b", false);
    fixture.upload(&[("torrent", &bytes), ("description", "1 < 2\n\u{1}no".replace('\u{1}', "").as_bytes())]);
    fixture.upload(&[("torrent", &torrent("other", false).0)]);
    let reply = fixture.visit("/torrents.rss?q=a%26b", "");
    assert!(reply.contains("\r\nContent-Type: application/rss+xml; charset=utf-8\r\n"), "{reply}");
    let base = "http://t.example:8000";
    for part in [
        "<title>Torrents: a&#38;b</title>".to_owned(),
        format!("<link>{base}/torrent/{hash}</link>"),
        format!("<guid isPermaLink=\"false\">{hash}</guid>"),
        format!(
            "<enclosure url=\"{base}/torrents/{hash}.torrent\" length=\"{}\" type=\"application/x-bittorrent\"/>",
            bytes.len()
        ),
        "<torrent:contentLength>100000</torrent:contentLength>".to_owned(),
        format!("<torrent:infoHash>{hash}</torrent:infoHash>"),
        format!("<torrent:magnetURI>magnet:?xt=urn:btih:{hash}&#38;dn=a%26b&#38;tr=http"),
        "<torrent:seeds>0</torrent:seeds>".to_owned(),
        "&#60;p&#62;1 &#38;#60; 2&#60;/p&#62;".to_owned(),
        " +0000</pubDate>".to_owned(),
    ] {
        assert!(reply.contains(&part), "{part} is not in {reply}");
    }
    assert_eq!(reply.matches("<item>").count(), 1);
    assert_eq!(fixture.visit("/torrents.rss?limit=1", "").matches("<item>").count(), 1);

    let len = reply.split_once("\r\n\r\n").unwrap().1.len();
    let etag = reply.split("\r\nETag: ").nth(1).unwrap().split("\r\n").next().unwrap();
    for known in [etag.to_owned(), format!("\"x\", W/{etag}")] {
        let reply = fixture.visit("/torrents.rss?q=a%26b", &format!("If-None-Match: {known}\r\n"));
        assert!(status(&reply) == "304" && reply.ends_with("\r\n\r\n"), "{reply}");
        assert!(
            reply.contains(&format!("\r\nContent-Length: {len}\r\n")),
            "as with 200 (RFC 9110, 8.6): {reply}"
        );
    }
    let reply = fixture.visit("/torrents.rss", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(status(&reply), "200");
    assert_eq!(status(&fixture.visit("/torrents.rss?limit=x", "")), "400");
    assert_eq!(status(&fixture.raw(b"GET /torrents.rss HTTP/1.0\r\n\r\n")), "400");
}
