//! multipart/form-data (RFC 7578): the little of it that a publication needs.

use super::Publication;

/// A form, ready to be posted.
pub(super) struct Form {
    /// The Content-Type header, with the boundary.
    pub(super) content_type: String,
    /// The request's body.
    pub(super) body: Vec<u8>,
}

/// The form of a publication.
pub(super) fn form(publication: &Publication<'_>, random: &mut fastrand::Rng) -> Form {
    let texts = [publication.name.as_bytes(), publication.description.as_bytes()];
    let boundary = boundary(&[publication.torrent, texts[0], texts[1]], random);
    let mut body = Vec::with_capacity(publication.torrent.len() + texts[0].len() + texts[1].len() + 1024);
    for (name, text) in ["name", "description"].into_iter().zip(texts) {
        part(&mut body, &boundary, &format!("name=\"{name}\""), "text/plain; charset=utf-8", text);
    }
    // The file's name is ours and not the torrent's: a stranger's text has no place in a header.
    let file = format!("name=\"torrent\"; filename=\"{}.torrent\"", publication.info_hash);
    part(&mut body, &boundary, &file, "application/x-bittorrent", publication.torrent);
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Form { content_type: format!("multipart/form-data; boundary={boundary}"), body }
}

fn part(body: &mut Vec<u8>, boundary: &str, disposition: &str, content_type: &str, content: &[u8]) {
    body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
    body.extend_from_slice(format!("Content-Disposition: form-data; {disposition}\r\n").as_bytes());
    body.extend_from_slice(format!("Content-Type: {content_type}\r\n\r\n").as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
}

/// A delimiter that none of the contents has in it.
fn boundary(contents: &[&[u8]], random: &mut fastrand::Rng) -> String {
    loop {
        let boundary: String = std::iter::repeat_with(|| random.alphanumeric()).take(40).collect();
        let has_it =
            |content: &&[u8]| content.windows(boundary.len()).any(|window| window == boundary.as_bytes());
        if !contents.iter().any(has_it) {
            return boundary;
        }
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::ids::{InfoHash, PeerId};

    use super::*;

    #[test]
    fn a_form_as_the_standard_has_it() {
        let publication = Publication {
            torrent: b"d4:info\r\n--e",
            info_hash: InfoHash::new([0xab; 20]),
            name: "Größe\"",
            description: "two\r\nlines",
            peer_id: PeerId::new([0; 20]),
            port: 1,
            key: 2,
            left: 0,
        };
        let form = form(&publication, &mut fastrand::Rng::with_seed(1));
        let boundary = form.content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let hash = "ab".repeat(20);
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"name\"\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\nGröße\"\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"description\"\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\ntwo\r\nlines\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"torrent\"; filename=\"{hash}.torrent\"\r\n\
             Content-Type: application/x-bittorrent\r\n\r\nd4:info\r\n--e\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(form.body).unwrap(), expected);
    }

    #[test]
    fn the_boundary_is_in_no_content() {
        let first = boundary(&[b""], &mut fastrand::Rng::with_seed(5));
        let second = boundary(&[b"x", first.as_bytes()], &mut fastrand::Rng::with_seed(5));
        assert_ne!(first, second);
    }
}
