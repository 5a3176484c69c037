//! /torrents and what is below it, as JSON: the catalogue, read; and entries taken out.

use serde::Serialize;
use torrent_common::ids::InfoHash;

use super::answer::{Answer, Kind};
use super::entries::{self, Entry};
use crate::catalogue::CatalogueError;
use crate::shared::Shared;

/// Everything that is answered, described in OpenAPI 3.1. A test compares it with what is.
const API: &str = include_str!("../../openapi.json");

/// GET /openapi.json.
pub(super) fn api() -> Answer {
    Answer::asset(Kind::Json, API)
}

#[derive(Serialize)]
struct Page {
    torrents: Vec<Entry>,
    total: u64,
    offset: u64,
    limit: u32,
}

/// GET /torrents.
pub(super) fn list(shared: &Shared, query: &str) -> Answer {
    let search = match entries::search_of(query) {
        Ok(search) => search,
        Err(error) => return Answer::error(400, &error),
    };
    match entries::find(shared, &search) {
        Ok(found) => Answer::json(
            200,
            &Page { torrents: found.entries, total: found.total, offset: search.offset, limit: search.limit },
        ),
        Err(error) => failed("nothing can be listed at the moment", &error),
    }
}

#[derive(Serialize)]
struct Files {
    torrent: Entry,
    files: Vec<File>,
    total: u64,
    offset: u64,
    limit: u32,
}

#[derive(Serialize)]
struct File {
    path: String,
    size: u64,
}

/// GET /torrents/{info_hash}/files.
pub(super) fn files(shared: &Shared, info_hash: InfoHash, query: &str) -> Answer {
    let part = match entries::search_of(query) {
        Ok(part) => part,
        Err(error) => return Answer::error(400, &error),
    };
    let found = entries::entry(shared, info_hash)
        .and_then(|torrent| Ok((torrent, entries::files(shared, info_hash, part.offset, part.limit)?)));
    match found {
        Ok((Some(torrent), Some(list))) => {
            let files = list.files.into_iter().map(|file| File { path: file.path, size: file.size });
            Answer::json(
                200,
                &Files {
                    torrent,
                    files: files.collect(),
                    total: list.total,
                    offset: part.offset,
                    limit: part.limit,
                },
            )
        }
        Ok(_) => Answer::error(404, "no such torrent"),
        Err(error) => failed("nothing can be listed at the moment", &error),
    }
}

/// What the catalogue did not do is told in few words: who runs the tracker has read more of it.
pub(super) fn failed(what: &str, error: &CatalogueError) -> Answer {
    let (status, trouble) = trouble(error);
    Answer::error(status, &format!("{what}: {trouble}"))
}

/// A status, and words for strangers.
pub(super) fn trouble(error: &CatalogueError) -> (u16, String) {
    match error.trouble() {
        Some(trouble @ ("the disk is full" | "the catalogue is full")) => (507, trouble.to_owned()),
        Some(trouble) => (503, trouble.to_owned()),
        None => (503, error.to_string()),
    }
}

/// GET /torrents/{info_hash}.
pub(super) fn torrent(shared: &Shared, info_hash: InfoHash) -> Answer {
    match shared.catalogue.torrent(info_hash) {
        Ok(Some(bytes)) => Answer::torrent(info_hash, bytes),
        Ok(None) => Answer::error(404, "no such torrent"),
        Err(error) => failed("nothing can be read at the moment", &error),
    }
}

#[derive(Serialize)]
struct Removed {
    removed: InfoHash,
}

/// DELETE /torrents/{info_hash}: only with the token. The swarm lives on: ACCESS = deny ends it.
pub(super) fn remove(shared: &Shared, info_hash: InfoHash, token: Option<&str>) -> Answer {
    let Some(secret) = &shared.upload_token else {
        return Answer::error(403, "nothing is taken out: the tracker has no UPLOAD_TOKEN");
    };
    if !token.is_some_and(|token| secret.is(token.as_bytes())) {
        return Answer::error(403, "the tracker's UPLOAD_TOKEN is needed, in Authorization: Bearer");
    }
    match shared.catalogue.remove(info_hash) {
        Ok(true) => {
            log::info!("{info_hash} was taken out of the catalogue");
            Answer::json(200, &Removed { removed: info_hash })
        }
        Ok(false) => Answer::error(404, "no such torrent"),
        Err(error) => failed("nothing can be taken out at the moment", &error),
    }
}
