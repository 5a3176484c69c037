//! Numbers for the files of a disk, and which of them fail.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

/// The disk's own folder.
const ROOT: u64 = 1;
/// Between two looks whether a call still hangs.
const LOOK: Duration = Duration::from_millis(10);

/// What is known of the disk's files, by numbers that the kernel uses.
#[derive(Debug)]
pub struct Nodes {
    paths: HashMap<u64, PathBuf>,
    numbers: HashMap<PathBuf, u64>,
    /// Of spellings, not of files.
    spelled: HashSet<u64>,
    next: u64,
}

impl Nodes {
    /// Nothing but the folder that has the files.
    pub fn new(backing: &Path) -> Self {
        let paths = HashMap::from([(ROOT, backing.to_owned())]);
        let numbers = HashMap::from([(backing.to_owned(), ROOT)]);
        Self { paths, numbers, spelled: HashSet::new(), next: ROOT + 1 }
    }

    /// Where a node's file is.
    pub fn path(&self, node: u64) -> Result<PathBuf, Errno> {
        self.paths.get(&node).cloned().ok_or(Errno::STALE)
    }

    /// The number of a file which was found by this name in this folder.
    pub fn number(&mut self, path: &Path, (folder, name): (u64, &[u8]), rules: &Rules) -> u64 {
        let key = if rules.spelled {
            Path::new(&folder.to_string()).join(OsStr::from_bytes(name))
        } else {
            path.to_owned()
        };
        *self.numbers.entry(key).or_insert_with(|| {
            let number = self.next;
            self.next += 1;
            self.paths.insert(number, path.to_owned());
            self.spelled.extend(rules.spelled.then_some(number));
            number
        })
    }

    /// What a node has for an inode number.
    pub fn inode(&self, node: u64, metadata: &Metadata) -> u64 {
        if self.spelled.contains(&node) { node } else { metadata.ino() }
    }

    /// A name is gone: another file of the same name is another node.
    pub fn forget(&mut self, path: &Path) {
        self.numbers.retain(|_, number| self.paths.get(number).is_none_or(|known| known != path));
    }

    /// A file in a folder, as the disk's rules for names have it.
    pub fn child(&self, folder: u64, name: &[u8], rules: &Rules) -> Result<PathBuf, Errno> {
        let (folder, name) = (self.path(folder)?, OsStr::from_bytes(name));
        if name.len() > rules.longest_name {
            return Err(Errno::NAMETOOLONG);
        }
        let same =
            |entry: std::fs::DirEntry| entry.file_name().eq_ignore_ascii_case(name).then(|| entry.path());
        let there = match rules.caseless {
            true => folder.read_dir().ok().and_then(|all| all.flatten().find_map(same)),
            false => None,
        };
        Ok(there.unwrap_or_else(|| folder.join(name)))
    }
}

/// What fails, and which names there may be.
#[derive(Debug)]
pub struct Rules {
    /// Bytes.
    pub longest_name: usize,
    /// Upper and lower case are the same.
    pub caseless: bool,
    /// Every spelling of a name has an inode of its own.
    pub spelled: bool,
    faults: Vec<Vec<String>>,
}

impl Rules {
    /// As the test says now.
    pub fn read(from: &Path) -> Self {
        let text = std::fs::read_to_string(from).unwrap_or_default();
        let lines: Vec<Vec<String>> = text
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
            .collect();
        let longest = lines.iter().find(|words| words[0] == "names").map(|words| words[1].parse().unwrap());
        Self {
            longest_name: longest.unwrap_or(255),
            caseless: lines.iter().any(|words| words[0] == "caseless"),
            spelled: lines.iter().any(|words| words.join(" ") == "caseless spelled"),
            faults: lines,
        }
    }

    fn fault(&self, call: &str, path: &Path) -> Option<&str> {
        let concerns = |words: &&Vec<String>| {
            [call, "any"].contains(&words[0].as_str())
                && words.get(2).is_none_or(|end| path.to_string_lossy().ends_with(end.as_str()))
        };
        self.faults.iter().find(concerns).map(|words| words[1].as_str())
    }

    /// What this call comes to; comes back when it hangs no more.
    pub fn judge(from: &Path, call: &str, path: &Path) -> Result<Self, Errno> {
        loop {
            let rules = Self::read(from);
            match rules.fault(call, path) {
                None => return Ok(rules),
                Some("HANG") => std::thread::sleep(LOOK),
                Some("EIO") => return Err(Errno::IO),
                Some("EDQUOT") => return Err(Errno::DQUOT),
                Some("ENOSPC") => return Err(Errno::NOSPC),
                Some("EROFS") => return Err(Errno::ROFS),
                Some("EACCES") => return Err(Errno::ACCESS),
                Some("EINVAL") => return Err(Errno::INVAL),
                Some(other) => panic!("no such error: {other}"),
            }
        }
    }
}
