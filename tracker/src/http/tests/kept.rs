//! A connection that is kept: whatever is asked on it, and whenever the guard looks, it is answered, and goes on. A proxy
//! in front of the tracker sends what many clients ask on a few such connections.

use super::*;

/// Rounds in the normal run; `KEPT_ROUNDS` says how many else.
const ROUNDS: usize = 10;
/// Announces of a round: their heads together are longer than one head may be.
const ANNOUNCES: usize = 60;

fn rounds() -> usize {
    std::env::var("KEPT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// Asks, and gives the status of the answer, whose body has to be of the length that its head says.
fn ask(stream: &mut TcpStream, request: &[u8]) -> u16 {
    stream.write_all(request).expect("the connection is open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = vec![0; field("content-length:").expect(&head).parse().unwrap()];
    stream.read_exact(&mut body).expect("all of the answer");
    assert_ne!(field("connection:"), Some("close"), "{head}");
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn no_conversation_on_a_kept_connection_breaks_off() {
    let fixture = Fixture::new();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let post = |kind: &str, body: &[u8]| {
        let head = format!(
            "POST /announce HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    const FORM: &str = "multipart/form-data; boundary=XX";
    let long = [20_000, 300_000, 1_500_000].map(|len| {
        let start = "--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n";
        post(FORM, &[start.as_bytes(), &vec![b'd'; len], b"\r\n--XX--\r\n"].concat())
    });
    let announce = get(&format!("/announce?{}", query(1, "10.0.0.1", "left=5")));
    let short = [
        (get("/torrents?q=a"), 200),
        (get("/scrape"), 200),
        (post(FORM, b"x"), 400),
        (get("/nowhere"), 404),
        (get("/"), 200),
    ];
    let mut stream = fixture.connect();
    for _ in 0..rounds() {
        for long in &long {
            assert_eq!(ask(&mut stream, long), 400, "that is no torrent");
            for (request, status) in &short {
                assert_eq!(ask(&mut stream, request), *status, "{}", String::from_utf8_lossy(request));
            }
        }
        for _ in 0..ANNOUNCES {
            assert_eq!(ask(&mut stream, &announce), 200);
        }
    }
}
