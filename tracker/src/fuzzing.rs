//! Doors for the fuzz targets (`tests/src/fuzz`): what strangers' bytes come to in this crate that no other crate can call.
//! No part of its interface.
#![allow(missing_docs, reason = "for the fuzz targets alone")]

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use torrent_common::announce::udp::ConnectionId;
use torrent_common::config::TrackerConfig;

use crate::announce::Desk;
use crate::catalogue::Catalogue;
use crate::http::multipart::{Form, boundary};
use crate::shared::Shared;
use crate::udp::{Clerk, ConnectionIds};

/// The fields of an upload's body; `None` if it is no form.
pub fn form<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<(&'a str, &'a [u8])>> {
    let form = Form::parse(body, boundary(content_type).ok()?).ok()?;
    Some(form.fields().to_vec())
}

/// What answers packets, with nothing behind it but memory and an empty catalogue.
pub struct Packets {
    shared: Arc<Shared>,
    ids: Arc<ConnectionIds>,
    _folder: tempfile::TempDir,
}

/// A tracker that knew nobody when it began.
pub struct Session {
    clerk: Clerk,
    ids: Arc<ConnectionIds>,
    began_s: u32,
}

impl Packets {
    pub fn new(config: &TrackerConfig) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let catalogue = Catalogue::open(
            &folder.path().join("catalogue.db"),
            &folder.path().join("torrents"),
            config.max_torrent_len,
            0,
            Arc::default(),
        )?;
        let desk = Desk::new(config, &mut fastrand::Rng::with_seed(1));
        let shared = Arc::new(Shared::new(config, desk, catalogue, Arc::default(), None));
        Ok(Self { shared, ids: Arc::new(ConnectionIds::new()?), _folder: folder })
    }

    /// Begins anew. There is one session at a time.
    pub fn session(&mut self, config: &TrackerConfig) -> Session {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.desk = Desk::new(config, &mut fastrand::Rng::with_seed(1));
        }
        let mut clerk = Clerk::new(Arc::clone(&self.shared), Arc::clone(&self.ids));
        clerk.begin();
        Session { clerk, ids: Arc::clone(&self.ids), began_s: self.shared.clock.now_s() }
    }
}

impl Session {
    /// An id that is good at this address.
    pub fn id(&self, ip: IpAddr) -> ConnectionId {
        self.ids.give(ip.to_canonical(), self.began_s)
    }

    pub fn answer(&mut self, packet: &[u8], from: SocketAddr) -> Vec<u8> {
        let mut answer = Vec::new();
        self.clerk.answer(packet, from, &mut answer);
        answer
    }
}
