//! An admitted request and its body become a call of the engine, and its result becomes JSON.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admit::Denied;
use super::api::{ApiError, JobStarted, LeechRequest, SeedRequest, TorrentRequest};
use super::engine::{Engine, Refusal};
use super::listing::Listing;
use super::route::Route;
use crate::object::Object;

/// What is answered.
pub enum Answer {
    /// JSON, made.
    Whole(Vec<u8>),
    /// JSON, made as it is sent.
    Listing(Listing),
}

/// The answer to what has no result.
#[derive(Serialize)]
struct Nothing {}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status_code(), refusal.to_string())
    }
}

/// Does what the request asks and gives the JSON of the answer.
///
/// # Errors
/// [`Denied`] with the status to answer.
pub fn handle(engine: &Arc<dyn Engine>, route: Route, body: &[u8]) -> Result<Answer, Denied> {
    match route {
        Route::Status => Ok(Answer::Listing(Listing::status(Arc::clone(engine)))),
        Route::Torrents => Ok(Answer::Listing(Listing::torrents(Arc::clone(engine)))),
        route => whole(engine.as_ref(), route, body).map(Answer::Whole),
    }
}

fn whole(engine: &dyn Engine, route: Route, body: &[u8]) -> Result<Vec<u8>, Denied> {
    match route {
        Route::Info => json(&engine.info()),
        Route::Status | Route::Torrents => json(&engine.status()),
        Route::Torrent(info_hash) => json(&engine.details(&info_hash)?),
        Route::TorrentStatus(info_hash) => json(&engine.torrent_status(&info_hash).ok_or(Refusal::NotFound)?),
        Route::Job(job) => json(&engine.job(job).ok_or_else(no_such_job)?),
        Route::CancelJob(job) => {
            if !engine.cancel_job(job) {
                return Err(no_such_job());
            }
            json(&Nothing {})
        }
        Route::Seed => json(&JobStarted { job: engine.seed(seed_request(body)?)? }),
        Route::Leech => json(&engine.leech(leech_request(body)?)?),
        Route::Pause => {
            engine.pause(&torrent_request(body)?.info_hash)?;
            json(&Nothing {})
        }
        Route::Resume => {
            engine.resume(&torrent_request(body)?.info_hash)?;
            json(&Nothing {})
        }
        Route::Options(info_hash) => json(&engine.set_options(&info_hash, &parse(body)?)?),
        Route::Settings => json(&engine.settings()),
        Route::SetSettings => json(&engine.set_settings(&parse(body)?)?),
        Route::Remove => {
            let request: TorrentRequest = parse(body)?;
            engine.remove(&request.info_hash, request.delete_data)?;
            json(&Nothing {})
        }
    }
}

/// The JSON of a refusal.
pub fn error_body(message: &str) -> Vec<u8> {
    // A struct of one string cannot fail to become JSON.
    serde_json::to_vec(&ApiError { error: message.to_owned() }).unwrap_or_default()
}

fn no_such_job() -> Denied {
    Denied::new(404, "no such job: it never was, or it ended long ago")
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Denied> {
    serde_json::to_vec(value)
        .map_err(|error| Denied::new(500, format!("the answer cannot be written as JSON: {error}")))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Denied> {
    serde_json::from_slice(body)
        .map(|Object(value)| value)
        .map_err(|error| Denied::new(400, format!("the body is not understood: {error}")))
}

fn absolute(field: &str, path: Option<&Path>) -> Result<(), Denied> {
    match path {
        Some(path) if !path.is_absolute() => Err(Denied::new(
            400,
            format!("{field} must be an absolute path: the daemon has a folder of its own"),
        )),
        _ => Ok(()),
    }
}

fn seed_request(body: &[u8]) -> Result<SeedRequest, Denied> {
    let request: SeedRequest = parse(body)?;
    absolute("path", Some(&request.path))?;
    Ok(request)
}

fn leech_request(body: &[u8]) -> Result<LeechRequest, Denied> {
    let request: LeechRequest = parse(body)?;
    if request.torrent_base64.is_some() == request.torrent_path.is_some() {
        return Err(Denied::new(400, "give either torrent_base64 or torrent_path"));
    }
    absolute("torrent_path", request.torrent_path.as_deref())?;
    absolute("output", request.output.as_deref())?;
    Ok(request)
}

/// Of /pause and /resume, where `delete_data` would be a misunderstanding.
fn torrent_request(body: &[u8]) -> Result<TorrentRequest, Denied> {
    let request: TorrentRequest = parse(body)?;
    if request.delete_data {
        return Err(Denied::new(400, "delete_data goes with /remove only"));
    }
    Ok(request)
}
