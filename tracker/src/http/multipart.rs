//! multipart/form-data (RFC 7578), as little of it as browsers, curl and our own client send. Written here because the
//! crates for it are either asynchronous or no longer kept.
//!
//! The caller reads the body, whose length it bounds; this finds the fields in it without copying. Number of parts and
//! length of part headers are bounded, and every byte is looked at a bounded number of times.

/// The most parts.
const MAX_PARTS: usize = 64;
/// The longest header of a part, in bytes.
const MAX_HEADER_LEN: usize = 4096;
/// The longest boundary (RFC 2046).
const MAX_BOUNDARY_LEN: usize = 70;

/// A body that is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MultipartError {
    #[error("the upload must be multipart/form-data")]
    NotMultipart,
    #[error("the multipart boundary is missing or not valid")]
    Boundary,
    #[error("the form ends before its last boundary")]
    Unfinished,
    #[error("the form has more than 64 parts")]
    TooManyParts,
    #[error("a part of the form has no valid headers")]
    Header,
    #[error("the form has two fields of one name")]
    Repeated,
}

/// The fields of a form, in order. Names are different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    fields: Vec<(&'a str, &'a [u8])>,
}

/// The boundary that a Content-Type header names.
pub(crate) fn boundary(content_type: &str) -> Result<&str, MultipartError> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(MultipartError::NotMultipart);
    }
    let boundary = parameter(parameters, "boundary").ok_or(MultipartError::Boundary)?;
    // RFC 2046: printable characters, no space at the end.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let valid = (1..=MAX_BOUNDARY_LEN).contains(&boundary.len()) && boundary.bytes().all(allowed);
    if valid && !boundary.ends_with(' ') { Ok(boundary) } else { Err(MultipartError::Boundary) }
}

impl<'a> Form<'a> {
    /// Finds the fields of a whole body.
    pub(crate) fn parse(body: &'a [u8], boundary: &str) -> Result<Self, MultipartError> {
        let mut fields = Vec::new();
        find_fields(body, boundary, &mut fields)?;
        Ok(Self { fields })
    }

    /// Finds the fields that are whole in the beginning of a body.
    pub(crate) fn parse_start(body: &'a [u8], boundary: &str) -> Self {
        let mut fields = Vec::new();
        // That it ends early, or makes no sense from there on, is for who reads all of it.
        let _ = find_fields(body, boundary, &mut fields);
        Self { fields }
    }

    /// All of them, names and values.
    pub(crate) fn fields(&self) -> &[(&'a str, &'a [u8])] {
        &self.fields
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }
}

/// Finds the fields of a body, up to its end or what makes no sense.
fn find_fields<'a>(
    body: &'a [u8],
    boundary: &str,
    fields: &mut Vec<(&'a str, &'a [u8])>,
) -> Result<(), MultipartError> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    let first = delimiter.get(2..).unwrap_or_default();
    // What stands before the first boundary is to be ignored; it is at the very beginning with everybody.
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => split_at(body, delimiter).ok_or(MultipartError::Unfinished)?.1,
    };
    let mut parts = 0;
    loop {
        if rest.starts_with(b"--") {
            return Ok(());
        }
        parts += 1;
        if parts > MAX_PARTS {
            return Err(MultipartError::TooManyParts);
        }
        // Spaces may follow a boundary, then the line ends.
        let (padding, part) = split_at(rest, b"\r\n").ok_or(MultipartError::Unfinished)?;
        if padding.len() > MAX_HEADER_LEN || !padding.iter().all(|byte| b" \t".contains(byte)) {
            return Err(MultipartError::Header);
        }
        let (name, content) = headers(part)?;
        let (value, next) = split_at(content, delimiter).ok_or(MultipartError::Unfinished)?;
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(MultipartError::Repeated);
        }
        fields.push((name, value));
        rest = next;
    }
}

