//! Files that are files. A path from a user or a configuration may name a pipe or a device by mistake: opening one can wait for ever,
//! and its end may never come, so that nothing else would be answered.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, major, minor};

/// The longest configuration file, in bytes.
const MAX_TEXT_LEN: u64 = 1 << 20;
/// The number of `/dev/null` on Linux.
const NULL: (u32, u32) = (1, 3);

/// Opens a file to read it, without waiting for anything but the disk.
///
/// # Errors
/// The system's; [`ErrorKind::InvalidInput`] for what is no regular file, in words for the user.
pub fn open(path: &Path) -> io::Result<File> {
    let file = open_anything(path)?;
    check(&file)?;
    Ok(file)
}

/// The text of a file of up to 1 MiB. `/dev/null` is an empty one, as everywhere.
///
/// # Errors
/// As of [`open`]; and [`ErrorKind::InvalidData`] if it is no UTF-8, or too long.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let file = open_anything(path)?;
    let device = file.metadata()?.rdev();
    if (major(device), minor(device)) != NULL {
        check(&file)?;
    }
    let mut text = String::new();
    file.take(MAX_TEXT_LEN + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT_LEN {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is over 1 MiB"));
    }
    Ok(text)
}

/// Whether there is something at a path that is no regular file. Links are followed.
pub fn is_other(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// A pipe that nobody writes to is opened at once, and so is a terminal, which does not become ours.
fn open_anything(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

fn check(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "it is a folder, not a file",
        () if kind.is_fifo() => "it is a pipe, not a file",
        () => "it is a device, not a file",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn only_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::write(&file, "text").unwrap();
        let linked = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &linked).unwrap();
        for (path, expected) in [
            (pipe.as_path(), "it is a pipe, not a file"),
            (&linked, "it is a pipe, not a file"),
            (folder.path(), "it is a folder, not a file"),
            (Path::new("/dev/zero"), "it is a device, not a file"),
        ] {
            assert_eq!(open(path).unwrap_err().to_string(), expected);
            assert_eq!(read_to_string(path).unwrap_err().to_string(), expected);
            assert!(is_other(path));
        }
        assert_eq!(open(Path::new("/dev/null")).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(read_to_string(Path::new("/dev/null")).unwrap(), "");
        assert_eq!(read_to_string(&file).unwrap(), "text");
        assert!(open(&file).is_ok() && !is_other(&file));
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        File::create(&file).unwrap().set_len(MAX_TEXT_LEN + 1).unwrap();
        assert_eq!(read_to_string(&file).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
