//! Promise 4: no path in a torrent leads outside the download folder.
//!
//! Names that could lead elsewhere (empty, `.`, `..`, a drive, or with a NUL or a separator of any system) are refused:
//! no honest program writes them, and a guess at what was meant could be wrong in a harmful way. Names that are merely
//! awkward are made safe, always in the same way, because honest people use them: characters that Windows forbids,
//! control characters and those that reverse the direction of text become `_`, as do dots and spaces at the end;
//! a name that Windows reserves for a device gets a `_` in front; a name too long for a file system is cut, and marked
//! with a part of the hash of the whole.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// The longest component, in bytes: what file systems take.
pub const MAX_COMPONENT_LEN: usize = 255;
/// The longest path, in bytes: 4,096, the most that Linux takes, less room for the download folder.
pub const MAX_PATH_LEN: usize = 3072;

/// A relative path that stays below the folder it is joined to: no component is empty, `.`, `..` or a drive, none has a
/// separator or NUL, none is over [`MAX_COMPONENT_LEN`]. Made only by this module.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TorrentPath(Box<str>);

/// Why a path is refused. Names are a stranger's text: shown escaped, and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A path without components.
    #[error("a path is empty")]
    NoComponents,
    /// An empty component.
    #[error("a file or folder has an empty name")]
    Empty,
    /// `.` or `..`.
    #[error("a file or folder is named {0:?}, which could lead outside the download folder")]
    Dots(&'static str),
    /// `/` or `\` in a component.
    #[error("the name {0:?} has a separator in it, which could lead outside the download folder")]
    Separator(String),
    /// A component with a zero byte.
    #[error("the name {0:?} has a zero byte in it")]
    Nul(String),
    /// `C:`.
    #[error("the name {0:?} is a drive, which could lead outside the download folder")]
    Drive(String),
    /// Over [`MAX_PATH_LEN`].
    #[error("the path that begins {0:?} is longer than {MAX_PATH_LEN} bytes")]
    PathTooLong(String),
}

/// A path made safe, and the path as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePath {
    /// With names that every system takes.
    pub path: TorrentPath,
    /// The names as they were given, if that is something else and could exist on this system.
    pub given: Option<TorrentPath>,
    /// Whether the names as given are known: false when one is not text, or longer than any file's.
    exact: bool,
}

impl TorrentPath {
    /// The components, at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// With `/` between components.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for TorrentPath {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl SafePath {
    /// The path of one component, as the torrent has it.
    ///
    /// # Errors
    /// [`PathError`] when it cannot be made safe.
    pub fn new(name: &[u8]) -> Result<Self, PathError> {
        Builder::default().push(name)?.finish()
    }

    /// This path with more components, as the torrent has them.
    ///
    /// # Errors
    /// [`PathError`] when they cannot be made safe, or are none.
    pub fn join<'a>(&self, components: impl Iterator<Item = &'a [u8]>) -> Result<Self, PathError> {
        let given = self.given.as_ref().map(|given| given.0.to_string());
        let mut builder = Builder { safe: self.path.0.to_string(), given, exact: self.exact };
        let mut empty = true;
        for component in components {
            builder = builder.push(component)?;
            empty = false;
        }
        if empty { Err(PathError::NoComponents) } else { builder.finish() }
    }

    /// The path of a padding file of `len` bytes, here by convention only.
    pub(super) fn join_padding(&self, len: u64) -> TorrentPath {
        TorrentPath(format!("{}/.pad/{len}", self.path.0).into())
    }
}

struct Builder {
    safe: String,
    /// `None` as long as it is the same: most names are safe as they are.
    given: Option<String>,
    /// Whether `given` is exactly what was given.
    exact: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self { safe: String::new(), given: None, exact: true }
    }
}

impl Builder {
    fn push(mut self, raw: &[u8]) -> Result<Self, PathError> {
        let text = String::from_utf8_lossy(raw);
        refuse(&text)?;
        self.exact &= matches!(text, Cow::Borrowed(_)) && raw.len() <= MAX_COMPONENT_LEN;
        let safe = make_safe(&text);
        if self.given.is_none() && safe != text {
            self.given = Some(self.safe.clone());
        }
        for (path, name) in [(Some(&mut self.safe), &safe), (self.given.as_mut(), &text)] {
            let Some(path) = path else { continue };
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(name);
        }
        if self.safe.len() > MAX_PATH_LEN { Err(PathError::PathTooLong(shown(&self.safe))) } else { Ok(self) }
    }

