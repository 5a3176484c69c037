//! A connection that is kept: whatever is asked on it, and whenever the guard looks, it is answered, and goes on.

use super::*;

/// Rounds in the normal run; `KEPT_ROUNDS` says how many else.
const ROUNDS: usize = 15;
/// Of the torrent files sent, in bytes: more than a head may have, and, together with others, than all heads may have.
const BODIES: [usize; 3] = [20_000, 300_000, 1_200_000];

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
    let (status, headers, _) = parse_answer(&String::from_utf8(head).unwrap());
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).expect("all of the answer");
    assert!(headers.get("connection").is_none_or(|how| how != "close"));
    status
}

#[test]
fn no_conversation_on_a_kept_connection_breaks_off() {
    let (server, _engine) = start();
    let leech = |len: usize, content: &str| {
        post("/leech", &format!(r#"{{"torrent_base64":"{}","output":"/out"}}"#, content.repeat(len)))
    };
    let long = BODIES.map(|len| leech(len, "x"));
    let known = r#"{"info_hash":"0707070707070707070707070707070707070707"}"#;
    let unknown = known.replace("07", "08");
    let get = b"GET /jobs/9 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let short = [
        (post("/pause", known), 200),
        (get, 200),
        (post("/resume", &unknown), 404),
        (leech(1, "bad"), 400),
        (leech(1, "other"), 409),
        (post("/nowhere", known), 404),
        (post("/settings", "[]"), 400),
    ];
    let mut stream = connect(server.address());
    for _ in 0..rounds() {
        for (long, round) in long.iter().zip(1..) {
            assert_eq!(ask(&mut stream, long), 200);
            for _ in 0..round {
                for (request, status) in &short {
                    assert_eq!(ask(&mut stream, request), *status);
                }
            }
        }
    }
}
