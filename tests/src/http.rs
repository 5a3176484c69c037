//! HTTP as a program would send it, with every answer in the caller's hands.

use std::time::Duration;

use serde::de::DeserializeOwned;

/// The largest answer read, in bytes.
const MAX_BODY_LEN: u64 = 64 << 20;

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the status is not 200 or the body is something else.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

/// A client without a connection pool: each request is alone.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .max_idle_connections(0)
        .proxy(None)
        .build()
        .into()
}

/// GET `url`.
///
/// # Errors
/// If there is no answer.
pub fn get(url: &str) -> Result<Answer, ureq::Error> {
    read(agent().get(url).call()?)
}

/// POST `body` to `url` with these headers.
///
/// # Errors
/// If there is no answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send(body)?)
}

fn read(response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let body = response.into_body().into_with_config().limit(MAX_BODY_LEN).read_to_vec()?;
    Ok(Answer { status, body })
}
