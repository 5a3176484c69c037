//! Text into words: what is put into the index, and what is looked for in it.
//!
//! SQLite's own tokenizer (`unicode61`) takes letters and digits of any script for words, whatever is between them for
//! gaps, and knows no case and no accents: `Ubuntu-24.04_amd64.iso` is found by `ubuntu`, `24.04`, `amd`. Where no gaps are
//! written (Chinese, Japanese) each character is made a word of its own here.

use std::fmt::Write as _;

/// The most words of a search that are looked for; the rest is ignored.
const MAX_WORDS: usize = 16;
/// Shorter beginnings of words are not looked for, only whole words: too many begin with any two letters, and what is found
/// for each has to be merged in memory.
const MIN_PREFIX: usize = 3;
/// Of a torrent's file names so many bytes are found by their words.
const MAX_FILES_LEN: usize = 64 << 10;

/// What a search looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Everything,
    /// Nothing has a word in it that is none.
    Nothing,
    /// An expression of FTS5.
    Matching(String),
}

impl Wanted {
    /// Every word of `text` must be there, or one that begins with it. Each is quoted, so that nothing in it has a meaning
    /// of its own; what is joined by a mark (`24.04`) must stand together.
    pub(super) fn of(text: &str) -> Self {
        let mut expression = String::new();
        for word in text.split_whitespace().take(MAX_WORDS) {
            let word: String = spread(word).chars().map(|c| if is_mark(c) { ' ' } else { c }).collect();
            if word.trim().is_empty() {
                continue;
            }
            let star = if weight_of_end(&word) >= MIN_PREFIX { "*" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(expression, "\"{}\"{star} ", word.trim());
        }
        match expression.trim_end() {
            "" if text.trim().is_empty() => Self::Everything,
            "" => Self::Nothing,
            words => Self::Matching(words.to_owned()),
        }
    }
}

/// How much the last word in a text says, in letters and digits: marks around it and accents say nothing, a syllable of
/// Korean is at least two letters. The letters before Latin ones may be no part of the same word.
fn weight_of_end(text: &str) -> usize {
    let is_latin = |c: char| c < '\u{300}';
    let mut end = text.chars().rev().skip_while(|c| !c.is_alphanumeric());
    let Some(last) = end.next() else { return 0 };
    let rest = end.filter(|c| !matches!(c, '\u{300}'..='\u{36f}'));
    let rest = rest.take_while(|&c| c.is_alphanumeric() && is_latin(c) == is_latin(last));
    let letters = |c: char| if matches!(c, '\u{ac00}'..='\u{d7a3}') { 2 } else { 1 };
    std::iter::once(last).chain(rest).map(letters).sum()
}

/// ASCII that is no part of a word: quotes and NUL among it.
const fn is_mark(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric()
}

/// A text with gaps around each character that is a word.
pub(super) fn spread(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_word(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Kana and ideographs.
const fn is_word(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

/// The words of file names: of each path what differs from the one before it, so that a folder counts once; as far as there
/// is room.
pub(super) fn of_files<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    let mut before = "";
    for path in paths {
        let shared = path.split('/').zip(before.split('/')).take_while(|(a, b)| a == b);
        let shared_len: usize = shared.map(|(part, _)| part.len() + 1).sum();
        let own = path.get(shared_len.min(path.len())..).unwrap_or_default();
        if out.len() + own.len() >= MAX_FILES_LEN {
            break;
        }
        out.push_str(own);
        out.push('\n');
        before = path;
    }
    spread(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_become_expressions() {
        let matching = |words: &str| Wanted::Matching(words.to_owned());
        for (text, expected) in [
            ("", Wanted::Everything),
            ("  ", Wanted::Everything),
            ("?! \"", Wanted::Nothing),
            ("Ubuntu", matching("\"Ubuntu\"*")),
            ("ubuntu 24.04", matching("\"ubuntu\"* \"24 04\"")),
            ("of_it a", matching("\"of it\" \"a\"")),
            ("x-b", matching("\"x b\"")),
            ("a* OR name:b", matching("\"a\" \"OR\" \"name b\"")),
            ("\"a\" NOT (b) \0", matching("\"a\" \"NOT\"* \"b\"")),
            ("日本", matching("\"日  本\"")),
            ("한 한국", matching("\"한\" \"한국\"*")),
            ("naïve…", matching("\"naïve…\"*")),
            // However it is written, one letter is one.
            ("———b", matching("\"———b\"")),
            ("e\u{301}\u{301}", matching("\"e\u{301}\u{301}\"")),
            ("кab", matching("\"кab\"")),
            ("cafe\u{301}", matching("\"cafe\u{301}\"*")),
        ] {
            assert_eq!(Wanted::of(text), expected, "{text}");
        }
        let Wanted::Matching(many) = Wanted::of(&"ab ".repeat(1000)) else { panic!() };
        assert_eq!(many.split(' ').count(), MAX_WORDS);
    }

    #[test]
    fn file_names_are_taken_once_and_not_without_end() {
        assert_eq!(of_files(["a/b/c.x", "a/b/d.x", "a/e/d.x"].into_iter()), "a/b/c.x\nd.x\ne/d.x\n");
        assert_eq!(of_files(["ab", "abc", "ab"].into_iter()), "ab\nabc\nab\n");
        let names: Vec<String> = (0..100_000).map(|n| format!("folder/{n}.txt")).collect();
        let words = of_files(names.iter().map(String::as_str));
        assert!((60_000..=MAX_FILES_LEN).contains(&words.len()), "{}", words.len());
    }
}
