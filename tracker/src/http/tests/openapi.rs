//! The description of the API, against the running tracker: what is documented is answered, as it is documented, and
//! what is answered is documented.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Map;
use tiny_http::Method;
use torrent_common::config::MetricsFor;
use torrent_common::secret::Secret;

use super::*;
use crate::http::routes::{Route, route};

/// Answers that only a bug makes.
const NOT_MADE_HERE: &str = "500";

struct Api(Value);

impl Api {
    fn of(fixture: &Fixture) -> Self {
        Self(fixture.json("/openapi.json"))
    }

    /// Every documented answer: method, path and status.
    fn answers(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in
                item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters")
            {
                let statuses = operation["responses"].as_object().unwrap().keys();
                all.extend(statuses.map(|status| format!("{} {path} {status}", method.to_uppercase())));
            }
        }
        all
    }

    /// Panics unless the reply is as documented.
    fn check(&self, method: &str, path: &str, reply: &Reply) {
        let what = format!("{method} {path} {}", reply.status);
        let answer = &self.0["paths"][path][method.to_lowercase()]["responses"][reply.status.to_string()];
        assert!(answer.is_object(), "{what} is not documented: {}", String::from_utf8_lossy(&reply.body));
        let kind = reply.kind.split(';').next().unwrap();
        let Some(content) = answer["content"].as_object() else {
            assert!(reply.body.is_empty(), "{what} has a body: {}", String::from_utf8_lossy(&reply.body));
            return;
        };
        assert!(content.contains_key(kind), "{what} is {kind}");
        if kind == "application/json" {
            let body = serde_json::from_slice(&reply.body).unwrap();
            self.value(&content[kind]["schema"], &body).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        if let Some(schema) = content.get("x-bencode") {
            let body = decode(&mut reply.body.as_slice());
            self.value(schema, &body).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
    }

    /// Checks a value against a schema: the part of JSON Schema that the description uses, all of it.
    fn value(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let (no_items, no_members) = (Vec::new(), Map::new());
        // What has another type breaks the keyword `type`.
        let items = value.as_array().unwrap_or(&no_items);
        let members = value.as_object().unwrap_or(&no_members);
        for (keyword, rule) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                "$ref" => {
                    let rule = self.0.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                    self.value(rule, value)?;
                    true
                }
                "type" => match rule.as_str().unwrap() {
                    "integer" => value.is_i64() || value.is_u64(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                },
                "minimum" => value.as_i64() >= rule.as_i64(),
                "maxItems" => items.len() as u64 <= rule.as_u64().unwrap(),
                "const" => value == rule,
                "pattern" => follows(rule.as_str().unwrap(), value.as_str().unwrap_or_default()),
                "items" => items.iter().try_for_each(|item| self.value(rule, item)).map(|()| true)?,
                "required" => {
                    let names = rule.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                    names.filter(|name| value.get(name).is_none()).count() == 0
                }
                "properties" => {
                    for (name, rule) in rule.as_object().unwrap() {
                        if let Some(value) = value.get(name) {
                            self.value(rule, value).map_err(|why| format!("{name}: {why}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let known = |name: &str| schema["properties"].get(name).is_some();
                    let mut others = members.iter().filter(|(name, _)| !known(name));
                    match rule {
                        Value::Bool(false) => others.next().is_none(),
                        rule => others.try_for_each(|(_, value)| self.value(rule, value)).map(|()| true)?,
                    }
                }
                "oneOf" => {
                    rule.as_array().unwrap().iter().filter(|rule| self.value(rule, value).is_ok()).count()
                        == 1
                }
                "description" | "format" | "default" => true,
                other => panic!("the test does not know {other}"),
            };
            if !holds {
                return Err(format!("{value} breaks {keyword}: {rule}"));
            }
        }
        Ok(())
    }
}

/// The patterns that are used.
fn follows(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9a-f]{40}$" => {
            text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        }
        "^(catalogue|search|uploads|swarms): .+$" => {
            let (part, what) = text.split_once(": ").unwrap_or_default();
            ["catalogue", "search", "uploads", "swarms"].contains(&part) && !what.is_empty()
        }
        other => panic!("the test does not know {other}"),
    }
}

/// What comes before a mark; goes past both.
fn until(bytes: &mut &[u8], end: u8) -> String {
    let at = bytes.iter().position(|&byte| byte == end).unwrap();
    let text = String::from_utf8(bytes[..at].to_vec()).unwrap();
    *bytes = &bytes[at + 1..];
    text
}

/// Bencode as JSON: bytes as characters.
fn decode(bytes: &mut &[u8]) -> Value {
    let kind = bytes[0];
    match kind {
        b'i' => Value::from(until(bytes, b'e')[1..].parse::<i64>().unwrap()),
        b'd' | b'l' => {
            *bytes = &bytes[1..];
            let mut items = Vec::new();
            while bytes[0] != b'e' {
                items.push(decode(bytes));
            }
            *bytes = &bytes[1..];
            if kind == b'l' {
                return items.into();
            }
            let pairs = items.chunks(2).map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].clone()));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        _ => {
            let len = until(bytes, b':').parse().unwrap();
            let (string, rest) = bytes.split_at(len);
            *bytes = rest;
            string.iter().map(|&byte| char::from(byte)).collect::<String>().into()
        }
    }
}