    fn finish(self) -> Result<SafePath, PathError> {
        let given = self.given.filter(|given| self.exact && given.len() <= MAX_PATH_LEN);
        let given = given.map(|given| TorrentPath(given.into()));
        Ok(SafePath { path: TorrentPath(self.safe.into()), given, exact: self.exact })
    }
}

/// Refuses what must not be guessed at.
fn refuse(name: &str) -> Result<(), PathError> {
    match name {
        "" => return Err(PathError::Empty),
        "." => return Err(PathError::Dots(".")),
        ".." => return Err(PathError::Dots("..")),
        _ => {}
    }
    if name.contains(['/', '\\']) {
        return Err(PathError::Separator(shown(name)));
    }
    if name.contains('\0') {
        return Err(PathError::Nul(shown(name)));
    }
    if matches!(name.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic()) {
        return Err(PathError::Drive(shown(name)));
    }
    Ok(())
}

/// The name itself where every system takes it, else one that every system does.
fn make_safe(name: &str) -> Cow<'_, str> {
    let mut safe = Cow::Borrowed(name);
    if name.contains(is_awkward) {
        safe = Cow::Owned(name.replace(is_awkward, "_"));
    }
    let kept = safe.trim_end_matches(['.', ' ']).len();
    if kept < safe.len() {
        let tail = "_".repeat(safe.len() - kept);
        safe = Cow::Owned([safe.get(..kept).unwrap_or_default(), &tail].concat());
    }
    if is_reserved(&safe) {
        safe = Cow::Owned(format!("_{safe}"));
    }
    if safe.len() > MAX_COMPONENT_LEN { Cow::Owned(shorten(&safe, name)) } else { safe }
}

