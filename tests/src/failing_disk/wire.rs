//! What the kernel and a file system in user space say to each other (linux/fuse.h, version 7.31), as far as it is used.

use std::os::unix::fs::MetadataExt;

/// Bytes before each request, and before each answer.
const REQUEST_HEADER_LEN: usize = 40;
const ANSWER_HEADER_LEN: usize = 16;

/// The most that is written with one request, in bytes.
pub const MAX_WRITE_LEN: u32 = 128 * 1024;
/// A buffer for any request.
pub const BUFFER_LEN: usize = 256 * 1024;

/// What is asked.
pub mod op {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
}

/// One question of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Which of [`op`].
    pub op: u32,
    /// To be repeated in the answer.
    pub unique: u64,
    /// What it is about.
    pub node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads one.
    pub fn parse(bytes: &'a [u8]) -> Self {
        let header = Request { op: 0, unique: 0, node: 0, body: bytes };
        Self {
            op: header.u32(4),
            unique: header.u64(8),
            node: header.u64(16),
            body: &bytes[REQUEST_HEADER_LEN..],
        }
    }

    /// A number at this byte of the body.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    /// A number at this byte of the body.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.body[at..at + 8].try_into().unwrap())
    }

    /// The names that begin at this byte, each with a zero at its end.
    pub fn names(&self, at: usize) -> Vec<&'a [u8]> {
        self.rest(at).split(|&byte| byte == 0).collect()
    }

    /// All from this byte on.
    pub fn rest(&self, at: usize) -> &'a [u8] {
        &self.body[at..]
    }
}

/// An answer under way.
#[derive(Debug, Default)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// Adds numbers of 4 bytes.
    pub fn u32s(mut self, numbers: &[u32]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
        self
    }

    /// Adds numbers of 8 bytes.
    pub fn u64s(mut self, numbers: &[u64]) -> Self {
        numbers.iter().for_each(|number| self.0.extend(number.to_le_bytes()));
        self
    }

    /// Adds bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Adds what a file is (`fuse_attr`).
    pub fn attributes(self, inode: u64, metadata: &std::fs::Metadata) -> Self {
        let time = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let nanoseconds = |part: i64| u32::try_from(part).unwrap_or(0);
        self.u64s(&[inode, metadata.size(), metadata.blocks()])
            .u64s(&[time(metadata.atime()), time(metadata.mtime()), time(metadata.ctime())])
            .u32s(&[
                nanoseconds(metadata.atime_nsec()),
                nanoseconds(metadata.mtime_nsec()),
                nanoseconds(metadata.ctime_nsec()),
                metadata.mode(),
                metadata.nlink() as u32,
                0,
                0,
                0,
                4096,
                0,
            ])
    }

    /// Adds a node and what it is (`fuse_entry_out`), neither to be remembered by the kernel.
    pub fn entry(self, node: u64, inode: u64, metadata: &std::fs::Metadata) -> Self {
        self.u64s(&[node, 0, 0, 0]).u32s(&[0, 0]).attributes(inode, metadata)
    }

    /// Adds an open file (`fuse_open_out`), read and written without the kernel's cache.
    pub fn opened(self, handle: u64) -> Self {
        const DIRECT_IO: u32 = 1;
        self.u64s(&[handle]).u32s(&[DIRECT_IO, 0])
    }

    /// Adds a name of a folder (`fuse_dirent`), the next of which is asked for by `next`.
    pub fn name(self, next: u64, ino: u64, name: &[u8]) -> Self {
        let padding = name.len().next_multiple_of(8) - name.len();
        self.u64s(&[ino, next]).u32s(&[name.len() as u32, 0]).bytes(name).bytes(&[0; 8][..padding])
    }

    /// What it holds.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The answer to `request` as it is sent.
    pub fn encode(outcome: Result<Self, rustix::io::Errno>, request: &Request<'_>) -> Vec<u8> {
        let (error, body) = match outcome {
            Ok(answer) => (0, answer.0),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let len = (ANSWER_HEADER_LEN + body.len()) as u32;
        let mut bytes = Self::default().u32s(&[len, error.cast_unsigned()]).u64s(&[request.unique]).0;
        bytes.extend(body);
        bytes
    }
}
