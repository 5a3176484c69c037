//! Whoever reaches the control port and means no good: nobody else waits for what he does not do, and the user's own
//! commands are answered meanwhile. What floods cost a daemon is measured in one (`tests/tests/e2e/floods.rs`).

use std::net::{Shutdown, TcpListener};
use std::time::Instant;

use torrent_guard::{Guarded, Limits, MAX_HEAD_LEN};

use super::super::server::{BOUNDS, Bounds};
use super::*;

/// Nobody here waits as long as usual for a time to be over.
const SOON: Duration = Duration::from_millis(50);
/// An honest command waits no longer while others attack: its system may have to try again three times.
const PATIENCE: Duration = Duration::from_secs(30);

const LEECH: &str = "POST /leech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

fn serve(bounds: Bounds, engine: Arc<dyn Engine>) -> ControlServer {
    ControlServer::serve(0, 1, bounds, engine).unwrap()
}

fn start(bounds: Bounds) -> ControlServer {
    serve(bounds, Arc::new(FakeEngine::default()))
}

/// A command as a user gives it, on a connection of its own: it may be closed by mistake where there are too many, and
/// is then given again.
#[track_caller]
fn assert_answers(server: &ControlServer) {
    let began = Instant::now();
    while ControlClient::new(server.address().port()).torrent_status(&known()).is_err() {
        assert!(began.elapsed() < PATIENCE, "no answer");
    }
}

/// All that is said to a client until its connection ends.
fn to_the_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // It may have been cut off.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_absurd_length_is_survived() {
    let server = start(BOUNDS);
    for length in ["1152921504606846976", "18446744073709551615", "300000000", "150000000", "100663297"] {
        let mut stream = connect(server.address());
        // The body never comes.
        stream.write_all(format!("{LEECH}Content-Length: {length}\r\n\r\nx").as_bytes()).unwrap();
        let answer = to_the_end(stream);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
        assert!(answer.contains("Connection: close"), "nobody is to ask anything behind it: {answer}");
    }
    assert_answers(&server);
}

/// Each takes a thread and descriptors with it: of those the torrents are to have the most.
#[test]
fn a_port_that_is_worn_out_is_closed_and_stays_so() {
    let server = start(BOUNDS);
    assert_answers(&server);
    server.shared.worn(256);
    let refused = || TcpStream::connect(server.address()).is_err();
    assert!(refused());
    // The accept thread has gone, and the guard, which would bring another, has been told and has looked.
    while handles(&server.shared.listener) > 1 {
        std::thread::yield_now();
    }
    let until = Instant::now() + 4 * SOON;
    while Instant::now() < until {
        assert!(refused() && handles(&server.shared.listener) == 1, "it is open again");
    }
    server.stop();
}

