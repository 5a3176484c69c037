//! What is counted by. Each list is closed, and in the order in which it is shown.

use torrent_common::announce::Event;

use super::family::Label;
use crate::announce::Refusal;
use crate::http::Route;

/// Makes an enum a [`Label`]: its key, and a word for each value.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $key:literal { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$about])* $variant),+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];
            pub(crate) const COUNT: usize = Self::ALL.len();
        }

        impl Label for $name {
            const LEN: usize = Self::COUNT;

            fn index(self) -> usize {
                self as usize
            }

            fn at(index: usize) -> Option<Self> {
                Self::ALL.get(index).copied()
            }

            fn show(self, show: &mut dyn FnMut(&'static str, &'static str)) {
                let word = match self { $(Self::$variant => $word),+ };
                show($key, word);
            }
        }
    };
}

label! {
    /// What carries announces.
    Protocol, "protocol" {
        Http = "http",
        Udp = "udp",
    }
}

label! {
    /// What an announce says that has happened.
    EventLabel, "event" {
        None = "none",
        Started = "started",
        Completed = "completed",
        Stopped = "stopped",
        Paused = "paused",
    }
}

label! {
    /// Why an announce or a scrape was answered with a failure.
    Failure, "reason" {
        /// It cannot be read, or lacks something.
        Malformed = "malformed",
        /// ACCESS does not let the torrent in.
        NotTracked = "not_tracked",
        /// Port 0.
        Port = "port",
        /// There are too many peers or torrents.
        Full = "full",
        /// A scrape of everything, where FULL_SCRAPE does not say so.
        FullScrape = "full_scrape",
        /// X-Forwarded-For of a proxy that is not known, or that nobody understands.
        Proxy = "proxy",
        /// A web page is behind it.
        WebPage = "web_page",
    }
}

label! {
    /// Why a packet got no answer.
    Dropped, "reason" {
        /// It is no request.
        Malformed = "malformed",
        /// It has no good connection id.
        ConnectionId = "connection_id",
        /// It came from port 0, where nobody can be answered.
        Port = "port",
    }
}

label! {
    /// Why a connection was shut down by us.
    Closed, "reason" {
        /// Its request's body cannot be told from the next request.
        Malformed = "malformed",
        /// Its request's body was too long, or came to an early end.
        Body = "body",
        /// It sent too many requests without waiting for answers.
        Pipelined = "pipelined",
        /// It did not read its answer in time.
        Unread = "unread",
        /// Its request or answer took too long.
        Deadline = "deadline",
        /// The queue for its request was full.
        Busy = "busy",
        /// There were no open files left.
        OpenFiles = "open_files",
        /// Its request's head, or all heads together, were too long.
        LongHead = "long_head",
        /// Its request's head took too long.
        SlowHead = "slow_head",
        /// It asked nothing for too long.
        Idle = "idle",
        /// There were too many connections.
        TooMany = "too_many",
    }
}

label! {
    /// What was asked for over HTTP.
    Page, "page" {
        Status = "status",
        Announce = "announce",
        Scrape = "scrape",
        Torrents = "torrents",
        Torrent = "torrent",
        Files = "files",
        Removal = "removal",
        Upload = "upload",
        Metrics = "metrics",
        /// A page for people, or what belongs to it.
        Web = "web",
        Feed = "feed",
        /// No such path, or not with this method.
        Other = "other",
    }
}

label! {
    /// How it was answered.
    AnswerClass, "code" {
        Success = "2xx",
        Redirection = "3xx",
        Refusal = "4xx",
        Error = "5xx",
    }
}

label! {
    /// What became of an upload.
    Upload, "result" {
        New = "new",
        /// It was in the catalogue already.
        Known = "known",
        /// The form, or the torrent in it, is not valid.
        Malformed = "malformed",
        /// A wrong token, a private torrent, or one that is not tracked.
        Forbidden = "forbidden",
        TooLarge = "too_large",
        /// Too many from one address.
        Quota = "quota",
        /// The catalogue is full, busy or broken.
        Failed = "failed",
    }
}

impl From<Event> for EventLabel {
    fn from(event: Event) -> Self {
        match event {
            Event::None => Self::None,
            Event::Started => Self::Started,
            Event::Completed => Self::Completed,
            Event::Stopped => Self::Stopped,
            Event::Paused => Self::Paused,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotTracked => Self::NotTracked,
            Refusal::Port => Self::Port,
            Refusal::Full(_) => Self::Full,
        }
    }
}

impl From<Route> for Page {
    fn from(route: Route) -> Self {
        match route {
            Route::Status => Self::Status,
            Route::Metrics => Self::Metrics,
            Route::Announce => Self::Announce,
            Route::Scrape => Self::Scrape,
            Route::Torrents => Self::Torrents,
            Route::Torrent(_) => Self::Torrent,
            Route::Files(_) => Self::Files,
            Route::Removal(_) => Self::Removal,
            Route::Upload | Route::FilledForm => Self::Upload,
            Route::List | Route::Entry(_) | Route::Form | Route::Style | Route::Icon | Route::Api => {
                Self::Web
            }
            Route::Feed => Self::Feed,
            Route::NotFound | Route::WrongMethod(_) => Self::Other,
        }
    }
}

/// By the status of an answer.
impl From<u16> for AnswerClass {
    fn from(status: u16) -> Self {
        match status {
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::Refusal,
            500.. => Self::Error,
        }
    }
}

/// By the status of its answer: see `http/upload.rs`.
impl From<u16> for Upload {
    fn from(status: u16) -> Self {
        match status {
            201 => Self::New,
            ..300 => Self::Known,
            401 | 403 => Self::Forbidden,
            413 => Self::TooLarge,
            429 => Self::Quota,
            500.. => Self::Failed,
            300..500 => Self::Malformed,
        }
    }
}
