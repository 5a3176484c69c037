//! Answers the kernel: each call is handed on to the folder that has the files, unless it is to fail.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::nodes::{Nodes, Rules};
use super::wire::{Answer, BUFFER_LEN, MAX_WRITE_LEN, Request, op};

struct Server {
    nodes: Nodes,
    faults: PathBuf,
    open: HashMap<u64, (PathBuf, File)>,
    /// The names in open folders.
    listed: HashMap<u64, Vec<(u64, Vec<u8>)>>,
    next_handle: u64,
}

/// Serves what is in `backing` to whoever has mounted standard input, and fails as the file `faults` says. Comes back when
/// it is unmounted.
///
/// # Panics
/// If standard input is no `/dev/fuse`.
pub fn serve(backing: &Path, faults: &Path) {
    let kernel = File::from(rustix::io::dup(std::io::stdin()).unwrap());
    let mut server = Server {
        nodes: Nodes::new(&backing.canonicalize().unwrap()),
        faults: std::path::absolute(faults).unwrap(),
        open: HashMap::new(),
        listed: HashMap::new(),
        next_handle: 1,
    };
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = match rustix::io::read(&kernel, &mut buffer) {
            Ok(len) => len,
            // Taken back before it was read.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
            Err(_) => return,
        };
        let request = Request::parse(&buffer[..len]);
        // No answer is expected to these.
        if matches!(request.op, op::FORGET | op::BATCH_FORGET | op::INTERRUPT) {
            continue;
        }
        let answer = Answer::encode(server.answer(&request), &request);
        // Fails when whoever asked is gone.
        let _ = (&kernel).write(&answer);
    }
}

