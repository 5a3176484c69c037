//! A disk for tests: it counts the calls that change it, fails from one of them on, and tells what a power cut after any of
//! them may leave: of what was not flushed, data, lengths, times and names may be missing in any subset.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;

use super::backend::{Backend, Call, Watcher};

/// Watches all that is below a folder.
#[derive(Debug)]
pub struct LossyDisk {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<Done>,
    /// Of these, what was there before anything was watched.
    first: usize,
    /// What there is now.
    names: BTreeMap<PathBuf, usize>,
    nodes: usize,
    /// Where the last entry's mtime is to be looked up, once its call was made.
    pending: Option<PathBuf>,
    calls: u64,
    fault: Option<Fault>,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which call that changes something, or flushes, is the first.
    pub from: u64,
    /// What it says: with [`Errno::NOSPC`] only what takes room fails, and the first write is done by half.
    pub errno: Errno,
}

/// What was done to the disk.
#[derive(Debug, Clone)]
enum Done {
    Make { path: PathBuf, node: usize, folder: bool },
    Write { node: usize, offset: usize, bytes: Vec<u8>, mtime_ns: i64 },
    SetLen { node: usize, len: usize, mtime_ns: i64 },
    Sync(usize),
    SyncFolder(PathBuf),
    SyncAll,
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

/// What a cut leaves of what was not flushed.
#[derive(Debug)]
pub enum Left {
    /// All: only the process was killed.
    All,
    /// Any subset.
    Some(fastrand::Rng),
}

impl LossyDisk {
    /// What is below `root` already is safe.
    pub fn new(root: &Path) -> Arc<Self> {
        let root = root.canonicalize().unwrap();
        let this = Arc::new(Self { root: root.clone(), state: Mutex::default() });
        let mut state = this.state.lock().unwrap();
        state.adopt(&root, &root);
        state.first = state.log.len();
        drop(state);
        this
    }

    /// To be used by what is tested.
    pub fn backend(self: &Arc<Self>) -> Backend {
        Backend::watched(Arc::<Self>::clone(self))
    }

    /// Fails from now on as told; `None`: is mended.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Calls so far that change something, or flush.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// As [`LossyDisk::now`] before anything was done.
    pub fn first(&self) -> usize {
        self.state.lock().unwrap().first
    }

    /// What was done so far: a number for [`LossyDisk::cut`].
    pub fn now(&self) -> usize {
        self.state.lock().unwrap().log.len()
    }

    /// Makes in `into`, an empty folder, what a cut after so many things done leaves.
    pub fn cut(&self, after: usize, left: &mut Left, into: &Path) {
        let mut state = self.state.lock().unwrap();
        state.settle(&self.root);
        let mut image = Image::default();
        for done in &state.log[..after] {
            image.take(done.clone());
        }
        image.lose(left);
        image.make(into);
    }

    fn relative(&self, folder: BorrowedFd<'_>, name: &OsStr) -> Option<PathBuf> {
        Some(self.path_of(folder)?.join(name))
    }

    /// `None` for what is elsewhere.
    fn path_of(&self, fd: BorrowedFd<'_>) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        path.strip_prefix(&self.root).map(Into::into).ok()
    }

    fn inside(&self, path: &Path) -> PathBuf {
        let folder = path.parent().unwrap().canonicalize().unwrap();
        folder.strip_prefix(&self.root).unwrap().join(path.file_name().unwrap())
    }

