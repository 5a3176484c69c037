//! Which files of a torrent are meant: by number, or by a pattern of their paths.

use torrent_common::metainfo::{File, Metainfo};

use super::table::{Align, lines};
use super::{Failure, format};
use crate::options::{Preallocation, Priority};

/// The files, numbered as `--files` takes them.
pub fn list(metainfo: &Metainfo) -> Vec<String> {
    let columns = [("#", Align::Right), ("Size", Align::Right), ("File", Align::Left)];
    let row = |(number, file): (usize, &File)| {
        vec![number.to_string(), format::size(file.len), format::text(&file.path.to_string(), 300)]
    };
    lines(&columns, (1..).zip(metainfo.payload_files()).map(row))
}

/// The same for programs.
pub fn list_json(metainfo: &Metainfo) -> serde_json::Value {
    let file = |(number, file): (usize, &File)| serde_json::json!({ "number": number, "path": file.path.to_string(), "length": file.len });
    (1..).zip(metainfo.payload_files()).map(file).collect()
}

/// One priority for each file: normal for those that one of the `choices` means, skip for the others.
///
/// # Errors
/// [`Failure`] when a choice means no file, or is no choice at all.
pub fn choose(metainfo: &Metainfo, choices: &[String]) -> Result<Vec<Priority>, Failure> {
    let paths: Vec<String> = metainfo.payload_files().map(|file| file.path.to_string()).collect();
    let mut priorities = vec![Priority::Skip; paths.len()];
    for choice in choices {
        let mut found = false;
        for index in meant(choice, &paths)? {
            if let Some(priority) = priorities.get_mut(index) {
                (*priority, found) = (Priority::Normal, true);
            }
        }
        if !found {
            return Err(Failure::failed(format!(
                "--files {}: no file of the torrent is like that; --list shows them",
                format::text(choice, 100)
            )));
        }
    }
    Ok(priorities)
}

/// The files, from 0, that one choice means.
fn meant(choice: &str, paths: &[String]) -> Result<Vec<usize>, Failure> {
    let is_numbers = choice.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-' | b' '));
    if !is_numbers {
        return Ok((0..)
            .zip(paths)
            .filter(|(_, path)| means(choice, path))
            .map(|(index, _)| index)
            .collect());
    }
    let mut all = Vec::new();
    for part in choice.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>(), last.trim().parse::<usize>());
        match (first, last) {
            (Ok(first), Ok(last)) if (1..=paths.len()).contains(&last) && (1..=last).contains(&first) => {
                all.extend(first - 1..last);
            }
            _ => {
                return Err(Failure::failed(format!(
                    "--files {}: {part:?} is neither a number from 1 to {} nor a range of such; --list shows the files",
                    format::text(choice, 100),
                    paths.len()
                )));
            }
        }
    }
    Ok(all)
}

/// Whether a pattern fits a path: all of it, what is below the torrent's folder, or the file's name alone.
fn means(pattern: &str, path: &str) -> bool {
    let below = path.split_once('/').map_or(path, |(_, below)| below);
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    [path, below, name].into_iter().any(|text| fits(pattern, text))
}

/// `*` stands for any text, also over several folders, `?` for any character. Goes back to the last `*` alone, so it
/// costs at most the product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = (pattern.clone(), text.clone());
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                last_star = Some((pattern.clone(), before.1.clone()));
                text = before.1;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(got)) if wanted == got => {}
            _ => {
                // The last star takes one character more.
                let Some((after, rest)) = &mut last_star else { return false };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), rest.clone());
            }
        }
    }
}

/// For the option that says how files are made.
///
/// # Errors
/// In words for the user.
pub fn preallocation(text: &str) -> Result<Preallocation, String> {
    let chosen = Preallocation::NAMES.iter().find(|(name, _)| *name == text);
    chosen.map(|&(_, how)| how).ok_or_else(|| format!("{text:?} is none of none, sparse and full"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{TestFile, torrent};

    fn chosen(choices: &[&str]) -> Result<Vec<usize>, Failure> {
        let mut files =
            TestFile::list(&[("disc/a.iso", 1), ("disc/b.iso", 2), ("doc/a/read.me", 3), ("1.txt", 4)]);
        files.insert(2, TestFile { path: "pad".into(), len: 9, padding: true });
        let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
        let priorities = choose(&torrent("root", &files, 16, None), &choices)?;
        assert_eq!(priorities.len(), 4);
        Ok((1..).zip(priorities).filter(|(_, p)| *p == Priority::Normal).map(|(number, _)| number).collect())
    }

    #[test]
    fn files_by_number_and_by_pattern() {
        for (choices, expected) in [
            (&["1"][..], &[1][..]),
            (&["1,3-4"], &[1, 3, 4]),
            (&["2-2, 4"], &[2, 4]),
            (&["1", "*.me"], &[1, 3]),
            (&["*.iso"], &[1, 2]),
            (&["disc/*"], &[1, 2]),
            (&["root/d*a*"], &[1, 3]),
            (&["?.txt"], &[4]),
            (&["1.txt"], &[4]),
            (&["*"], &[1, 2, 3, 4]),
        ] {
            assert_eq!(chosen(choices).unwrap(), expected, "{choices:?}");
        }
        for bad in ["0", "5", "3-2", "1-5", "1,,2", "-", "", "1-2-3", "99999999999999999999", "*.exe", "d"] {
            assert!(chosen(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_list_numbers_what_can_be_chosen() {
        let mut files = TestFile::list(&[("a", 1), ("b", 2)]);
        files.insert(1, TestFile { path: "pad".into(), len: 9, padding: true });
        let metainfo = torrent("root", &files, 16, None);
        let expected = serde_json::json!([
            { "number": 1, "path": "root/a", "length": 1 },
            { "number": 2, "path": "root/b", "length": 2 },
        ]);
        assert_eq!(list_json(&metainfo), expected);
        assert_eq!(list(&metainfo).len(), 3);
    }

    #[test]
    fn patterns() {
        for (pattern, text) in
            [("", ""), ("*", ""), ("*", "ab"), ("a*c*e", "abcxcde"), ("?é", "xé"), ("**a", "ba"), ("a*", "a")]
        {
            assert!(fits(pattern, text), "{pattern:?} {text:?}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*c", "abcd"), ("a", "ab"), ("ab", "a"), ("*x", "y")]
        {
            assert!(!fits(pattern, text), "{pattern:?} {text:?}");
        }
        assert!(!fits(&"*a".repeat(1000), &"a".repeat(999)), "and that soon");
    }
}