/// A request and what answers it, bytes and all.
fn ask(fixture: &Fixture, method: &str, target: &str, head: &str, body: &[u8]) -> Reply {
    let mut stream = fixture.connect();
    let request = format!("{method} {target} HTTP/1.0\r\nHost: t.example\r\n{head}\r\n");
    stream.write_all(&[request.as_bytes(), body].concat()).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let end = reply.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(reply[..end].to_vec()).unwrap();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    Reply {
        status: head[9..12].parse().unwrap(),
        kind: field("content-type").unwrap_or_default(),
        disposition: field("etag"),
        body: reply[end + 4..].to_vec(),
    }
}

/// The headers and the body of an upload.
fn upload(fields: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let body = form(fields);
    (format!("Content-Type: {FORM}\r\nContent-Length: {}\r\n", body.len()), body)
}

/// The operation that describes a route: a new route has no arm here.
fn documented(route: Route) -> Option<(&'static str, &'static str)> {
    Some(match route {
        Route::Status | Route::List => ("get", "/"),
        Route::Metrics => ("get", "/metrics"),
        Route::Announce => ("get", "/announce"),
        Route::Upload => ("post", "/announce"),
        Route::Scrape => ("get", "/scrape"),
        Route::Torrents => ("get", "/torrents"),
        Route::Torrent(_) => ("get", "/torrents/{info_hash}"),
        Route::Removal(_) => ("delete", "/torrents/{info_hash}"),
        Route::Files(_) => ("get", "/torrents/{info_hash}/files"),
        Route::Entry(_) => ("get", "/torrent/{info_hash}"),
        Route::Form => ("get", "/upload"),
        Route::FilledForm => ("post", "/upload"),
        Route::Feed => ("get", "/torrents.rss"),
        Route::Style => ("get", "/style.css"),
        Route::Icon => ("get", "/icon.svg"),
        Route::Api => ("get", "/openapi.json"),
        Route::NotFound | Route::WrongMethod(_) => return None,
    })
}

