//! The torrent file's bytes.

use serde::Serialize;
use serde_bytes::Bytes;

use super::walk::Payload;
use super::{CreateError, CreateOptions};

#[derive(Serialize)]
struct Torrent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    announce: Option<&'a str>,
    #[serde(rename = "announce-list", skip_serializing_if = "Option::is_none")]
    announce_list: Option<&'a [Vec<String>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(rename = "created by")]
    created_by: &'static str,
    #[serde(rename = "creation date", skip_serializing_if = "Option::is_none")]
    creation_date: Option<i64>,
    encoding: &'static str,
    info: Info<'a>,
}

/// Only what BEP 3 and BEP 27 name: every other key would make another info-hash of the same data.
#[derive(Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    name: &'a str,
    #[serde(rename = "piece length")]
    piece_length: u64,
    pieces: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<u8>,
}

#[derive(Serialize)]
struct File<'a> {
    length: u64,
    path: Vec<&'a str>,
}

pub(super) fn encode(
    options: &CreateOptions,
    payload: &Payload,
    piece_len: u64,
    hashes: &[[u8; 20]],
) -> Result<Vec<u8>, CreateError> {
    let files = payload.files.iter();
    let files = files.map(|file| File { length: file.stamp.len, path: file.relative.split('/').collect() });
    let announce = options.trackers.iter().flatten().next();
    let several = options.trackers.iter().flatten().nth(1).is_some();
    let torrent = Torrent {
        announce: announce.map(String::as_str),
        announce_list: several.then_some(&options.trackers),
        comment: options.comment.as_deref(),
        created_by: concat!("torrent-seed ", env!("CARGO_PKG_VERSION")),
        creation_date: options.creation_date_s,
        encoding: "UTF-8",
        info: Info {
            files: (!payload.is_file()).then(|| files.collect()),
            length: payload.is_file().then_some(payload.total_len),
            name: &payload.name,
            piece_length: piece_len,
            pieces: Bytes::new(hashes.as_flattened()),
            private: options.private.then_some(1),
        },
    };
    serde_bencode::to_bytes(&torrent).map_err(|error| CreateError::Encode(error.to_string()))
}