    /// What could not be flushed, the system may throw away: what is read then is what was there before.
    fn throw_away(&self, state: &State, path: &Path, node: usize) {
        let mut image = Image::default();
        state.log.iter().for_each(|done| image.take(done.clone()));
        image.lose(&mut Left::Some(fastrand::Rng::with_seed(state.calls)));
        let full = self.root.join(path);
        let Ok(file) = fs::File::options().write(true).open(&full) else { return };
        let (len, mtime) =
            (file.metadata().unwrap().len() as usize, file.metadata().unwrap().modified().unwrap());
        let mut content = image.nodes[&node].content.clone();
        content.resize(len, 0);
        file.write_all_at(&content, 0).unwrap();
        file.set_modified(mtime).unwrap();
    }
}

impl Watcher for LossyDisk {
    fn before(&self, call: &Call<'_>) -> Result<usize, Errno> {
        let mut state = self.state.lock().unwrap();
        state.settle(&self.root);
        let makes = matches!(call, Call::Open { create: true, .. } | Call::MakeFolder { .. });
        let takes_room = makes || matches!(call, Call::Write { .. } | Call::SetLen { .. });
        let changes = !matches!(call, Call::Read { .. } | Call::Open { create: false, .. });
        state.calls += u64::from(changes);
        let mut most = usize::MAX;
        if let Some(Fault { from, errno }) = state.fault
            && state.calls >= from
            && (takes_room || errno != Errno::NOSPC)
        {
            match call {
                Call::Write { bytes, .. } if state.calls == from && errno == Errno::NOSPC => {
                    most = bytes.first().map_or(0, |first| first.len() / 2);
                }
                _ => most = 0,
            }
            if most == 0 {
                if let Call::Sync { file } = call
                    && let Some(path) = self.path_of(*file)
                    && let Some(&node) = state.names.get(&path)
                    && self.root.join(&path).is_file()
                {
                    self.throw_away(&state, &path, node);
                }
                return Err(errno);
            }
        }
        self.note(&mut state, call, most);
        Ok(most)
    }
}

impl LossyDisk {
    fn note(&self, state: &mut State, call: &Call<'_>, most: usize) {
        match *call {
            Call::Open { folder, name, create: true } => {
                if let Some(path) = self.relative(folder, name).filter(|path| !state.names.contains_key(path))
                {
                    state.make(path, false);
                }
            }
            Call::MakeFolder { folder, name } => {
                if let Some(path) = self.relative(folder, name).filter(|path| !state.names.contains_key(path))
                {
                    state.make(path, true);
                }
            }
            Call::Write { file, bytes, offset } => {
                let Some((path, node)) = self.node_of(state, file) else { return };
                let mut all = bytes.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
                all.truncate(most);
                let len = || fs::metadata(self.root.join(&path)).unwrap().len();
                let offset = offset.unwrap_or_else(len) as usize;
                state.log.push(Done::Write { node, offset, bytes: all, mtime_ns: 0 });
                state.pending = Some(path);
            }
            Call::SetLen { file, len } => {
                let Some((path, node)) = self.node_of(state, file) else { return };
                state.log.push(Done::SetLen { node, len: len as usize, mtime_ns: 0 });
                state.pending = Some(path);
            }
            Call::Sync { file } => match self.path_of(file) {
                Some(path) if self.root.join(&path).is_dir() => state.log.push(Done::SyncFolder(path)),
                Some(path) => state.log.extend(state.names.get(&path).copied().map(Done::Sync)),
                None => {}
            },
            Call::SyncAll => state.log.push(Done::SyncAll),
            Call::Rename { from, to } => {
                let (from, to) = (self.inside(from), self.inside(to));
                if let Some(node) = state.names.remove(&from) {
                    state.names.insert(to.clone(), node);
                }
                state.log.push(Done::Rename { from, to });
            }
            Call::Remove { folder, name } => {
                if let Some(path) = self.relative(folder, name)
                    && state.names.remove(&path).is_some()
                {
                    state.log.push(Done::Remove(path));
                }
            }
            Call::Open { .. } | Call::Read { .. } => {}
        }
    }

    fn node_of(&self, state: &State, file: BorrowedFd<'_>) -> Option<(PathBuf, usize)> {
        let path = self.path_of(file)?;
        let node = *state.names.get(&path)?;
        Some((path, node))
    }
}

impl State {
    fn make(&mut self, path: PathBuf, folder: bool) -> usize {
        let node = self.nodes;
        self.nodes += 1;
        self.names.insert(path.clone(), node);
        self.log.push(Done::Make { path, node, folder });
        node
    }

    /// Enters what is there before anything is watched.
    fn adopt(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let node = self.make(path.strip_prefix(root).unwrap().into(), path.is_dir());
            if path.is_dir() {
                self.adopt(root, &path);
            } else {
                let mtime_ns = mtime_ns(&path).unwrap();
                self.log.push(Done::Write { node, offset: 0, bytes: fs::read(&path).unwrap(), mtime_ns });
            }
        }
        self.log.push(Done::SyncAll);
    }

    /// The last call was made: looks what mtime it left.
    fn settle(&mut self, root: &Path) {
        let Some(path) = self.pending.take() else { return };
        let Some(now) = mtime_ns(&root.join(path)) else { return };
        if let Some(Done::Write { mtime_ns, .. } | Done::SetLen { mtime_ns, .. }) = self.log.last_mut() {
            *mtime_ns = now;
        }
    }
}

fn mtime_ns(path: &Path) -> Option<i64> {
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec())
}

/// What is on the device, and what is still to go there.
#[derive(Debug, Default)]
struct Image {
    names: BTreeMap<PathBuf, usize>,
    nodes: BTreeMap<usize, Node>,
    renames: Vec<Done>,
    /// As it looks to processes.
    seen: BTreeMap<PathBuf, usize>,
}

