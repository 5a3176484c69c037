mod certificates;
mod paths;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::testing::{Reply, Request, Server, gzip_of_zeros};
use super::*;

fn client(timeout: Duration) -> HttpClient {
    HttpClient::new(&HttpOptions { timeout, max_redirects: 3, max_idle: 2, guard_loopback: false })
}

/// Long enough never to matter.
const AGES: Duration = Duration::from_secs(60);
/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(200);

fn get(server: &Server, timeout: Duration) -> Result<HttpAnswer, HttpError> {
    client(timeout).get(&server.url("/"), 1000, Once::default())
}

#[test]
fn any_status_is_an_answer() {
    for status in [200, 204, 400, 404, 500] {
        let server =
            Server::start(move |_| Reply::Body(status, if status == 204 { vec![] } else { b"x".to_vec() }));
        assert_eq!(get(&server, AGES).unwrap().status, status);
    }
}

#[test]
fn we_say_who_we_are() {
    let server = Server::start(|request| {
        let agent = request.header("user-agent").unwrap_or_default();
        Reply::Body(200, [agent.as_bytes(), request.header("cookie").unwrap_or_default().as_bytes()].concat())
    });
    assert_eq!(get(&server, AGES).unwrap().body, USER_AGENT.as_bytes());
}

#[test]
fn bodies_are_limited_to_the_byte() {
    let server = Server::start(|request| Reply::Body(200, vec![7; request.target[1..].parse().unwrap()]));
    let get = |len: usize| client(AGES).get(&server.url(&format!("/{len}")), 1000, Once::default());
    assert_eq!(get(1000).unwrap().body.len(), 1000);
    assert!(matches!(get(1001), Err(HttpError::TooLarge(1000))));
}

#[test]
fn an_endless_body_ends_at_the_limit() {
    let head = b"HTTP/1.1 200 x\r\n\r\n".to_vec();
    let server = Server::start(move |_| Reply::Endless(head.clone(), vec![b'x'; 100]));
    assert!(matches!(get(&server, AGES), Err(HttpError::TooLarge(1000))));
}

