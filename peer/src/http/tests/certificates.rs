//! Servers that cannot show who they are.

use super::*;
use crate::http::testing::tls::{AUTHORITY, ELSEWHERE, EXPIRED, GOOD, TlsServer, trusting};

fn ask(certificate: &str, tls: TlsConfig) -> Result<HttpAnswer, HttpError> {
    let options = HttpOptions { timeout: AGES, max_redirects: 3, max_idle: 0, guard_loopback: true };
    let server = TlsServer::start(certificate);
    let client = HttpClient::with_parts(&options, Arc::new(names::system), tls);
    let answer = client.get(&server.url("/announce?passkey=secret"), 1000, Once::default());
    drop(client);
    let asked = server.asked.recv();
    assert_eq!(asked.is_ok(), answer.is_ok(), "who is not known hears no passkey");
    answer
}

#[test]
fn a_certificate_that_is_right_is_taken() {
    assert_eq!(ask(GOOD, trusting(&[EXPIRED, GOOD])).unwrap().body, b"safe");
}

#[test]
fn bad_certificates_are_refused_and_told_apart() {
    let all = || trusting(&[GOOD, EXPIRED, ELSEWHERE]);
    for (certificate, tls, words) in [
        (GOOD, TlsConfig::default(), "is signed by nobody whom the world knows"),
        (EXPIRED, all(), "has expired"),
        (ELSEWHERE, all(), "is another host's"),
        (AUTHORITY, all(), "is an authority's, not a host's: signed by itself, perhaps"),
    ] {
        let error = ask(certificate, tls).unwrap_err();
        assert!(matches!(error, HttpError::Certificate(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("refused: its certificate {words}"));
    }
}

#[test]
fn who_does_not_speak_tls_is_an_error() {
    for (reply, timeout) in [
        (Reply::Raw(b"HTTP/1.1 400 x\r\n\r\n".to_vec()), AGES),
        (Reply::Raw(vec![]), AGES),
        (Reply::Silence, SOON),
        // The head of a handshake record of 16 KiB, and one byte of it now and then.
        (Reply::Drip(b"\x16\x03\x03\x40\x00".to_vec()), SOON),
    ] {
        let slow = matches!(reply, Reply::Silence | Reply::Drip(_));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/announce", listener.local_addr().unwrap());
        let _server = Server::start_deaf(listener, reply);
        let begun = Instant::now();
        let error = client(timeout).get(&url, 1000, Once::default()).unwrap_err();
        assert!(begun.elapsed() < AGES / 2);
        assert_eq!(matches!(error, HttpError::Timeout), slow, "{error:?}");
    }
}