#[derive(Debug, Default)]
struct Node {
    folder: bool,
    content: Vec<u8>,
    mtime_ns: i64,
    unsynced: Vec<Done>,
}

impl Node {
    fn apply(&mut self, done: &Done) {
        match done {
            Done::Write { offset, bytes, mtime_ns, .. } => {
                let end = (offset + bytes.len()).max(self.content.len());
                self.content.resize(end, 0);
                self.content[*offset..*offset + bytes.len()].copy_from_slice(bytes);
                self.mtime_ns = *mtime_ns;
            }
            Done::SetLen { len, mtime_ns, .. } => {
                self.content.resize(*len, 0);
                self.mtime_ns = *mtime_ns;
            }
            _ => {}
        }
    }

    fn sync(&mut self) {
        for done in std::mem::take(&mut self.unsynced) {
            self.apply(&done);
        }
    }

    fn lose(&mut self, random: &mut fastrand::Rng, kept: f64) {
        let (len_before, mut times) = (self.content.len(), vec![self.mtime_ns]);
        for mut done in std::mem::take(&mut self.unsynced) {
            if let Done::Write { mtime_ns, .. } | Done::SetLen { mtime_ns, .. } = &done {
                times.push(*mtime_ns);
            }
            if random.f64() < kept {
                if let Done::Write { bytes, .. } = &mut done
                    && random.u8(..4) == 0
                {
                    bytes.truncate(bytes.len() / 2);
                }
                self.apply(&done);
            }
        }
        if random.f64() >= kept {
            self.content.resize(len_before, 0);
        }
        self.mtime_ns = times[random.usize(..times.len())];
    }
}

impl Image {
    fn take(&mut self, done: Done) {
        match done {
            Done::Make { ref path, node, folder } => {
                self.nodes.insert(node, Node { folder, ..Node::default() });
                self.seen.insert(path.clone(), node);
                self.renames.push(done);
            }
            Done::Write { node, .. } | Done::SetLen { node, .. } => {
                self.nodes.get_mut(&node).unwrap().unsynced.push(done);
            }
            Done::Sync(node) => self.nodes.get_mut(&node).unwrap().sync(),
            Done::SyncFolder(folder) => {
                let (now, later) = std::mem::take(&mut self.renames)
                    .into_iter()
                    .partition(|done| path_of(done).parent() == Some(&folder));
                self.renames = later;
                let now: Vec<Done> = now;
                now.iter().for_each(|done| self.rename(done));
            }
            Done::SyncAll => {
                for done in std::mem::take(&mut self.renames) {
                    self.rename(&done);
                }
                self.nodes.values_mut().for_each(Node::sync);
            }
            Done::Rename { ref from, ref to } => {
                let node = self.seen.remove(from).unwrap();
                self.seen.insert(to.clone(), node);
                // Whether its own name got there or not: what is renamed is the file.
                self.renames.push(Done::Remove(from.clone()));
                self.renames.push(Done::Make { path: to.clone(), node, folder: false });
            }
            Done::Remove(ref path) => {
                self.seen.remove(path);
                self.renames.push(done);
            }
        }
    }

    fn rename(&mut self, done: &Done) {
        match done {
            Done::Make { path, node, .. } => drop(self.names.insert(path.clone(), *node)),
            Done::Remove(path) => drop(self.names.remove(path)),
            _ => {}
        }
    }

    fn lose(&mut self, left: &mut Left) {
        let Left::Some(random) = left else {
            return self.take(Done::SyncAll);
        };
        let kept = [0.0, 0.3, 0.5, 0.8, 0.97][random.usize(..5)];
        for done in std::mem::take(&mut self.renames) {
            if random.f64() < kept {
                self.rename(&done);
            }
        }
        self.nodes.values_mut().for_each(|node| node.lose(random, kept));
    }

    /// A folder comes before what is in it; what is in none is lost.
    fn make(&self, into: &Path) {
        for (path, node) in &self.names {
            let (path, node) = (into.join(path), &self.nodes[node]);
            if !path.parent().unwrap().is_dir() {
                continue;
            }
            if node.folder {
                fs::create_dir(&path).unwrap();
                continue;
            }
            fs::write(&path, &node.content).unwrap();
            let mtime = UNIX_EPOCH + Duration::from_nanos(node.mtime_ns.unsigned_abs());
            fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
        }
    }
}

fn path_of(done: &Done) -> &Path {
    match done {
        Done::Make { path, .. } | Done::Remove(path) => path,
        _ => Path::new("/"),
    }
}