/// What Windows forbids in names, and what makes a name look like another: control characters, line separators, and the
/// marks that reverse the direction of text (`exe.txt` can be shown for `txt.exe`).
fn is_awkward(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
        || c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether Windows takes the name for a device, whatever its case and extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
        .iter()
        .any(|device| device.eq_ignore_ascii_case(stem))
    {
        return true;
    }
    let Some((kind, number)) = stem.split_at_checked(3) else { return false };
    let mut digits = number.chars();
    (kind.eq_ignore_ascii_case("COM") || kind.eq_ignore_ascii_case("LPT"))
        && matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

/// Cuts a name to [`MAX_COMPONENT_LEN`], keeps a short extension, and marks it with the hash of the `whole`, so that names
/// that differ only at the end stay apart.
fn shorten(name: &str, whole: &str) -> String {
    use sha1::Digest;
    const LONGEST_EXTENSION: usize = 16;
    let hash: [u8; 20] = sha1::Sha1::digest(whole).into();
    let mark: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let extension =
        name.rfind('.').and_then(|dot| name.get(dot..)).filter(|ext| ext.len() <= LONGEST_EXTENSION);
    let tail = format!("~{mark}{}", extension.unwrap_or_default());
    [clip(name, MAX_COMPONENT_LEN.saturating_sub(tail.len())), &tail].concat()
}

/// The longest beginning of `text` of at most `max_len` bytes.
pub(super) fn clip(text: &str, max_len: usize) -> &str {
    (0..=max_len.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// A stranger's name, cut to what an error message has room for. (`{:?}` escapes it.)
fn shown(name: &str) -> String {
    clip(name, 100).to_owned()
}

impl fmt::Display for TorrentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TorrentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(name: &str) -> String {
        SafePath::new(name.as_bytes()).unwrap().path.to_string()
    }

    #[test]
    fn dangerous_names_are_refused() {
        for (name, expected) in [
            (&b""[..], PathError::Empty),
            (b".", PathError::Dots(".")),
            (b"..", PathError::Dots("..")),
            (b"/", PathError::Separator("/".into())),
            (b"/etc/passwd", PathError::Separator("/etc/passwd".into())),
            (b"a/../../b", PathError::Separator("a/../../b".into())),
            (b"..\\b", PathError::Separator("..\\b".into())),
            (b"\\\\server\\share", PathError::Separator("\\\\server\\share".into())),
            (b"C:\\x", PathError::Separator("C:\\x".into())),
            (b"C:", PathError::Drive("C:".into())),
            (b"z:", PathError::Drive("z:".into())),
            (b"a\0b", PathError::Nul("a\0b".into())),
        ] {
            assert_eq!(SafePath::new(name), Err(expected.clone()), "{}", name.escape_ascii());
            let root = SafePath::new(b"root").unwrap();
            assert_eq!(root.join([b"a", name].into_iter()), Err(expected));
        }
        assert_eq!(SafePath::new(b"root").unwrap().join(std::iter::empty()), Err(PathError::NoComponents));
    }

    #[test]
    fn paths_longer_than_any_system_takes_are_refused() {
        let root = SafePath::new(b"root").unwrap();
        let part = [b'a'; 200];
        assert!(root.join(std::iter::repeat_n(&part[..], 15)).is_ok());
        let error = root.join(std::iter::repeat_n(&part[..], 16)).unwrap_err();
        assert!(matches!(&error, PathError::PathTooLong(shown) if shown.len() == 100), "{error}");
    }

    #[test]
    fn awkward_names_are_made_safe() {
        for (name, expected) in [
            ("12:30.log", "12_30.log"),
            ("C:x", "C_x"),
            ("what?*<>|\".txt", "what______.txt"),
            ("tab\there\u{7f}\u{85}", "tab_here__"),
            ("annexe\u{202e}txt.exe", "annexe_txt.exe"),
            ("end.", "end_"),
            ("end ", "end_"),
            ("...", "___"),
            (".. ", "___"),
            (" ", "_"),
            ("NUL", "_NUL"),
            ("con.txt", "_con.txt"),
            ("Aux .tar.gz", "_Aux .tar.gz"),
            ("COM1", "_COM1"),
            ("lpt³.x", "_lpt³.x"),
            ("CONIN$", "_CONIN$"),
        ] {
            let made = SafePath::new(name.as_bytes()).unwrap();
            assert_eq!(made.path.as_str(), expected, "{name:?}");
            assert_eq!(made.given.unwrap().as_str(), name);
        }
    }

    #[test]
    fn ordinary_names_are_kept() {
        for name in [
            "a",
            ".hidden",
            "..a",
            "a..b",
            "COM",
            "COM10",
            "COMa",
            "console",
            "null.txt",
            " a",
            "naïve ☃ 文",
            "~",
            "a'b&c$(d)",
            "-rf",
        ] {
            let made = SafePath::new(name.as_bytes()).unwrap();
            assert_eq!((made.path.as_str(), made.given), (name, None));
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) =
            (safe(&format!("{}1.flac", "ä".repeat(200))), safe(&format!("{}2.flac", "ä".repeat(200))));
        assert_ne!(a, b);
        assert!(a.ends_with(".flac") && a.starts_with("ää") && a.len() > 250, "{a}");
        assert_eq!(safe(&"x".repeat(255)), "x".repeat(255));
        assert_eq!(safe(&"x".repeat(256)).len(), 255);
        assert_eq!(SafePath::new(&[b'x'; 256]).unwrap().given, None);
    }

    #[test]
    fn names_that_are_not_text_are_decoded_with_replacements() {
        let made = SafePath::new(b"caf\xe9.txt").unwrap();
        assert_eq!((made.path.as_str(), made.given), ("caf\u{fffd}.txt", None));
        // An overlong encoding of a slash is no slash.
        assert_eq!(safe("a").len(), 1);
        assert_eq!(SafePath::new(b"a\xc0\xafb").unwrap().path.components().count(), 1);
    }

    #[test]
    fn the_given_path_is_kept_where_any_part_differs() {
        let root = SafePath::new(b"a:b").unwrap();
        let file = root.join([&b"c"[..], b"d"].into_iter()).unwrap();
        assert_eq!((file.path.as_str(), file.given.as_ref().unwrap().as_str()), ("a_b/c/d", "a:b/c/d"));
        let lost = SafePath::new(b"\xff").unwrap().join([&b"x:y"[..]].into_iter()).unwrap();
        assert_eq!((lost.path.as_str(), lost.given), ("\u{fffd}/x_y", None));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_safe(parts in prop::collection::vec(prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"./\\:CONcon \0?"[..])], 0..300), 1..5))
        {
            let Ok(root) = SafePath::new(&parts[0]) else { return Ok(()) };
            let made = match parts.len() {
                1 => root,
                _ => match root.join(parts[1..].iter().map(Vec::as_slice)) { Ok(made) => made, Err(_) => return Ok(()) },
            };
            prop_assert_eq!(made.path.components().count(), parts.len());
            for path in [Some(&made.path), made.given.as_ref()].into_iter().flatten() {
                prop_assert!(path.as_str().len() <= MAX_PATH_LEN);
                for component in path.components() {
                    prop_assert!(refuse(component).is_ok() && component.len() <= MAX_COMPONENT_LEN);
                }
                let path: &Path = path.as_ref();
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
            for component in made.path.components() {
                prop_assert_eq!(make_safe(component), component, "made safe twice is made safe once");
            }
        }
    }
}
