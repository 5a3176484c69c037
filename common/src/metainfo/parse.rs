//! From the bytes of a torrent file to a validated [`Metainfo`].

use super::Metainfo;
use crate::geometry::GeometryError;

/// What a torrent file may cost. The defaults admit 1 TiB in 500,000 files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetainfoLimits {
    /// The longest torrent file, in bytes.
    pub max_len: usize,
    /// The most files.
    pub max_files: usize,
    /// Block length of the geometry made, in bytes.
    pub block_len: u32,
}

/// Why a torrent file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// Sizes that no torrent can have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

impl Metainfo {
    /// Parses and validates a torrent file.
    ///
    /// # Errors
    /// [`MetainfoError`] says what is wrong, in words for the user.
    pub fn parse(bytes: &[u8], limits: &MetainfoLimits) -> Result<Self, MetainfoError> {
        todo!()
    }
}
