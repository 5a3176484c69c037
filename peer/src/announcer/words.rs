//! What an announce led to, in words: for the owner, the log, and the schedule. Everything made here is safe to print.

use std::time::Duration;

use log::Level;
use torrent_common::announce::AnnounceResponse;
use torrent_common::ids::InfoHash;

use super::Answer;
use super::queue::Task;
use super::schedule::{Led, Outcome};
use super::tiers::Unusable;
use crate::text::escape_for_log;

/// Characters of a message.
const MAX_MESSAGE: usize = 200;
/// Characters of a host's name in a message.
const MAX_HOST: usize = 80;

/// An announce that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why. Escaped.
    pub reason: String,
    /// The tracker answered, and said no.
    pub refused: bool,
}

/// How an announce went.
pub type Result = std::result::Result<AnnounceResponse, Failure>;

/// A line for the log.
pub type Line = (Level, String);

/// What is to be told when the queue is not locked any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// To the owner.
    pub answer: Option<Answer>,
    /// To the log.
    pub line: Option<Line>,
}

/// Why trackers of a torrent are not asked: as its message, and for the log.
pub fn unusable(
    info_hash: InfoHash,
    trackers: &[(String, Unusable)],
    others: bool,
) -> Option<(String, Line)> {
    let ((url, reason), more) = trackers.split_first()?;
    let message = escape_for_log(&format!("{reason}: {url}"), MAX_MESSAGE);
    let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
    let level = if others { Level::Debug } else { Level::Warn };
    let line = format!("{info_hash}: {message}{more}");
    Some((message, (level, line)))
}

/// What the schedule makes of it.
pub fn outcome_of(result: &Result) -> Outcome {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    match result {
        Ok(response) => Outcome::Answered {
            interval: seconds(response.interval_s),
            min_interval: response.min_interval_s.map(seconds),
            tracker_id: response.tracker_id.clone(),
        },
        Err(failure) => Outcome::Failed { refused: failure.refused },
    }
}

/// What the owner is told of it.
pub fn answer_of(task: &Task, led: Led, result: Result) -> Option<Answer> {
    let info_hash = task.info_hash;
    match (led, result) {
        (Led::ToAnswer(interval), Ok(response)) => Some(Answer::Peers {
            info_hash,
            peers: response.peers.iter().map(|peer| peer.address).collect(),
            complete: response.complete,
            incomplete: response.incomplete,
            interval,
        }),
        (Led::ToRetry(_), result @ Err(_)) => {
            Some(Answer::Failed { info_hash, reason: describe(&task.request.host, &result) })
        }
        _ => None,
    }
}

/// What a tracker said last.
pub fn describe(host: &str, result: &Result) -> String {
    let host = printable(host);
    let text = match result {
        Ok(response) => format!(
            "{host}: {}, {}, {} received",
            counted(response.complete, "seeder"),
            counted(response.incomplete, "leecher"),
            counted(response.peers.len(), "peer")
        ),
        // The reason is escaped and must not be so twice.
        Err(failure) => format!("{host}: {}", failure.reason),
    };
    text.chars().take(MAX_MESSAGE).collect()
}

/// For the log: a host begins to fail, or ends to.
pub fn host_line(task: &Task, was_failing: bool, result: &Result) -> Option<Line> {
    let name = printable(&task.request.host);
    match result {
        Err(failure) if !failure.refused && !was_failing => {
            Some((Level::Warn, format!("tracker {name} does not answer: {}", failure.reason)))
        }
        Err(failure) => {
            Some((Level::Debug, format!("tracker {name}, torrent {}: {}", task.info_hash, failure.reason)))
        }
        Ok(_) if was_failing => Some((Level::Info, format!("tracker {name} answers again"))),
        Ok(_) => None,
    }
}

/// For the log: what a tracker wants the user to read.
pub fn warning_line(task: &Task, warning: &str) -> Line {
    let (name, warning) = (printable(&task.request.host), escape_for_log(warning, MAX_MESSAGE));
    (Level::Warn, format!("tracker {name} warns about {}: {warning}", task.info_hash))
}

fn counted(count: impl ToString, what: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn printable(host: &str) -> String {
    escape_for_log(host, MAX_HOST)
}
