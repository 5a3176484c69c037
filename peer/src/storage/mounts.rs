//! Which disk a path is on, by its name alone: a disk that does not answer is not asked.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Links that are followed in a path.
const MAX_LINKS: usize = 40;
/// File systems that answer as long as the machine does, and have no device below /dev.
const STEADY: [&str; 6] = ["tmpfs", "ramfs", "rootfs", "overlay", "btrfs", "zfs"];

/// The device that a path is on, as far as its name tells: a number, the same for all of one file system. Links are
/// followed, but not on file systems that may hang (those of networks, and FUSE).
pub fn device_of(path: &Path) -> u64 {
    Mounts::now().device_of(path, |link| fs::read_link(link).ok())
}

/// The same by the path's name alone, as if nothing in it was a link: no disk is asked.
pub fn device_by_name(path: &Path) -> u64 {
    Mounts::now().device_by_name(path)
}

/// One mount.
#[derive(Debug, Clone, Copy)]
struct Mount {
    device: u64,
    /// To look at it takes no time.
    steady: bool,
}

/// All mounts, by where they are.
struct Mounts(HashMap<PathBuf, Mount>);

impl Mounts {
    fn now() -> Self {
        Self::parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// See proc_pid_mountinfo(5). Of two in one place the later hides the other.
    fn parse(mounts: &[u8]) -> Self {
        let lines = mounts.split(|&byte| byte == b'\n');
        Self(lines.filter_map(parse_line).collect())
    }

    fn device_of(&self, path: &Path, read_link: impl Fn(&Path) -> Option<PathBuf>) -> u64 {
        let nowhere = Mount { device: 0, steady: true };
        let root = self.0.get(Path::new("/")).copied().unwrap_or(nowhere);
        let (mut at, mut rest, mut links) = (PathBuf::from("/"), VecDeque::new(), 0);
        push_front(&mut rest, path);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(&name);
            if !self.holding(&at).unwrap_or(root).steady || links >= MAX_LINKS {
                continue;
            }
            if let Some(target) = read_link(&at) {
                links += 1;
                at.pop();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                push_front(&mut rest, &target);
            }
        }
        self.holding(&at).unwrap_or(root).device
    }

    fn device_by_name(&self, path: &Path) -> u64 {
        self.device_of(path, |_| None)
    }

    /// The mount that a path without links is on.
    fn holding(&self, path: &Path) -> Option<Mount> {
        path.ancestors().find_map(|folder| self.0.get(folder)).copied()
    }
}

/// Puts the names of a path before those that are there.
fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.into()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(PathBuf, Mount)> {
    let mut words = line.split(|&byte| byte == b' ');
    let device = str::from_utf8(words.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let place = PathBuf::from(OsString::from_vec(unescape(words.nth(1)?)));
    let mut words = words.skip_while(|&word| word != b"-").skip(1);
    let (kind, source) = (words.next()?, words.next()?);
    let steady = STEADY.iter().any(|steady| OsStr::from_bytes(kind) == *steady)
        || source.starts_with(b"/dev/") && !kind.starts_with(b"fuse");
    Some((place, Mount { device, steady }))
}

/// Space, tab, line end and backslash stand there as three octal digits.
fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = escaped;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let octal = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(octal) => {
                plain.push(octal);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        9 1 8:9 / /mnt/usb rw - ext4 /dev/sdz rw\n\
        2 1 0:40 / /mnt/nfs rw shared:1 - nfs4 server:/data rw\n\
        3 1 8:2 / /mnt/with\\040space rw - xfs /dev/sdb rw\n\
        4 1 0:41 / /mnt/nfs/inner rw - tmpfs none rw\n\
        5 1 8:17 / /mnt/usb rw - fuseblk /dev/sdc1 rw\n";

    fn device(path: &str) -> (u32, u32) {
        let link = |at: &Path| {
            let links = [("/home/me/far", "/mnt/nfs/x"), ("/home/me/near", "../you"), ("/loop", "/loop")];
            // What is asked of a disk that may hang fails the test.
            assert!(
                !["/mnt/nfs/", "/mnt/usb/"].iter().any(|slow| at.starts_with(slow))
                    || at.starts_with("/mnt/nfs/inner")
            );
            links.iter().find(|(from, _)| at == Path::new(from)).map(|(_, to)| PathBuf::from(to))
        };
        let device = Mounts::parse(MOUNTS).device_of(Path::new(path), link);
        (rustix::fs::major(device), rustix::fs::minor(device))
    }

    #[test]
    fn a_path_is_on_the_innermost_mount_and_links_lead_there() {
        assert_eq!(device("/home/me/downloads"), (8, 1));
        assert_eq!(device("/mnt/nfs"), (0, 40));
        assert_eq!(device("/mnt/nfs/deep/down"), (0, 40));
        assert_eq!(device("/mnt/nfs-not"), (8, 1));
        assert_eq!(device("/mnt/nfs/inner/x"), (0, 41));
        assert_eq!(device("/mnt/with space/x"), (8, 2));
        assert_eq!(device("/mnt/usb/x"), (8, 17), "what is under it is hidden");
        assert_eq!(device("/home/me/far/more"), (0, 40));
        assert_eq!(device("/home/me/near/x"), (8, 1));
        assert_eq!(device("/home/me/near/../../mnt/nfs"), (0, 40), "the parent of where it leads");
        assert_eq!(device("/loop/x"), (8, 1));
    }

    #[test]
    fn a_path_is_told_by_its_name_without_asking() {
        let device = Mounts::parse(MOUNTS).device_by_name(Path::new("/home/me/far/more"));
        assert_eq!((rustix::fs::major(device), rustix::fs::minor(device)), (8, 1));
    }

    #[test]
    fn a_real_path_is_on_its_real_device() {
        let folder = tempfile::tempdir().unwrap();
        let real = rustix::fs::stat(folder.path()).unwrap().st_dev;
        std::os::unix::fs::symlink("/proc", folder.path().join("elsewhere")).unwrap();
        let proc = rustix::fs::stat("/proc").unwrap().st_dev;
        assert_eq!(device_of(&folder.path().join("elsewhere/self")), proc);
        // Subvolumes of btrfs have device numbers that their mount does not tell.
        let known = device_of(folder.path());
        assert!(known == real || rustix::fs::major(known) == 0, "{known} {real}");
        assert_eq!(device_by_name(&folder.path().join("elsewhere/self")), known, "no link is asked");
    }
}