#[test]
fn every_path_leads_where_its_description_says() {
    let fixture = Fixture::new();
    let api = Api::of(&fixture);
    let hash = "00112233445566778899aabbccddeeff00112233";
    let mut seen = BTreeSet::new();
    for (path, item) in api.0["paths"].as_object().unwrap() {
        let real = path.replace("{info_hash}", hash);
        for method in [Method::Get, Method::Post, Method::Delete, Method::Put] {
            let name = method.to_string().to_lowercase();
            let found = documented(route(&method, &real));
            assert_eq!(found.is_some(), item.get(&name).is_some(), "{method} {path}");
            seen.extend(found);
        }
    }
    for (method, path) in
        seen.iter().copied().chain([("get", "/"), ("post", "/upload"), ("get", "/torrent/{info_hash}")])
    {
        assert!(api.0["paths"][path][method].is_object(), "{method} {path}");
    }
    // As many as `documented` has arms with a description.
    assert_eq!(seen.len(), 16);
    assert_eq!(api.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(api.0["openapi"].as_str().unwrap().starts_with("3.1"));
}

/// Sends requests whose answers are waited for until one is refused: from then on there is no room for us in their lane.
pub(super) fn fill_lane(fixture: &Fixture, target: &str, head: &str) -> Vec<TcpStream> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut held = Vec::new();
    loop {
        assert!(Instant::now() < until, "there is always room");
        let mut stream = fixture.connect();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n").unwrap();
        held.push(stream);
        if held.len() < 60 {
            continue;
        }
        let is_refused = held.iter().any(|mut stream| {
            stream.set_nonblocking(true).unwrap();
            let is_there = stream.read(&mut [0; 12]).is_ok_and(|len| len > 0);
            stream.set_nonblocking(false).unwrap();
            is_there
        });
        if is_refused {
            return held;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn answers_are_as_described() {
    let open = Fixture::with(|config| config.max_torrent_len = 4096);
    let guarded = Fixture::with(|config| {
        config.upload_token = Secret::new("sesame-open-thyself");
        config.metrics = MetricsFor::No;
        config.full_scrape = true;
    });
    let api = Api::of(&open);
    let mut made = BTreeSet::new();
    let mut ask =
        |fixture: &Fixture, method: &str, path: &str, target: &str, head: &str, body: &[u8], status: u16| {
            let reply = ask(fixture, method, target, head, body);
            assert_eq!(reply.status, status, "{method} {target}: {}", String::from_utf8_lossy(&reply.body));
            api.check(method, path, &reply);
            made.insert(format!("{method} {path} {status}"));
            reply
        };
    let (bytes, hash) = torrent("a", false);
    let token = "Authorization: Bearer sesame-open-thyself\r\n";
    let none = "0000000000000000000000000000000000000000";

    let published =
        upload(&[("torrent", &bytes), ("peer_id", &[b'x'; 20]), ("port", b"5"), ("ip", b"10.0.0.9")]);
    let (form_head, form_body) = upload(&[("torrent", &bytes)]);
    let guarded_head = format!("{form_head}{token}");
    for path in ["/announce", "/upload"] {
        let mut post = |fixture: &Fixture, head: &str, body: &[u8], status| {
            ask(fixture, "POST", path, path, head, body, status);
        };
        let (new, known) = if path == "/announce" { (201, 200) } else { (303, 303) };
        post(&guarded, &guarded_head, &form_body, if path == "/announce" { new } else { known });
        post(&guarded, &form_head, &form_body, 403);
        post(&guarded, &guarded_head, &form_body, known);
        post(&open, &published.0, &published.1, if path == "/announce" { new } else { known });
        let (head, body) = upload(&[("torrent", b"nonsense")]);
        post(&open, &head, &body, 400);
        let (head, body) = upload(&[("torrent", &[b'x'; 5000])]);
        post(&open, &head, &body, 413);
        post(&open, "Content-Type: text/plain\r\nContent-Length: 1\r\n", b"x", 415);
        post(&open, "Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\r\n", 411);
    }

    ask(&open, "GET", "/", "/", "", b"", 200);
    ask(&open, "GET", "/", "/", "Accept: text/html\r\n", b"", 200);
    for more in ["left=5", "left=5&compact=0", "left=0&event=completed", "left=5&event=paused", "left=x"] {
        ask(&open, "GET", "/announce", &format!("/announce?{}", query(1, "10.0.0.1", more)), "", b"", 200);
        ask(&open, "GET", "/announce", &format!("/announce?{}", query(1, "10.0.0.2", more)), "", b"", 200);
    }
    ask(&open, "GET", "/announce", &format!("/announce?{}", query(1, "2001:db8::1", "left=5")), "", b"", 200);
    ask(&open, "GET", "/announce", &format!("/announce?{}", query(1, "10.0.0.1", "left=5")), "", b"", 200);
    ask(&open, "GET", "/scrape", &format!("/scrape?{}", query(1, "x", "")), "", b"", 200);
    ask(&open, "GET", "/scrape", "/scrape", "", b"", 200);
    ask(&guarded, "GET", "/scrape", "/scrape", "", b"", 200);
    for target in ["", "?q=a", "?q=nothing", "?sort=seeders&limit=1", "?sort=name&offset=7", "?limit=9999"] {
        ask(&open, "GET", "/torrents", &format!("/torrents{target}"), "", b"", 200);
    }
    ask(&open, "GET", "/torrents", "/torrents?sort=best", "", b"", 400);
    for path in ["/torrents/{info_hash}", "/torrents/{info_hash}.torrent", "/torrents/{info_hash}/files"] {
        let real = |hash: &str| path.replace("{info_hash}", hash);
        ask(&open, "GET", path, &real(&hash.to_string()), "", b"", 200);
        ask(&open, "GET", path, &real(none), "", b"", 404);
    }
    let files = "/torrents/{info_hash}/files";
    ask(&open, "GET", files, &format!("/torrents/{hash}/files?limit=x"), "", b"", 400);
    let feed = ask(&open, "GET", "/torrents.rss", "/torrents.rss", "", b"", 200);
    let etag = format!("If-None-Match: {}\r\n", feed.disposition.unwrap());
    ask(&open, "GET", "/torrents.rss", "/torrents.rss", &etag, b"", 304);
    ask(&open, "GET", "/torrents.rss", "/torrents.rss?sort=best", "", b"", 400);
    ask(&open, "GET", "/torrents.rss", "/torrents.rss?sort=best", "Accept: text/html\r\n", b"", 400);
    let html = "Accept: text/html\r\n";
    ask(&open, "GET", "/torrent/{info_hash}", &format!("/torrent/{hash}"), html, b"", 200);
    ask(&open, "GET", "/torrent/{info_hash}", &format!("/torrent/{none}"), html, b"", 404);
    ask(&open, "GET", "/upload", "/upload", html, b"", 200);
    ask(&open, "GET", "/metrics", "/metrics", "", b"", 200);
    ask(&guarded, "GET", "/metrics", "/metrics", "", b"", 404);
    for path in ["/openapi.json", "/style.css", "/icon.svg"] {
        ask(&open, "GET", path, path, "", b"", 200);
    }
    for (path, ending) in [("/torrents/{info_hash}", ""), ("/torrents/{info_hash}.torrent", ".torrent")] {
        let target = format!("/torrents/{hash}{ending}");
        ask(&open, "DELETE", path, &target, token, b"", 403);
        ask(&guarded, "DELETE", path, &target, "", b"", 403);
        ask(&guarded, "DELETE", path, &target, token, b"", 200);
        ask(&guarded, "DELETE", path, &target, token, b"", 404);
        ask(&guarded, "POST", "/announce", "/announce", &guarded_head, &form_body, 201);
    }
    // What is wrong with the disk is told in the same shape.
    fs::remove_dir_all(guarded.torrents()).unwrap();
    let (other, _) = torrent("b", false);
    let (head, body) = upload(&[("torrent", &other)]);
    for path in ["/announce", "/upload"] {
        ask(&guarded, "POST", path, path, &format!("{head}{token}"), &body, 503);
    }
    assert!(!ask(&guarded, "GET", "/", "/", "", b"", 200).body.is_empty());

    // Of strangers, as a proxy on this machine passes them on.
    let stranger = "X-Forwarded-For: 192.0.2.1\r\n";
    let narrow = Fixture::with(|config| {
        config.upload_quota = 1;
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    });
    ask(&narrow, "GET", "/metrics", "/metrics", stranger, b"", 403);
    for (path, new, from) in [("/announce", 201, "192.0.2.2"), ("/upload", 303, "192.0.2.3")] {
        for (name, status) in [(format!("first from {from}"), new), (format!("second from {from}"), 429)] {
            let (head, body) = upload(&[("torrent", &torrent(&name, false).0)]);
            let head = format!("{head}X-Forwarded-For: {from}\r\n");
            ask(&narrow, "POST", path, path, &head, &body, status);
        }
    }
    let shared = &narrow.running.as_ref().unwrap().shared;
    shared.catalogue.pretend_full();
    for path in ["/announce", "/upload"] {
        let (head, body) = upload(&[("torrent", &torrent("too many", false).0)]);
        ask(&narrow, "POST", path, path, &head, &body, 507);
    }
    let degraded = String::from_utf8(narrow.get("/").body).unwrap();
    assert!(degraded.contains("uploads: the catalogue is full"), "{degraded}");

    // Of a lane that is full.
    shared.catalogue.while_busy(|| {
        let _held = [("/torrents", ""), ("/", html)].map(|(target, head)| fill_lane(&narrow, target, head));
        let torrents = ["/torrents/{info_hash}", "/torrents/{info_hash}.torrent"];
        let others = ["/torrents", "/torrents/{info_hash}/files", "/torrents.rss", "/openapi.json"];
        for path in torrents.into_iter().chain(others) {
            ask(&narrow, "GET", path, &path.replace("{info_hash}", none), "", b"", 503);
        }
        for path in torrents {
            ask(&narrow, "DELETE", path, &path.replace("{info_hash}", none), "", b"", 503);
        }
        for path in ["/", "/torrent/{info_hash}", "/upload"] {
            ask(&narrow, "GET", path, &path.replace("{info_hash}", none), html, b"", 503);
        }
    });
    shared.health.while_busy(|| {
        let _held = fill_lane(&narrow, "/metrics", "");
        ask(&narrow, "GET", "/metrics", "/metrics", "", b"", 503);
    });

    let expected = api.answers();
    let is_excused = |answer: &&String| answer.ends_with(NOT_MADE_HERE);
    let missing: Vec<_> = expected.difference(&made).filter(|answer| !is_excused(answer)).collect();
    assert!(missing.is_empty(), "documented, and not answered here: {missing:#?}");
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let api = Api(serde_json::json!({"components": {"schemas": {"N": {"type": "integer", "minimum": 0}}}}));
    let holds = |schema: Value, value: Value| api.value(&schema, &value).is_ok();
    let number = serde_json::json!({"$ref": "#/components/schemas/N"});
    assert!(holds(number.clone(), 5.into()));
    assert!(!holds(number.clone(), (-5).into()));
    assert!(!holds(number.clone(), "5".into()));
    let object = serde_json::json!({"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": false});
    assert!(holds(object.clone(), serde_json::json!({"n": 1})));
    for wrong in [serde_json::json!({}), serde_json::json!({"n": -1}), serde_json::json!({"n": 1, "m": 1})] {
        assert!(!holds(object.clone(), wrong.clone()), "{wrong}");
    }
    assert!(!holds(serde_json::json!({"oneOf": [{"type": "string"}, object]}), 5.into()));
}
