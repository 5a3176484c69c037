//! A server for tests that speaks TLS, with certificates of its own. They were made with openssl (`req`, then `ca -selfsign`),
//! all with the same key: signed by themselves, for a host that is an address.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use torrent_common::worker::Worker;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Of 127.0.0.1, valid from 2000 to 2199.
pub(crate) const GOOD: &str = concat!(
    "MIIBTjCB9aADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBGdvb2QwIBcN",
    "MDAwMTAxMDAwMDAwWhgPMjE5OTEyMzEyMzU5NTlaMA8xDTALBgNVBAMMBGdvb2Qw",
    "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQwSQHC7B+BNR+jdtNlOSyBoXesDAvq",
    "LHUR7kuSgBeO0lbXuQYmB64P3Irovw/2bprEnjaLsfChwHfsVWlPuBM/o0AwPjAP",
    "BgNVHREECDAGhwR/AAABMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYEFBCrgppvh5Vq",
    "hdZe53dcT5DNFFxuMAoGCCqGSM49BAMCA0gAMEUCIQCV1BlNeVDHcGuf9smaP6lo",
    "ELjfRBkCJ6V53RDElInXOgIgXSGzA0hwz1H1qYn+xojvZjFbdh5F7vveoTBelqS9",
    "O54=",
);
/// Of 127.0.0.1, valid in 2000.
pub(crate) const EXPIRED: &str = concat!(
    "MIIBUTCB+aADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB2V4cGlyZWQw",
    "HhcNMDAwMTAxMDAwMDAwWhcNMDEwMTAxMDAwMDAwWjASMRAwDgYDVQQDDAdleHBp",
    "cmVkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMEkBwuwfgTUfo3bTZTksgaF3",
    "rAwL6ix1Ee5LkoAXjtJW17kGJgeuD9yK6L8P9m6axJ42i7HwocB37FVpT7gTP6NA",
    "MD4wDwYDVR0RBAgwBocEfwAAATAMBgNVHRMBAf8EAjAAMB0GA1UdDgQWBBQQq4Ka",
    "b4eVaoXWXud3XE+QzRRcbjAKBggqhkjOPQQDAgNHADBEAiA5SjrJVJZMAwnLk6uZ",
    "Ee+g/nDRckml089tutSy9I0fSQIgKjM/q5ZnClkiroSwPPgQcxILvbNzXB076cU2",
    "9+LV8P4=",
);
/// Of 10.1.2.3, valid from 2000 to 2199.
pub(crate) const ELSEWHERE: &str = concat!(
    "MIIBWDCB/6ADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWVsc2V3aGVy",
    "ZTAgFw0wMDAxMDEwMDAwMDBaGA8yMTk5MTIzMTIzNTk1OVowFDESMBAGA1UEAwwJ",
    "ZWxzZXdoZXJlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMEkBwuwfgTUfo3bT",
    "ZTksgaF3rAwL6ix1Ee5LkoAXjtJW17kGJgeuD9yK6L8P9m6axJ42i7HwocB37FVp",
    "T7gTP6NAMD4wDwYDVR0RBAgwBocECgECAzAMBgNVHRMBAf8EAjAAMB0GA1UdDgQW",
    "BBQQq4Kab4eVaoXWXud3XE+QzRRcbjAKBggqhkjOPQQDAgNIADBFAiAL4+La1C/R",
    "S1dftP9VAQn/1dlfxoIRW+xuToovdhjbeAIhAIYa7AG7i4lnHc7VxBq181UZSJUQ",
    "SsN8WhH2//yGkpsl",
);
/// Of 127.0.0.1 as well, valid as long, and that of an authority: what `openssl req -x509` makes.
pub(crate) const AUTHORITY: &str = concat!(
    "MIIBXDCCAQKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlhdXRob3Jp",
    "dHkwIBcNMDAwMTAxMDAwMDAwWhgPMjE5OTEyMzEyMzU5NTlaMBQxEjAQBgNVBAMM",
    "CWF1dGhvcml0eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDBJAcLsH4E1H6N2",
    "02U5LIGhd6wMC+osdRHuS5KAF47SVte5BiYHrg/ciui/D/ZumsSeNoux8KHAd+xV",
    "aU+4Ez+jQzBBMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAdBgNV",
    "HQ4EFgQUEKuCmm+HlWqF1l7nd1xPkM0UXG4wCgYIKoZIzj0EAwIDSAAwRQIgNwFu",
    "Ca62mh4e0ZypPGsCEIPm24DEESG7i9nvMW5RVPcCIQD1DCzqvfKrRzGTMkA0I6zz",
    "QrrFDhVKaM3BEvpqvyoj7w==",
);
/// Of all of them, PKCS#8.
const KEY: &str = concat!(
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQNlAc+Nui+5yRc7C",
    "EZD38Ry8EGeM/x0NcWcD0HxsI3+hRANCAAQwSQHC7B+BNR+jdtNlOSyBoXesDAvq",
    "LHUR7kuSgBeO0lbXuQYmB64P3Irovw/2bprEnjaLsfChwHfsVWlPuBM/",
);

fn der(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

/// A client's settings that trust these certificates alone.
pub(crate) fn trusting(certificates: &[&str]) -> TlsConfig {
    let roots = certificates.iter().map(|certificate| Certificate::from_der(&der(certificate)).to_owned());
    TlsConfig::builder().root_certs(RootCerts::from(roots)).build()
}

/// A server with this certificate that answers one client, or is refused by it.
pub(crate) struct TlsServer {
    address: SocketAddr,
    /// What it was asked; nothing if it was not.
    pub(crate) asked: crossbeam_channel::Receiver<Vec<u8>>,
    _thread: Worker,
}

impl TlsServer {
    pub(crate) fn start(certificate: &str) -> Self {
        let chain = vec![CertificateDer::from(der(certificate))];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der(KEY)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = crossbeam_channel::unbounded();
        let thread = Worker::spawn("test-tls", move || {
            let (stream, _) = listener.accept().unwrap();
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && tls.read(&mut byte).is_ok_and(|len| len > 0) {
                request.extend(byte);
            }
            if !request.is_empty() {
                let _ = tell.send(request);
            }
            // A client that has refused is gone.
            let _ = tls.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 4\r\n\r\nsafe");
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = std::io::copy(&mut tls.sock, &mut std::io::sink());
        });
        Self { address, asked, _thread: thread.unwrap() }
    }

    /// `https://127.0.0.1:port` and `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}