/// The name in a part's headers, and what follows them.
fn headers(part: &[u8]) -> Result<(&str, &[u8]), MultipartError> {
    let mut name = None;
    let mut rest = part;
    let mut used = 0;
    loop {
        // No look beyond the limit, so a part without an end of headers costs no more than one with.
        let window = rest.get(..MAX_HEADER_LEN.min(rest.len())).unwrap_or(rest);
        let Some((line, _)) = split_at(window, b"\r\n") else { return Err(MultipartError::Header) };
        rest = rest.get(line.len() + 2..).unwrap_or_default();
        used += line.len() + 2;
        if used > MAX_HEADER_LEN {
            return Err(MultipartError::Header);
        }
        if line.is_empty() {
            return Ok((name.ok_or(MultipartError::Header)?, rest));
        }
        let line = std::str::from_utf8(line).map_err(|_| MultipartError::Header)?;
        let (field, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        if field.trim().eq_ignore_ascii_case("content-disposition") {
            let (kind, parameters) = value.split_once(';').ok_or(MultipartError::Header)?;
            if !kind.trim().eq_ignore_ascii_case("form-data") || name.is_some() {
                return Err(MultipartError::Header);
            }
            name = Some(parameter(parameters, "name").ok_or(MultipartError::Header)?);
        }
    }
}

/// The value of a parameter: a token, or a quoted text without escapes. (The names of our fields need none; the
/// `filename` of the torrent may have some, and is skipped over.)
fn parameter<'a>(parameters: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, value) = rest.split_once('=')?;
        let (value, next) = match value.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (quoted.get(..end)?, quoted.get(end + 1..)?)
            }
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim_matches(['\t', ' '])).filter(|value| !value.contains('\\'));
        }
        rest = next;
    }
}

