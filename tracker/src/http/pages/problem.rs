//! Refusals and failures, for people.

use askama::Template;

use super::{Frame, Place, Visit, page};
use crate::http::answer::Answer;

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    frame: Frame,
    title: &'static str,
    /// One sentence or more, in any case.
    reason: &'a str,
}

/// The page that says why there is no other.
pub(in crate::http) fn problem(visit: Visit<'_>, status: u16, reason: &str) -> Answer {
    let title = match status {
        400 => "That was not understood",
        403 => "Not allowed",
        404 => "Nothing here",
        405 => "Not like that",
        503 => "Not now",
        _ => "That did not work",
    };
    page(status, &Problem { frame: Frame::new(visit, Place::Elsewhere), title, reason })
}
