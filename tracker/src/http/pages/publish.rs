//! The form for uploads, and what comes of it: `/upload`.

use askama::Template;
use tiny_http::Request;

use super::show;
use super::{Frame, Place, Visit, page};
use crate::catalogue::{MAX_DESCRIPTION_LEN, MAX_NAME_LEN};
use crate::http::answer::Answer;
use crate::http::multipart;
use crate::http::upload::Refused;

#[derive(Template)]
#[template(path = "upload.html")]
struct Form<'a> {
    frame: Frame,
    /// Why nothing was published; empty: nothing was sent yet.
    reason: &'a str,
    needs_token: bool,
    max_size: String,
    max_name_len: usize,
    max_description_len: usize,
    name: &'a str,
    description: &'a str,
}

/// GET /upload.
pub(super) fn form(visit: Visit<'_>) -> Answer {
    filled(visit, 200, "", ("", ""))
}

/// The form again, with what was written into it as far as that can be read, and the reason why it was not taken. A page
/// cannot choose a file again, nor should it know a token.
pub(in crate::http) fn refused(
    visit: Visit<'_>,
    refused: &Refused,
    request: &Request,
    body: &[u8],
) -> Answer {
    let content_type = request.headers().iter().find(|header| header.field.equiv("Content-Type"));
    let boundary = content_type.and_then(|header| multipart::boundary(header.value.as_str()).ok());
    // Of a long body only the beginning may be there.
    let form = boundary.map(|boundary| multipart::Form::parse_start(body, boundary));
    let field = |name, max_len: usize| {
        let value = form.as_ref().and_then(|form| form.get(name)).unwrap_or_default();
        show::visible(&String::from_utf8_lossy(value.get(..max_len).unwrap_or(value)))
    };
    // Twice as much as may be sent: who wrote too much is to see what to leave out.
    let (name, description) =
        (field("name", 2 * MAX_NAME_LEN), field("description", 2 * MAX_DESCRIPTION_LEN));
    filled(visit, refused.status, &refused.reason, (&name, &description))
}

fn filled(visit: Visit<'_>, status: u16, reason: &str, (name, description): (&str, &str)) -> Answer {
    let form = Form {
        frame: Frame::new(visit, Place::Upload),
        reason,
        needs_token: visit.shared.upload_token.is_some(),
        max_size: show::size(visit.shared.max_torrent_len as u64),
        max_name_len: MAX_NAME_LEN,
        max_description_len: MAX_DESCRIPTION_LEN,
        name,
        description,
    };
    page(status, &form)
}
