//! multipart/form-data (RFC 7578): the little of it that a publication needs.

use percent_encoding::percent_decode_str;
use torrent_common::announce::AnnounceRequest;
use torrent_common::announce::http::announce_query;

use super::Publication;

/// The longest name that a catalogue lists, in bytes.
const MAX_NAME_LEN: usize = 255;

/// A form, ready to be posted.
pub(super) struct Form {
    /// The Content-Type header, with the boundary.
    pub(super) content_type: String,
    /// The request's body.
    pub(super) body: Vec<u8>,
}

/// The form of a publication: the fields of the announce as in a query but not percent-encoded, with the info-hash as
/// 40 hexadecimal digits.
pub(super) fn form(
    publication: &Publication<'_>,
    announce: &AnnounceRequest,
    random: &mut fastrand::Rng,
) -> Form {
    let query = announce_query(announce);
    let hash = publication.info_hash.to_string();
    let mut fields: Vec<(&str, Vec<u8>)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name != "info_hash")
        .map(|(name, value)| (name, percent_decode_str(value).collect()))
        .collect();
    fields.push(("info_hash", hash.clone().into_bytes()));
    let name = publication.name.trim();
    if name.len() <= MAX_NAME_LEN && !name.chars().any(char::is_control) {
        fields.push(("name", name.into()));
    }
    fields.push(("description", publication.description.into()));
    if let Some(token) = publication.token {
        fields.push(("token", token.reveal().into()));
    }

    let contents = fields.iter().map(|(_, content)| content.as_slice());
    let boundary = boundary(contents.chain([publication.torrent]), random);
    let mut body = Vec::with_capacity(publication.torrent.len() + publication.description.len() + 4096);
    for (name, content) in &fields {
        part(&mut body, &boundary, &format!("name=\"{name}\""), None, content);
    }
    // The file's name is ours and not the torrent's: a stranger's text has no place in a header.
    let file = format!("name=\"torrent\"; filename=\"{hash}.torrent\"");
    part(&mut body, &boundary, &file, Some("application/x-bittorrent"), publication.torrent);
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Form { content_type: format!("multipart/form-data; boundary={boundary}"), body }
}

fn part(body: &mut Vec<u8>, boundary: &str, disposition: &str, content_type: Option<&str>, content: &[u8]) {
    body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
    body.extend_from_slice(format!("Content-Disposition: form-data; {disposition}\r\n").as_bytes());
    if let Some(content_type) = content_type {
        body.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
}

/// A delimiter that none of the contents has in it.
fn boundary<'a>(contents: impl Iterator<Item = &'a [u8]> + Clone, random: &mut fastrand::Rng) -> String {
    loop {
        let boundary: String = std::iter::repeat_with(|| random.alphanumeric()).take(40).collect();
        let has_it =
            |content: &[u8]| content.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !contents.clone().any(has_it) {
            return boundary;
        }
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::ids::{InfoHash, PeerId};
    use torrent_common::secret::Secret;

    use super::super::announce_of;
    use super::*;

    fn posted(name: &str) -> (String, String) {
        let token = Secret::new("0123456789abcdef");
        let publication = Publication {
            torrent: b"d4:info\r\n--e",
            info_hash: InfoHash::new([0xab; 20]),
            name,
            description: "two\r\nlines",
            peer_id: PeerId::new(*b"-TF0100-a%b&c=d\x00\r\n~~"),
            port: 7000,
            key: 0xbeef,
            left: 0,
            token: token.as_ref(),
        };
        let form = form(&publication, &announce_of(&publication), &mut fastrand::Rng::with_seed(1));
        let boundary = form.content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        (boundary.to_owned(), String::from_utf8(form.body).unwrap())
    }

    #[test]
    fn a_form_as_the_standard_has_it() {
        let (boundary, body) = posted(" Größe\" ");
        let hash = "ab".repeat(20);
        let field = |name: &str, value: &str| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        for (name, value) in [
            ("info_hash", hash.as_str()),
            ("peer_id", "-TF0100-a%b&c=d\x00\r\n~~"),
            ("port", "7000"),
            ("left", "0"),
            ("event", "started"),
            ("key", "0000BEEF"),
            ("name", "Größe\""),
            ("description", "two\r\nlines"),
            ("token", "0123456789abcdef"),
        ] {
            assert_eq!(body.matches(&field(name, value)).count(), 1, "{name} in {body}");
        }
        let end = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"torrent\"; filename=\"{hash}.torrent\"\r\n\
             Content-Type: application/x-bittorrent\r\n\r\nd4:info\r\n--e\r\n--{boundary}--\r\n"
        );
        assert!(body.ends_with(&end), "{body}");
    }

    #[test]
    fn a_name_that_would_be_refused_is_left_out() {
        for name in ["a\nb", "\u{9b}31m", &"x".repeat(256)] {
            assert!(!posted(name).1.contains("name=\"name\""), "{name:?}");
        }
    }

    #[test]
    fn the_boundary_is_in_no_content() {
        let first = boundary([&b""[..]].into_iter(), &mut fastrand::Rng::with_seed(5));
        let second = boundary([b"x", first.as_bytes()].into_iter(), &mut fastrand::Rng::with_seed(5));
        assert_ne!(first, second);
    }
}
