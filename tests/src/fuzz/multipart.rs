//! POST /announce: the form of an upload.

use std::collections::HashSet;

use torrent_tracker::fuzzing::form;

/// No value has this in it but by intent.
const BOUNDARY: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

/// The first line of the input is the Content-Type, the rest the body.
pub fn multipart(input: &[u8]) {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (content_type, body) = input.split_at(at);
    let Ok(content_type) = std::str::from_utf8(content_type) else { return };
    let Some(fields) = form(content_type, body.get(1..).unwrap_or_default()) else { return };
    assert!(fields.len() <= 64);
    let names: HashSet<&str> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), fields.len(), "each name once");
    let len: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(len <= body.len(), "nothing is there twice");
    reads_as_written(&fields);
}

/// The same fields, written by the book, are read the same.
fn reads_as_written(fields: &[(&str, &[u8])]) {
    let cannot_be_written = |name: &str, value: &[u8]| {
        name.contains(['"', '\r', '\n'])
            || name.trim_matches([' ', '\t']) != name
            || value.windows(BOUNDARY.len()).any(|window| window == BOUNDARY.as_bytes())
    };
    if fields.iter().any(|(name, value)| cannot_be_written(name, value)) {
        return;
    }
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let again = form(&format!("multipart/form-data; boundary={BOUNDARY}"), &body);
    assert_eq!(again.as_deref(), Some(fields));
}