fn system(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn done(outcome: std::io::Result<()>) -> Result<Answer, Errno> {
    outcome.map(|()| Answer::default()).map_err(|error| system(&error))
}

fn look(path: &Path) -> Result<Metadata, Errno> {
    path.symlink_metadata().map_err(|error| system(&error))
}

impl Server {
    fn answer(&mut self, request: &Request<'_>) -> Result<Answer, Errno> {
        match request.op {
            op::INIT => {
                const BIG_WRITES: u32 = 1 << 5;
                // 12 requests in the background, of which 9 are many; times exact to the nanosecond; 32 pages a request.
                let background = 12 | 9 << 16;
                let numbers = [7, 31, MAX_WRITE_LEN, BIG_WRITES, background, MAX_WRITE_LEN, 1, 32];
                Ok(Answer::default().u32s(&numbers).u32s(&[0; 8]))
            }
            op::STATFS => self.room(),
            op::LOOKUP | op::MKDIR | op::CREATE | op::UNLINK | op::RMDIR => self.named(request),
            op::RENAME | op::RENAME2 => self.rename(request),
            op::GETATTR => {
                let path = self.judge("look", &self.nodes.path(request.node)?)?;
                self.attributes(request.node, &path)
            }
            op::SETATTR => self.set(request),
            op::OPEN => {
                let path = self.judge("open", &self.nodes.path(request.node)?)?;
                self.open(&path, File::options().read(true).write(true))
            }
            op::RELEASE => {
                self.open.remove(&request.u64(0));
                Ok(Answer::default())
            }
            op::READ | op::WRITE | op::FSYNC | op::FALLOCATE | op::LSEEK => self.file(request),
            op::OPENDIR | op::READDIR | op::RELEASEDIR | op::FSYNCDIR => self.folder(request),
            _ => Err(Errno::NOSYS),
        }
    }

    /// Gives the path back, if the call is not to fail.
    fn judge(&self, call: &str, path: &Path) -> Result<PathBuf, Errno> {
        Rules::judge(&self.faults, call, path).map(|_| path.to_owned())
    }

    fn room(&self) -> Result<Answer, Errno> {
        let room = rustix::fs::statvfs(&self.nodes.path(1)?)?;
        Ok(Answer::default()
            .u64s(&[room.f_blocks, room.f_bfree, room.f_bavail, room.f_files, room.f_ffree])
            .u32s(&[room.f_bsize as u32, 255, room.f_frsize as u32, 0])
            .u32s(&[0; 6]))
    }

    /// What is asked of a name in a folder.
    fn named(&mut self, request: &Request<'_>) -> Result<Answer, Errno> {
        let (call, at) = match request.op {
            op::LOOKUP => ("look", 0),
            op::MKDIR => ("make", 8),
            op::CREATE => ("make", 16),
            _ => ("write", 0),
        };
        let name = request.names(at)[0];
        let rules = Rules::read(&self.faults);
        let path = self.nodes.child(request.node, name, &rules)?;
        self.judge(call, &path)?;
        match request.op {
            op::LOOKUP => {}
            op::MKDIR => std::fs::create_dir(&path).map_err(|error| system(&error))?,
            op::CREATE => {
                let only_new = OFlags::from_bits_retain(request.u32(0)).contains(OFlags::EXCL);
                let mut options = File::options();
                options.read(true).write(true).create(true).create_new(only_new);
                let opened = self.open(&path, &options)?;
                let entry = self.entry(&path, (request.node, name), &rules)?;
                return Ok(entry.bytes(&opened.into_bytes()));
            }
            op::UNLINK => {
                self.nodes.forget(&path);
                return done(std::fs::remove_file(&path));
            }
            _ => {
                self.nodes.forget(&path);
                return done(std::fs::remove_dir(&path));
            }
        }
        self.entry(&path, (request.node, name), &rules)
    }

    /// A file that was found by this name in this folder.
    fn entry(&mut self, path: &Path, name: (u64, &[u8]), rules: &Rules) -> Result<Answer, Errno> {
        let (metadata, node) = (look(path)?, self.nodes.number(path, name, rules));
        Ok(Answer::default().entry(node, self.nodes.inode(node, &metadata), &metadata))
    }

    fn attributes(&self, node: u64, path: &Path) -> Result<Answer, Errno> {
        let metadata = look(path)?;
        let inode = self.nodes.inode(node, &metadata);
        Ok(Answer::default().u64s(&[0, 0]).attributes(inode, &metadata))
    }

    fn rename(&mut self, request: &Request<'_>) -> Result<Answer, Errno> {
        let at = if request.op == op::RENAME { 8 } else { 16 };
        let (names, rules) = (request.names(at), Rules::read(&self.faults));
        let from = self.nodes.child(request.node, names[0], &rules)?;
        let to = self.nodes.child(request.u64(0), names[1], &rules)?;
        self.judge("write", &from)?;
        self.nodes.forget(&from);
        self.nodes.forget(&to);
        done(std::fs::rename(&from, &to))
    }

    fn open(&mut self, path: &Path, how: &std::fs::OpenOptions) -> Result<Answer, Errno> {
        let file = how.open(path).map_err(|error| system(&error))?;
        let handle = self.next_handle;
        self.next_handle += 1;
        self.open.insert(handle, (path.to_owned(), file));
        Ok(Answer::default().opened(handle))
    }

    fn set(&self, request: &Request<'_>) -> Result<Answer, Errno> {
        const LEN: u32 = 8;
        const MTIME: u32 = 32;
        const MTIME_NOW: u32 = 256;
        let (valid, path) = (request.u32(0), self.nodes.path(request.node)?);
        self.judge("set", &path)?;
        let change = || -> std::io::Result<()> {
            if valid & LEN != 0 {
                File::options().write(true).open(&path)?.set_len(request.u64(16))?;
            }
            if valid & (MTIME | MTIME_NOW) == MTIME {
                let since = Duration::new(request.u64(40), request.u32(60));
                File::options().write(true).open(&path)?.set_modified(UNIX_EPOCH + since)?;
            } else if valid & MTIME_NOW != 0 {
                File::options().write(true).open(&path)?.set_modified(SystemTime::now())?;
            }
            Ok(())
        };
        change().map_err(|error| system(&error))?;
        self.attributes(request.node, &path)
    }

    /// What is asked of an open file.
    fn file(&self, request: &Request<'_>) -> Result<Answer, Errno> {
        let (path, file) = self.open.get(&request.u64(0)).ok_or(Errno::BADF)?;
        let call = match request.op {
            op::READ | op::LSEEK => "read",
            op::FSYNC => "sync",
            _ => "write",
        };
        self.judge(call, path)?;
        let offset = request.u64(8);
        let outcome = match request.op {
            op::READ => {
                let mut bytes = vec![0; request.u32(16) as usize];
                file.read_at(&mut bytes, offset).map(|len| Answer::default().bytes(&bytes[..len]))
            }
            op::WRITE => {
                let bytes = &request.rest(40)[..request.u32(16) as usize];
                file.write_all_at(bytes, offset).map(|()| Answer::default().u32s(&[bytes.len() as u32, 0]))
            }
            op::FALLOCATE => {
                let mode = FallocateFlags::from_bits_retain(request.u32(24));
                rustix::fs::fallocate(file, mode, offset, request.u64(16))?;
                Ok(Answer::default())
            }
            op::LSEEK => {
                const HOLE: u32 = 4;
                let whence = match request.u32(16) {
                    HOLE => SeekFrom::Hole(offset),
                    _ => SeekFrom::Data(offset),
                };
                Ok(Answer::default().u64s(&[rustix::fs::seek(file, whence)?]))
            }
            _ => file.sync_all().map(|()| Answer::default()),
        };
        outcome.map_err(|error| system(&error))
    }

    fn folder(&mut self, request: &Request<'_>) -> Result<Answer, Errno> {
        let path = self.nodes.path(request.node)?;
        match request.op {
            op::OPENDIR => {
                self.judge("open", &path)?;
                let entries = path.read_dir().map_err(|error| system(&error))?;
                let names = entries.flatten().map(|entry| {
                    let ino = entry.metadata().map_or(1, |metadata| metadata.ino());
                    (ino, entry.file_name().into_encoded_bytes())
                });
                let (names, handle) = (names.collect(), self.next_handle);
                self.next_handle += 1;
                self.listed.insert(handle, names);
                Ok(Answer::default().u64s(&[handle]).u32s(&[0, 0]))
            }
            op::READDIR => {
                self.judge("read", &path)?;
                let names = self.listed.get(&request.u64(0)).ok_or(Errno::BADF)?;
                let (from, room) = (request.u64(8), request.u32(16) as usize);
                let mut answer = Answer::default();
                for (number, (ino, name)) in names.iter().enumerate().skip(from as usize) {
                    if answer.len() + 32 + name.len() > room {
                        break;
                    }
                    answer = answer.name(number as u64 + 1, *ino, name);
                }
                Ok(answer)
            }
            op::RELEASEDIR => {
                self.listed.remove(&request.u64(0));
                Ok(Answer::default())
            }
            _ => {
                self.judge("sync", &path)?;
                Ok(Answer::default())
            }
        }
    }
}
