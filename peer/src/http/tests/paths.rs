//! Ways by which a request could be led astray, or be kept for ever.

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use super::*;

/// A client to whom names mean what the map says at the moment.
fn client_with(names: &Arc<Mutex<HashMap<String, IpAddr>>>, max_idle: usize) -> HttpClient {
    let names = Arc::clone(names);
    let lookup = move |name: &str| {
        let (host, port) = name.rsplit_once(':').unwrap();
        let ip = names.lock().unwrap().get(host).copied();
        let ip = ip.ok_or_else(|| io::Error::other("no such name"))?;
        Ok(vec![SocketAddr::new(ip, port.parse().unwrap())])
    };
    let options = HttpOptions { timeout: AGES, max_redirects: 3, max_idle, guard_loopback: true };
    HttpClient::with_parts(&options, Arc::new(lookup), TlsConfig::default())
}

/// Two servers at the same port of two addresses of this machine; each says which it is.
fn twins() -> [Server; 2] {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        // Somebody else may have it there.
        let Ok(second) = TcpListener::bind(("127.0.0.2", first.local_addr().unwrap().port())) else {
            continue;
        };
        let say = |word: &'static str| move |_: &Request| Reply::Body(200, word.into());
        return [Server::start_on(first, say("first")), Server::start_on(second, say("second"))];
    }
}

#[test]
fn a_name_that_means_another_address_now_leads_there() {
    let servers = twins();
    let names = Arc::new(Mutex::new(HashMap::new()));
    let client = client_with(&names, 4);
    let url = format!("http://turning.example:{}/announce", servers[0].address().port());
    for (server, word) in [(0, "first"), (1, "second"), (0, "first")] {
        let ip = servers[server].address().ip();
        names.lock().unwrap().insert("turning.example".into(), ip);
        for _ in 0..2 {
            let answer = client.get(&url, 1000, Once::default()).unwrap();
            assert_eq!(answer.body, word.as_bytes(), "what was looked up is what is asked");
            assert_eq!(answer.area, Area::Here);
        }
    }
}

#[test]
fn connections_are_kept_while_a_name_means_the_same() {
    let server = Server::start(|_| Reply::Body(200, vec![]));
    let names = Arc::new(Mutex::new(HashMap::from([("a.example".to_owned(), server.address().ip())])));
    let client = client_with(&names, 4);
    for _ in 0..5 {
        let url = format!("http://a.example:{}/announce", server.address().port());
        client.get(&url, 1000, Once::default()).unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_name_that_turns_to_this_machine_is_guarded() {
    let server = Server::start(|_| Reply::Body(200, b"open".to_vec()));
    let names = Arc::new(Mutex::new(HashMap::from([("a.example".to_owned(), server.address().ip())])));
    let client = client_with(&names, 4);
    let get = |path: &str| {
        client.get(&format!("http://a.example:{}{path}", server.address().port()), 1000, Once::default())
    };
    get("/announce").unwrap();
    // The connection is open, and the name still leads there.
    assert!(matches!(get("/admin"), Err(HttpError::Loopback)));
    // Now it says that it leads elsewhere: then it does, and not to the open connection. Nobody is at this address.
    names.lock().unwrap().insert("a.example".into(), "127.3.3.3".parse().unwrap());
    assert!(matches!(get("/x/announce"), Err(HttpError::Connect(_))));
}

#[test]
fn what_ureq_throws_away_is_counted_too() {
    let redirect = "HTTP/1.1 302 x\r\nLocation: /\r\n";
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for (head, more) in [
        (format!("{redirect}Transfer-Encoding: chunked\r\n\r\n"), chunk),
        (format!("{redirect}Content-Length: 1000000000000\r\n\r\n"), "x".repeat(0x8000)),
        (String::new(), "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)),
        ("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5;".into(), "x".repeat(0x8000)),
        ("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".into(), "a: b\r\n".repeat(1000)),
    ] {
        let (first, again) = (head.clone().into_bytes(), more.into_bytes());
        let server = Server::start(move |_| Reply::Endless(first.clone(), again.clone()));
        let error = get(&server, AGES).unwrap_err();
        assert!(!matches!(error, HttpError::Timeout), "{head:?}: {error:?}");
    }
}

/// Sockets of this machine that are being connected to this port.
fn being_connected(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace();
        let (to, state) = (words.nth(2).unwrap_or_default(), words.next().unwrap_or_default());
        to.ends_with(&format!(":{port:04X}")) && state == "02"
    };
    table.lines().filter(is_one).count()
}

#[test]
fn hanging_up_ends_what_is_being_connected() {
    // A queue of connections that is full: who comes next hears nothing.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while being_connected(address.port()) == 0 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        waiting.push(socket);
    }
    let before = being_connected(address.port());
    let client = client(AGES);
    let other = client.clone();
    let thread =
        std::thread::spawn(move || other.get(&format!("http://{address}/announce"), 1000, Once::default()));
    while being_connected(address.port()) <= before {
        std::thread::yield_now();
    }
    let begun = Instant::now();
    client.hang_up();
    let error = thread.join().unwrap().unwrap_err();
    assert!(begun.elapsed() < CONNECT_TIMEOUT, "{error:?} after {:?}", begun.elapsed());
    assert!(!matches!(error, HttpError::Timeout), "{error:?}");
}
