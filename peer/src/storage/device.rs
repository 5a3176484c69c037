//! What kind of disk a path is on, and so how to read it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use torrent_common::config::CheckReads;
use torrent_common::hash::ReadOrder;

/// How to read what is below `path`. Without a wish of the user: in order from disks that rotate, since they seek for
/// longer than they read, and from everywhere at once otherwise, which is also what networks like.
pub fn read_order(setting: CheckReads, path: &Path) -> ReadOrder {
    match setting {
        CheckReads::Auto if rotates(path) => ReadOrder::Sequential,
        CheckReads::Auto | CheckReads::Parallel => ReadOrder::Parallel,
        CheckReads::Sequential => ReadOrder::Sequential,
    }
}

/// Whether the kernel says so; false where it says nothing.
fn rotates(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let device = match rustix::fs::major(metadata.dev()) {
        // No device of its own: memory, a network, or a file system such as btrfs, whose mount knows the device.
        0 => device_of_mount(path),
        _ => Some(metadata.dev()),
    };
    device.is_some_and(|device| device_rotates(Path::new("/sys/dev/block"), device))
}

/// A partition has no queue of its own: its disk is the folder above.
fn device_rotates(blocks: &Path, device: u64) -> bool {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let queues = ["queue/rotational", "../queue/rotational"];
    let said = queues.into_iter().find_map(|queue| fs::read(blocks.join(&device).join(queue)).ok());
    said.is_some_and(|said| said.starts_with(b"1"))
}

/// The device that is mounted where `path` is.
fn device_of_mount(path: &Path) -> Option<u64> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = source_of_mount(&mounts, found.stx_mnt_id).filter(|source| source.starts_with("/dev/"))?;
    Some(fs::metadata(source).ok()?.rdev())
}

/// What the mount of this number is of: see proc_pid_mountinfo(5).
fn source_of_mount(mounts: &str, id: u64) -> Option<&str> {
    let id = id.to_string();
    let mount = mounts.lines().find(|line| line.split(' ').next() == Some(&id))?;
    mount.split_once(" - ")?.1.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_decides_if_they_want_to() {
        let memory = Path::new("/proc");
        let decided = [CheckReads::Auto, CheckReads::Parallel, CheckReads::Sequential];
        let expected = [ReadOrder::Parallel, ReadOrder::Parallel, ReadOrder::Sequential];
        assert_eq!(decided.map(|setting| read_order(setting, memory)), expected);
        assert_eq!(read_order(CheckReads::Auto, Path::new("/nowhere")), ReadOrder::Parallel);
    }

    #[test]
    fn a_disk_or_the_disk_of_a_partition_says_whether_it_rotates() {
        let blocks = tempfile::tempdir().unwrap();
        for (queue, said) in [("8:0/queue", "1\n"), ("8:16/queue", "0\n"), ("disk/queue", "1\n")] {
            fs::create_dir_all(blocks.path().join(queue)).unwrap();
            fs::write(blocks.path().join(queue).join("rotational"), said).unwrap();
        }
        fs::create_dir(blocks.path().join("disk/part")).unwrap();
        std::os::unix::fs::symlink("disk/part", blocks.path().join("8:1")).unwrap();
        let rotates = |minor| device_rotates(blocks.path(), rustix::fs::makedev(8, minor));
        assert_eq!([0, 1, 16, 32].map(rotates), [true, true, false, false]);
    }

    #[test]
    fn a_mount_names_its_device() {
        let mounts = "21 1 0:19 / /sys rw,nosuid shared:2 - sysfs sysfs rw\n\
                      22 1 0:41 /@ / rw,noatime shared:1 - btrfs /dev/sda2 rw,space_cache=v2\n";
        assert_eq!(source_of_mount(mounts, 22), Some("/dev/sda2"));
        assert_eq!(source_of_mount(mounts, 21), Some("sysfs"));
        assert_eq!(source_of_mount(mounts, 2), None);
        let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let found = rustix::fs::statx(CWD, "/proc", AtFlags::empty(), StatxFlags::MNT_ID).unwrap().stx_mnt_id;
        assert_eq!(source_of_mount(&own, found), Some("proc"));
    }
}