#[test]
fn what_expands_is_limited_too() {
    let bomb = gzip_of_zeros(60_000);
    let head = format!("HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len());
    let reply = [head.as_bytes(), &bomb].concat();
    let server = Server::start(move |_| Reply::Raw(reply.clone()));
    assert!(matches!(get(&server, AGES), Err(HttpError::TooLarge(1000))));
    let all = client(AGES).get(&server.url("/"), 1 << 20, Once::default()).unwrap();
    assert_eq!(all.body, vec![0; 60_000]);
}

#[test]
fn silence_and_slowness_end_in_time() {
    let head = b"HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n".to_vec();
    for reply in [Reply::Silence, Reply::Drip(head.clone()), Reply::Drip(b"HTTP/1.1 200 x\r\nA: ".to_vec())] {
        let server = Server::start(move |_| reply.clone());
        let begun = Instant::now();
        assert!(matches!(get(&server, SOON), Err(HttpError::Timeout)));
        assert!(begun.elapsed() < AGES / 2);
    }
    let server = Server::start(move |_| Reply::Raw(head.clone()));
    assert!(matches!(get(&server, AGES), Err(HttpError::Io(_) | HttpError::Protocol(_))), "cut off");
}

#[test]
fn one_request_may_have_less_time() {
    let server = Server::start(|_| Reply::Silence);
    let once = Once { timeout: Some(SOON), close: true };
    assert!(matches!(client(AGES).get(&server.url("/"), 1000, once), Err(HttpError::Timeout)));
}

#[test]
fn what_is_not_http_is_an_error() {
    for garbage in [
        "",
        "\r\n\r\n",
        "d8:intervali5ee",
        "HTTP/9.9 ???\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n",
    ] {
        let server = Server::start(move |_| Reply::Raw(garbage.into()));
        assert!(get(&server, AGES).is_err(), "{garbage:?}");
    }
    let long = ["HTTP/1.1 200 x\r\nA: ".as_bytes(), &vec![b'a'; MAX_HEADER_LEN * 2], b"\r\n\r\n"].concat();
    let server = Server::start(move |_| Reply::Raw(long.clone()));
    assert!(get(&server, AGES).is_err());
    let more = [&b"HTTP/1.1 200 x\r\n"[..], &b"A: b\r\n".repeat(100_000)].concat();
    let server = Server::start(move |_| Reply::Raw(more.clone()));
    assert!(get(&server, AGES).is_err());
}

#[test]
fn redirects_are_followed_so_far() {
    let server = Server::start(|request| match request.target.as_str() {
        "/0" => Reply::Body(200, b"there".to_vec()),
        "/round" => Reply::Redirect("/round".into()),
        "/ftp" => Reply::Redirect("ftp://127.0.0.1/".into()),
        "/file" => Reply::Redirect("file:///etc/passwd".into()),
        other => match other[1..].parse::<u32>() {
            Ok(number) => Reply::Redirect(format!("/{}", number - 1)),
            Err(_) => Reply::Body(404, other.into()),
        },
    });
    let get = |path: &str| client(AGES).get(&server.url(path), 1000, Once::default());
    assert_eq!(get("/3").unwrap().body, b"there");
    assert!(matches!(get("/4"), Err(HttpError::Redirects)));
    assert!(matches!(get("/round"), Err(HttpError::Redirects)));
    assert!(matches!(get("/ftp"), Err(HttpError::BadUrl)));
    assert_eq!(get("/file").unwrap().status, 404, "the address of a file is a path like any other");
}

#[test]
fn services_of_this_machine_are_guarded() {
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&asked);
    let server = Server::start(move |request| {
        counter.fetch_add(1, Ordering::Relaxed);
        if request.target == "/away/announce" {
            Reply::Redirect("/admin".into())
        } else {
            Reply::Body(200, vec![])
        }
    });
    let client =
        HttpClient::new(&HttpOptions { timeout: AGES, max_redirects: 3, max_idle: 0, guard_loopback: true });
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "127.1.2.3", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let url = format!("http://{host}:{port}/admin?x=/announce");
        assert!(matches!(client.get(&url, 1000, Once::default()), Err(HttpError::Loopback)), "{url}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(client.get(&server.url("/x/announce?a=b"), 1000, Once::default()).unwrap().status, 200);
    let away = client.get(&server.url("/away/announce"), 1000, Once::default());
    assert!(matches!(away, Err(HttpError::Loopback)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn bad_addresses_are_said_to_be_so() {
    let client = client(AGES);
    for url in [
        "",
        "nonsense",
        "http://",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://u:p@localhost:x/",
        "http://a b/",
        "//x/",
    ] {
        assert!(matches!(client.get(url, 1000, Once::default()), Err(HttpError::BadUrl)), "{url}");
    }
    // A port that was free a moment ago, and that nobody listens on.
    let url = Server::start(|_| Reply::Silence).url("/");
    assert!(matches!(client.get(&url, 1000, Once::default()), Err(HttpError::Connect(_))));
}

#[test]
fn a_body_is_posted_as_it_is() {
    let seen = std::sync::Arc::new(Mutex::new(None::<Request>));
    let see = std::sync::Arc::clone(&seen);
    let server = Server::start(move |request| {
        *see.lock().unwrap() = Some(request.clone());
        Reply::Body(201, b"done".to_vec())
    });
    let body = vec![0xff; 100_000];
    let answer = client(AGES).post(&server.url("/up?a=b"), "text/x", &body, 1000).unwrap();
    assert_eq!((answer.status, answer.body), (201, b"done".to_vec()));
    let request = seen.lock().unwrap().clone().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/up?a=b"));
    assert_eq!(request.header("content-type"), Some("text/x"));
    assert_eq!(request.body, body);
}

#[test]
fn hanging_up_ends_what_is_in_flight() {
    let (asked, was_asked) = crossbeam_channel::bounded(1);
    let server = Server::start(move |_| {
        asked.send(()).unwrap();
        Reply::Silence
    });
    let client = client(AGES);
    let other = client.clone();
    let url = server.url("/");
    let thread = std::thread::spawn(move || other.get(&url, 1000, Once::default()));
    was_asked.recv().unwrap();
    client.hang_up();
    assert!(thread.join().unwrap().is_err());
    assert!(client.get(&server.url("/"), 1000, Once::default()).is_err());
}
