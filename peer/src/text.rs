//! Text from strangers, made safe to print.

/// `text` as one line that a terminal or log shows as it is: control characters (so ANSI escapes as well), line and
/// paragraph separators, and the characters that change the direction of text or take no room are shown as `\u{..}`,
/// a backslash as `\\`. At most `max_chars` characters of output; `…` is the last one if something was cut.
pub fn escape_for_log(text: &str, max_chars: usize) -> String {
    escape(text, max_chars, |character| character == '\\' || is_unsafe(character))
}

/// As [`escape_for_log`], but that backslashes stay: for a message of ours, in which names may be escaped already.
pub fn tame(text: &str, max_chars: usize) -> String {
    escape(text, max_chars, is_unsafe)
}

fn escape(text: &str, max_chars: usize, is_escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut cut_at = 0;
    for character in text.chars() {
        let escaped: String =
            if is_escaped(character) { character.escape_default().collect() } else { character.into() };
        let width = escaped.chars().count();
        if used + width > max_chars {
            out.truncate(cut_at);
            if max_chars > 0 {
                out.push('…');
            }
            return out;
        }
        used += width;
        out.push_str(&escaped);
        if used < max_chars {
            cut_at = out.len();
        }
    }
    out
}

/// Whether a terminal may do with this character anything but show it.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_stays() {
        for text in ["", "plain", "Größe 3 – 東京 🎈", "a/b c"] {
            assert_eq!(escape_for_log(text, 100), text);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, shown) in [
            ("\x1b[2J", "\\u{1b}[2J"),
            ("a\nb\tc\0", "a\\nb\\tc\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("\u{2066}\u{200d}\u{feff}", "\\u{2066}\\u{200d}\\u{feff}"),
            ("C:\\n", "C:\\\\n"),
        ] {
            assert_eq!(escape_for_log(text, 100), shown);
        }
    }

    #[test]
    fn a_message_is_escaped_once() {
        let shown = "cannot read \\u{1b}[2J: C:\\n";
        assert_eq!(tame("cannot read \x1b[2J: C:\\n", 100), shown);
        assert_eq!(tame(shown, 100), shown);
        assert_eq!(tame("abcde", 4), "abc…");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(escape_for_log("abcd", 4), "abcd");
        assert_eq!(escape_for_log("abcde", 4), "abc…");
        assert_eq!(escape_for_log("ab\u{1b}", 4), "ab…", "an escape is not cut in two");
        assert_eq!(escape_for_log("a", 0), "");
    }

    proptest! {
        #[test]
        fn output_is_printable_and_bounded(text in any::<String>(), max in 0_usize..50) {
            let shown = escape_for_log(&text, max);
            prop_assert!(shown.chars().count() <= max);
            prop_assert!(!shown.chars().any(is_unsafe));
            let shown = tame(&text, max);
            prop_assert!(shown.chars().count() <= max && !shown.chars().any(is_unsafe));
        }
    }
}