#[test]
fn a_refused_body_that_never_comes_holds_nobody_up() {
    let server = start(Bounds { body: SOON, ..BOUNDS });
    for (head, status) in [
        ("POST /nowhere HTTP/1.1\r\nHost: localhost\r\n", 404),
        ("POST /seed HTTP/1.1\r\nHost: evil.example\r\n", 403),
        ("GET /status HTTP/1.1\r\nHost: localhost\r\n", 413),
    ] {
        let mut stream = connect(server.address());
        stream.write_all(format!("{head}Content-Length: 60000\r\n\r\n").as_bytes()).unwrap();
        assert!(to_the_end(stream).starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_answers(&server);
    }
}

#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let request = |request| Bounds { limits: Limits { request, ..BOUNDS.limits }, ..BOUNDS };
    for (bounds, sent) in [
        (request(SOON), "GET /status HTTP/1.1\r\nHost: local".to_owned()),
        (request(SOON), String::new()),
        (Bounds { body: SOON, ..BOUNDS }, format!("{LEECH}Content-Length: 5000\r\n\r\n{{")),
    ] {
        let server = start(bounds);
        let mut stream = connect(server.address());
        stream.write_all(sent.as_bytes()).unwrap();
        assert_answers(&server);
        to_the_end(stream);
    }
    // Who waits between two requests, too.
    let server = start(Bounds { limits: Limits { idle: SOON, ..BOUNDS.limits }, ..BOUNDS });
    let mut stream = connect(server.address());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(to_the_end(stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_long_head_is_cut_off_though_it_comes_slowly() {
    let server = start(BOUNDS);
    let mut stream = connect(server.address());
    let mut sent = stream.write(b"GET / HTTP/1.1\r\n").unwrap();
    // Until the other side has had enough.
    while stream.write_all(b"name: value\r\n").is_ok() {
        sent += 13;
        assert!(sent < 1 << 20, "nobody minds");
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(sent as u64 > MAX_HEAD_LEN, "{sent}");
    assert_answers(&server);
}

#[test]
fn who_does_not_read_answers_does_not_keep_the_worker() {
    let bounds = Bounds { pause: SOON, ..BOUNDS };
    let server = serve(bounds, Arc::new(Many(100_000)));
    let mut deaf: Vec<TcpStream> = (0..4).map(|_| connect(server.address())).collect();
    for stream in &mut deaf {
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    // The worker has begun with each of them, and has to end with the last for what follows.
    for stream in &mut deaf {
        stream.read_exact(&mut [0]).unwrap();
    }
    let answer = ControlClient::new(server.address().port()).details(&known());
    assert!(matches!(answer, Err(ClientError::Refused { status: 404, .. })), "{answer:?}");
    for stream in deaf {
        let answer = to_the_end(stream);
        assert!(!answer.ends_with("\r\n0\r\n\r\n"), "it was waited for");
    }
}

#[test]
fn one_connection_takes_many_requests_and_bodies_on_demand() {
    let server = start(BOUNDS);
    let mut stream = connect(server.address());
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let refused = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET";
    let head = "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let waiting =
        format!("{LEECH}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.write_all([get, refused, head, get, &waiting].concat().as_bytes()).unwrap();
    let answer = to_the_end(stream);
    let statuses: Vec<&str> = answer
        .match_indices("HTTP/1.1 ")
        .map(|(at, found)| answer.get(at + found.len()..).unwrap().get(..3).unwrap())
        .collect();
    assert_eq!(statuses, ["200", "404", "405", "200", "100", "400"], "{answer}");
}

/// A body whose end cannot be known might hide a request of its own.
#[test]
fn nothing_behind_a_body_of_unknown_length_is_carried_out() {
    let engine = Arc::new(FakeEngine::default());
    let server = serve(BOUNDS, Arc::clone(&engine) as Arc<dyn Engine>);
    let hidden = String::from_utf8(post("/jobs/9/cancel", "{}")).unwrap();
    for lengths in [
        "Content-Length: 3\r\nContent-Length: 300",
        "Content-Length: +3",
        "Content-Length: 3, 3",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Transfer-Encoding: gzip",
        "Content-Length: 99999999999999999999999",
    ] {
        let mut stream = connect(server.address());
        stream.write_all(format!("{LEECH}{lengths}\r\n\r\n{hidden}").as_bytes()).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        assert!(!to_the_end(stream).contains("HTTP/1.1 2"), "{lengths}");
    }
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[test]
fn arrays_are_no_objects() {
    let server = start(BOUNDS);
    for (target, body) in [
        ("/seed", r#"["/data"]"#),
        ("/seed", r#"["/data",false,null,[],null,null,{}]"#),
        ("/seed", r#"{"path":"/data","options":[]}"#),
        ("/seed", r#"{"path":"/data","options":{"files":[[0,"skip"]]}}"#),
        ("/leech", r#"[null,"/x"]"#),
        ("/leech", r#"{"torrent_path":"/x","options":[1]}"#),
        ("/remove", r#"["0707070707070707070707070707070707070707",true]"#),
        ("/settings", "[5]"),
        ("/torrents/0707070707070707070707070707070707070707/options", "[5]"),
    ] {
        let (status, _, answer) = raw(server.address(), &post(target, body));
        assert!(status == 400 && answer.contains("an object"), "{target} {body}: {status} {answer}");
    }
}

#[test]
fn deep_and_long_json_is_refused() {
    let engine = Arc::new(FakeEngine::default());
    let server = serve(BOUNDS, Arc::clone(&engine) as Arc<dyn Engine>);
    let options = format!("/torrents/{}/options", "07".repeat(20));
    let deep = |depth: usize| format!("{{\"files\":{}", "[".repeat(depth));
    let objects = format!("{{\"files\":[{}", r#"{"index":"#.repeat(300_000));
    for (target, body, expected) in [
        (options.as_str(), deep(1_000_000), 400),
        (&options, objects, 400),
        (&options, deep(8 << 20), 413),
        ("/leech", format!("{{\"torrent_base64\":{}", "[".repeat(5_000_000)), 400),
        ("/settings", format!("{{\"alt_schedule\":\"{}\"}}", "x".repeat(64 << 10)), 413),
    ] {
        let mut stream = connect(server.address());
        // Whoever is refused before the body has been sent may be cut off.
        let _ = stream.write_all(&post(target, &body));
        let _ = stream.shutdown(Shutdown::Write);
        let answer = to_the_end(stream);
        let is_told = answer.starts_with(&format!("HTTP/1.1 {expected} "));
        assert!(is_told || expected == 413 && answer.is_empty(), "{target}: {answer}");
    }
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[test]
fn stopping_waits_for_nobody_who_is_idle_or_slow() {
    let server = start(BOUNDS);
    let mut streams: Vec<_> = (0..4).map(|_| connect(server.address())).collect();
    let body = format!("{LEECH}Content-Length: 5000\r\n\r\n{{");
    for (stream, sent) in
        streams.iter_mut().zip(["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &body])
    {
        stream.write_all(sent.as_bytes()).unwrap();
    }
    // It has been answered: its connection is kept for another request.
    assert!(streams[2].read(&mut [0; 10]).unwrap() > 0);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for stream in streams {
        to_the_end(stream);
    }
}

/// How many descriptors of this process are the same socket.
fn handles(listener: &TcpListener) -> usize {
    use std::os::fd::AsRawFd;
    let own = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|link| link == own))
        .count()
}

#[test]
fn a_dead_accept_loop_is_replaced() {
    let server = start(BOUNDS);
    let socket = socket2::SockRef::from(&server.shared.listener);
    // The accept after the next one times out, which ends tiny_http's loop.
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_answers(&server);
    // The loop's own handle of the listening socket goes with it.
    while handles(&server.shared.listener) > 1 {
        std::thread::yield_now();
    }
    socket.set_read_timeout(None).unwrap();
    for _ in 0..3 {
        assert_answers(&server);
    }
    assert!(handles(&server.shared.listener) > 1, "somebody accepts again");
}
