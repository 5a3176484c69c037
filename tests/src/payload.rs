//! Files to share: made from a seed, so that they are the same in every run, and compared by checksum.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha1::Digest;

/// Files with their lengths in bytes: folders, zero-length files, sizes just off any boundary, names with spaces and
/// other alphabets. About 6 MB.
pub const ODD_TREE: &[(&str, u64)] = &[
    ("a.bin", 1),
    ("empty at the start", 0),
    ("docs/empty.txt", 0),
    ("docs/one block less one", 16_383),
    ("docs/one block", 16_384),
    ("docs/one block and one", 16_385),
    ("docs/deep/er/still/prime.bin", 1_299_709),
    ("docs/deep/er/empty too", 0),
    ("Grüße/日本語 имя.txt", 77_777),
    ("large.bin", 4_567_891),
    ("zz last and empty", 0),
];

/// Path below the folder, length in bytes, SHA-1.
pub type Checksums = BTreeMap<String, (u64, String)>;

/// Writes a file of `len` random bytes.
///
/// # Panics
/// If it cannot be written.
pub fn write_file(path: &Path, len: u64, seed: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut file = File::create(path).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut rest = len;
    while rest > 0 {
        let part = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        random.fill(&mut buffer[..part]);
        file.write_all(&buffer[..part]).unwrap();
        rest -= part as u64;
    }
}

/// Writes a folder of files with random bytes.
///
/// # Panics
/// If it cannot be written.
pub fn write_tree(folder: &Path, files: &[(&str, u64)], seed: u64) {
    for (number, (path, len)) in files.iter().enumerate() {
        write_file(&folder.join(path), *len, seed.wrapping_mul(1009).wrapping_add(number as u64));
    }
}

/// The checksums of all files below a folder, or of one file (under the empty path).
///
/// # Panics
/// If something cannot be read, or is neither file nor folder.
pub fn checksums(path: &Path) -> Checksums {
    let mut found = Checksums::new();
    collect(path, "", &mut found);
    found
}

fn collect(path: &Path, name: &str, found: &mut Checksums) {
    let kind =
        path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display())).file_type();
    if kind.is_dir() {
        for entry in path.read_dir().unwrap() {
            let entry = entry.unwrap();
            let below = entry.file_name().into_string().unwrap();
            let below = if name.is_empty() { below } else { format!("{name}/{below}") };
            collect(&entry.path(), &below, found);
        }
    } else {
        assert!(kind.is_file(), "{} is neither file nor folder", path.display());
        found.insert(name.to_owned(), checksum(path));
    }
}

fn checksum(path: &Path) -> (u64, String) {
    let (mut file, mut hash, mut len) = (File::open(path).unwrap(), sha1::Sha1::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let got = file.read(&mut buffer).unwrap();
        if got == 0 {
            break;
        }
        hash.update(&buffer[..got]);
        len += got as u64;
    }
    let digest: [u8; 20] = hash.finalize().into();
    (len, digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Asserts that two files or folders hold the same.
///
/// # Panics
/// With what differs.
pub fn assert_same(expected: &Path, got: &Path) {
    let (expected_sums, got_sums) = (checksums(expected), checksums(got));
    let differs: Vec<_> = expected_sums
        .keys()
        .chain(got_sums.keys())
        .filter(|path| expected_sums.get(*path) != got_sums.get(*path))
        .collect();
    assert!(differs.is_empty(), "{} and {} differ in {differs:?}", expected.display(), got.display());
}
