//! A word that only those who know it may hear back.

use std::fmt;

use subtle::ConstantTimeEq;

/// The shortest secret: shorter ones can be guessed.
pub const MIN_SECRET_LEN: usize = 16;
/// The longest, in bytes.
pub const MAX_SECRET_LEN: usize = 256;

/// A password for programs. It is not in its debug output, so in no log either.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Visible ASCII characters, so that it fits into a header, from [`MIN_SECRET_LEN`] to [`MAX_SECRET_LEN`] of them; `None`
    /// for anything else.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (MIN_SECRET_LEN..=MAX_SECRET_LEN).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// Whether somebody said it. How long that takes does not tell how much of it was right, only whether its length was.
    pub fn is(&self, said: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(said).into()
    }

    /// What to say to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_is_it() {
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert!(secret.is(b"0123456789abcdef"));
        for wrong in
            [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF", b"1123456789abcdef"]
        {
            assert!(!secret.is(wrong), "{}", wrong.escape_ascii());
        }
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn what_is_no_secret() {
        for text in ["", "none", "0123456789abcde", "0123456789 abcdef", "0123456789abcdé", &"a".repeat(257)]
        {
            assert_eq!(Secret::new(text), None, "{text}");
        }
    }
}
