//! Files whose paths differ in upper and lower case alone. Most file systems to which two such names are one give both the
//! same number; some give every spelling a number of its own (exFAT by FUSE), and there only a folder's list of names
//! tells how many files there are.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hasher, RandomState};

use super::StorageError;
use super::tree::{Tree, Walker};

/// Two of these files, which were all found, of which one is not listed as the torrent spells it: it is the other. Reads no
/// folder unless there are names that are alike, and each once.
pub(super) fn find_one_of_two_names(
    tree: &Tree,
    walker: &Walker<'_>,
    files: impl Iterator<Item = usize>,
) -> Result<Option<(usize, usize)>, StorageError> {
    for (folder, mut names) in alike(tree, files) {
        walker.list(&folder, |name| {
            names.remove(name);
        })?;
        if let Some(pair) = names.into_values().min() {
            return Ok(Some(pair));
        }
    }
    Ok(None)
}

/// The names that must be in each folder if the files that are alike are not one; with each two that it would tell apart.
type Spellings<'a> = BTreeMap<Vec<&'a OsStr>, HashMap<&'a OsStr, (usize, usize)>>;

fn alike(tree: &Tree, files: impl Iterator<Item = usize>) -> Spellings<'_> {
    let (mut seen, mut spellings, keys) = (HashMap::new(), Spellings::new(), RandomState::new());
    for index in files {
        let path = tree.components(index);
        let Some(other) = seen.insert(caseless(&path, &keys), index) else { continue };
        let theirs = tree.components(other);
        let same = path.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        for mut above in [path, theirs] {
            while above.len() > same
                && let Some(name) = above.pop()
            {
                spellings.entry(above.clone()).or_default().insert(name, (other, index));
            }
        }
    }
    spellings
}

/// A number that paths have in common which differ in case alone. Others seldom do, whatever a torrent's maker tries, and
/// are looked for in vain.
fn caseless(path: &[&OsStr], keys: &RandomState) -> u64 {
    let mut hasher = keys.build_hasher();
    for name in path {
        let name = name.to_string_lossy();
        // Some letters have two small forms.
        for letter in name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
            hasher.write_u32(letter.into());
        }
        hasher.write_u32('/'.into());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::backend::Backend;
    use crate::storage::testing::{TestFile, torrent};

    fn tree(folder: &Path, names: &[&str]) -> Tree {
        let files: Vec<_> = names.iter().map(|name| (*name, 10)).collect();
        Tree::new(torrent("t", &TestFile::list(&files), 100, None), folder, None, Backend::default()).unwrap()
    }

    #[test]
    fn two_files_are_two_if_both_are_listed_as_they_are_spelled() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["A/x", "B/read.me", "B/Read.Me", "a/X", "c", "\u{17f}traße", "STRAßE"];
        let tree = tree(folder.path(), &names);
        let find = || {
            let walker = Walker::new(&tree, false).unwrap();
            find_one_of_two_names(&tree, &walker, 0..names.len()).unwrap()
        };
        let make = |name: &str| {
            let path = folder.path().join("t").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        // As if all were found.
        names.into_iter().filter(|name| !["a/X", "STRAßE"].contains(name)).for_each(make);
        assert_eq!(find(), Some((0, 3)), "there is no folder of that name");
        std::fs::create_dir(folder.path().join("t/a")).unwrap();
        std::fs::write(folder.path().join("t/a/x"), "").unwrap();
        assert_eq!(find(), Some((5, 6)), "in the outer folder one is lacking");
        make("STRAßE");
        assert_eq!(find(), Some((0, 3)), "and in the inner one");
        make("a/X");
        assert_eq!(find(), None);
    }
}
