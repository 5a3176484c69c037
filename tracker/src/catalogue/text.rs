//! Strangers' text, made fit to be shown.

/// The longest name kept, in bytes.
pub const MAX_NAME_LEN: usize = 255;
/// The longest description kept, in bytes.
pub const MAX_DESCRIPTION_LEN: usize = 8192;

/// A torrent's own name as a listing's: on one line, not too long.
pub(crate) fn printable(name: &str) -> String {
    clip(&safe(name), MAX_NAME_LEN).to_owned()
}

/// A text on one line, without what tells terminals and browsers to do something.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, separators of lines, and what makes the text after it read backwards: `gpj.exe` shown as
/// `exe.jpg`.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text, at most `max_len` bytes.
pub(crate) fn clip(text: &str, max_len: usize) -> &str {
    let end = (0..=max_len.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_clipped_between_characters() {
        assert_eq!(clip("äöü", 3), "ä");
        assert_eq!(clip("äöü", 4), "äö");
        assert_eq!(clip("abc", 10), "abc");
        assert_eq!(clip("ä", 1), "");
    }

    #[test]
    fn names_stay_on_their_line_and_read_forwards() {
        assert_eq!(printable("a\r\nb\x1b[2J"), "a\u{fffd}\u{fffd}b\u{fffd}[2J");
        assert_eq!(printable("photo\u{202e}gpj.exe"), "photo\u{fffd}gpj.exe");
        assert_eq!(printable("\u{2066}\u{2028}é 日本"), "\u{fffd}\u{fffd}é 日本");
        assert_eq!(printable(&"é".repeat(200)).len(), 254);
    }
}
