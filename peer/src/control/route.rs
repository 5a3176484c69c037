//! The paths of the control interface, their methods, and how long their bodies may be.

use torrent_common::ids::InfoHash;

use super::admit::Denied;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// GET /
    Info,
    /// GET /status
    Status,
    /// GET /torrents
    Torrents,
    /// GET /torrents/{info_hash}
    Torrent(InfoHash),
    /// GET /torrents/{info_hash}/status
    TorrentStatus(InfoHash),
    /// POST /torrents/{info_hash}/options
    Options(InfoHash),
    /// GET /settings
    Settings,
    /// POST /settings
    SetSettings,
    /// GET /jobs/{n}
    Job(u64),
    /// POST /jobs/{n}/cancel
    CancelJob(u64),
    /// POST /seed
    Seed,
    /// POST /leech
    Leech,
    /// POST /pause
    Pause,
    /// POST /resume
    Resume,
    /// POST /remove
    Remove,
}

/// Bytes of the body of POST /leech at most: the base64 of the largest torrent file read (64 MiB), with room to spare.
pub const LEECH_BODY_MAX: usize = 96 << 20;

/// Bytes of the body of POST /torrents/{info_hash}/options at most: priorities for half a million files.
pub const OPTIONS_BODY_MAX: usize = 8 << 20;

/// Bytes of any other body at most.
pub const BODY_MAX: usize = 64 << 10;

/// Every path, for those who ask for another.
const PATHS: &str = "GET /, /status, /torrents, /torrents/{info-hash}, /torrents/{info-hash}/status, /settings, /jobs/{number}; \
                     POST /seed, /leech, /pause, /resume, /remove, /torrents/{info-hash}/options, /settings, \
                     /jobs/{number}/cancel";

impl Route {
    /// Finds the route of a path, without its query. The method counts where a path has two.
    pub(super) fn parse(path: &str, method: &str) -> Result<Self, Denied> {
        let mut parts = path.trim_start_matches('/').split('/');
        let found = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(""), None, ..) => Self::Info,
            (Some("status"), None, ..) => Self::Status,
            (Some("torrents"), None, ..) => Self::Torrents,
            (Some("torrents"), Some(hash), None, _) => Self::Torrent(info_hash(hash)?),
            (Some("torrents"), Some(hash), Some("status"), None) => Self::TorrentStatus(info_hash(hash)?),
            (Some("torrents"), Some(hash), Some("options"), None) => Self::Options(info_hash(hash)?),
            (Some("settings"), None, ..) if method == "POST" => Self::SetSettings,
            (Some("settings"), None, ..) => Self::Settings,
            (Some("jobs"), Some(job), None, _) => Self::Job(job_number(job)?),
            (Some("jobs"), Some(job), Some("cancel"), None) => Self::CancelJob(job_number(job)?),
            (Some("seed"), None, ..) => Self::Seed,
            (Some("leech"), None, ..) => Self::Leech,
            (Some("pause"), None, ..) => Self::Pause,
            (Some("resume"), None, ..) => Self::Resume,
            (Some("remove"), None, ..) => Self::Remove,
            _ => return Err(Denied::new(404, format!("no such path; there are {PATHS}"))),
        };
        Ok(found)
    }

    /// Whether nothing is changed by it.
    const fn is_question(self) -> bool {
        match self {
            Self::Info
            | Self::Status
            | Self::Torrents
            | Self::Torrent(_)
            | Self::TorrentStatus(_)
            | Self::Settings
            | Self::Job(_) => true,
            Self::CancelJob(_)
            | Self::Seed
            | Self::Leech
            | Self::Pause
            | Self::Resume
            | Self::Remove
            | Self::Options(_)
            | Self::SetSettings => false,
        }
    }

    /// Its method.
    pub const fn method(self) -> &'static str {
        if self.is_question() { "GET" } else { "POST" }
    }

    /// The methods that its path takes.
    pub(super) const fn allowed(self) -> &'static str {
        match self {
            Self::Settings | Self::SetSettings => "GET, POST",
            one => one.method(),
        }
    }

    /// Bytes that its body may have.
    pub const fn body_max(self) -> usize {
        match self {
            Self::Options(_) => OPTIONS_BODY_MAX,
            Self::Leech => LEECH_BODY_MAX,
            one if one.is_question() => 0,
            _ => BODY_MAX,
        }
    }
}

fn info_hash(text: &str) -> Result<InfoHash, Denied> {
    text.parse().map_err(|error| Denied::new(400, format!("{error}")))
}

fn job_number(text: &str) -> Result<u64, Denied> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Denied::new(400, "a job is a number"));
    }
    text.parse().map_err(|_| Denied::new(404, "no such job"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_that_are_named_are_there() {
        for method in PATHS.split("; ") {
            let (method, paths) = method.split_once(' ').unwrap();
            for path in paths.split(',') {
                let path = path.trim().replace("{info-hash}", &"ab".repeat(20)).replace("{number}", "7");
                let route = Route::parse(&path, method).unwrap_or_else(|denied| panic!("{path}: {denied:?}"));
                assert_eq!(route.method(), method, "{path}");
            }
        }
        assert!(Route::parse("/x", "GET").unwrap_err().message.contains("POST /seed, /leech"));
    }
}