fn closing_quote(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    quoted.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// What stands before and after the first `needle`.
fn split_at<'a>(hay: &'a [u8], needle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + hay.get(from..)?.iter().position(|byte| *byte == first)?;
        let tail = hay.get(at..)?;
        if let Some(after) = tail.strip_prefix(needle) {
            return Some((hay.get(..at)?, after));
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(name: &str, value: &[u8]) -> Vec<u8> {
        let mut part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
        part.extend_from_slice(value);
        part.extend_from_slice(b"\r\n");
        part
    }

    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body: Vec<u8> = parts.iter().flat_map(|(name, value)| part(name, value)).collect();
        body.extend_from_slice(b"--b--\r\n");
        body
    }

    #[test]
    fn what_curl_sends() {
        let body = b"--------------------------d74496d66958873e\r\n\
            Content-Disposition: form-data; name=\"name\"\r\n\r\nsome name\r\n\
            --------------------------d74496d66958873e\r\n\
            Content-Disposition: form-data; name=\"torrent\"; filename=\"a \\\"b\\\"; c.torrent\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\
            \x00\r\n--\xff\r\n\r\n--------------------------d74496d66958873e--\r\n";
        let content_type = "multipart/form-data; boundary=------------------------d74496d66958873e";
        let form = Form::parse(body, boundary(content_type).unwrap()).unwrap();
        assert_eq!(form.get("name"), Some(&b"some name"[..]));
        assert_eq!(form.get("torrent"), Some(&b"\x00\r\n--\xff\r\n"[..]));
        assert_eq!(form.get("other"), None);
    }

    #[test]
    fn boundaries() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Ok("abc")),
            ("Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b:c\"", Ok("a b:c")),
            ("multipart/form-data; x=\"; boundary=no\"; boundary=yes", Ok("yes")),
            ("multipart/form-data", Err(MultipartError::Boundary)),
            ("multipart/form-data; boundary=", Err(MultipartError::Boundary)),
            ("multipart/form-data; boundary=\"a", Err(MultipartError::Boundary)),
            ("multipart/form-data; boundary=a\u{7f}", Err(MultipartError::Boundary)),
            ("multipart/form-data; boundary=\"a\r\nb\"", Err(MultipartError::Boundary)),
            ("application/x-www-form-urlencoded", Err(MultipartError::NotMultipart)),
            ("", Err(MultipartError::NotMultipart)),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
        assert!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(70))).is_ok());
        assert!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(71))).is_err());
    }

    #[test]
    fn hostile_forms_are_refused() {
        let many: Vec<String> = (0..10_000).map(|n| format!("f{n}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let disposition = "Content-Disposition: form-data; name=\"a\"";
        for (what, body, expected) in [
            ("nothing", vec![], MultipartError::Unfinished),
            ("no boundary", b"hello".to_vec(), MultipartError::Unfinished),
            ("only the first boundary", b"--b".to_vec(), MultipartError::Unfinished),
            ("only a line", b"--b\r\n".to_vec(), MultipartError::Header),
            ("no final boundary", part("a", b"x"), MultipartError::Unfinished),
            ("ten thousand parts", body(&many), MultipartError::TooManyParts),
            ("one name twice", body(&[("a", b"1"), ("a", b"2")]), MultipartError::Repeated),
            (
                "headers without end",
                [&b"--b\r\n"[..], &b"a: b\r\n".repeat(100_000)].concat(),
                MultipartError::Header,
            ),
            (
                "a header line without end",
                [&b"--b\r\n"[..], &b"a".repeat(100_000)].concat(),
                MultipartError::Header,
            ),
            (
                "a long header",
                format!("--b\r\nx: {}\r\n{disposition}\r\n\r\n\r\n--b--", "y".repeat(5000)).into(),
                MultipartError::Header,
            ),
            ("no headers", b"--b\r\n\r\nx\r\n--b--".to_vec(), MultipartError::Header),
            (
                "no name",
                b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--".to_vec(),
                MultipartError::Header,
            ),
            (
                "a name with an escape",
                b"--b\r\nContent-Disposition: form-data; name=\"a\\\"\"\r\n\r\nx\r\n--b--".to_vec(),
                MultipartError::Header,
            ),
            (
                "two dispositions",
                format!("--b\r\n{disposition}\r\n{disposition}\r\n\r\nx\r\n--b--").into(),
                MultipartError::Header,
            ),
            (
                "not form-data",
                b"--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--b--".to_vec(),
                MultipartError::Header,
            ),
            (
                "not UTF-8",
                b"--b\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nx\r\n--b--".to_vec(),
                MultipartError::Header,
            ),
            (
                "text after a boundary",
                format!("--bx\r\n{disposition}\r\n\r\nx\r\n--b--").into(),
                MultipartError::Header,
            ),
        ] {
            assert_eq!(Form::parse(&body, "b"), Err(expected), "{what}");
        }
    }

    #[test]
    fn odd_but_legal_forms_are_read() {
        assert_eq!(Form::parse(b"--b--", "b").unwrap().fields, []);
        let preamble = [&b"hello\r\n"[..], &body(&[("a", b"")])].concat();
        assert_eq!(Form::parse(&preamble, "b").unwrap().get("a"), Some(&b""[..]));
        let padded = b"--b \t\r\ncontent-disposition:form-data;name=a\r\n\r\nx\r\n--b--epilogue";
        assert_eq!(Form::parse(padded, "b").unwrap().get("a"), Some(&b"x"[..]));
    }

    proptest! {
        #[test]
        fn forms_round_trip(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let names: Vec<String> = (0..values.len()).map(|n| format!("field{n}")).collect();
            let fields: Vec<(&str, &[u8])> =
                names.iter().map(String::as_str).zip(values.iter().map(Vec::as_slice)).collect();
            prop_assume!(!values.iter().any(|value| value.windows(5).any(|w| w == b"\r\n--b")));
            let body = body(&fields);
            prop_assert_eq!(Form::parse(&body, "b").unwrap().fields, fields);
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(
            prop::sample::select(vec![
                "--b", "--", "\r\n", "\r", "Content-Disposition: form-data;", " name=", "\"", "a", ":", "\\", "é",
            ]), 0..60))
        {
            let _ = Form::parse(pieces.concat().as_bytes(), "b");
        }

        #[test]
        fn no_header_makes_it_panic(text in "(multipart/form-data)?[; =\"\\\\a-zé]{0,40}") {
            let _ = boundary(&text);
        }
    }
}
