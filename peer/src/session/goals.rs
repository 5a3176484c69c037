//! How long a torrent is seeded: plain functions of what is set, what was uploaded, and when it was complete.

use crate::options::TorrentOptions;
use crate::settings::SessionSettings;

/// When seeding a torrent ends: at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goals {
    /// When so many bytes were uploaded.
    pub uploaded: Option<u64>,
    /// When it was complete for so many seconds.
    pub complete_s: Option<u64>,
}

impl Goals {
    /// What is set for a torrent of which `selected` bytes are wanted, or for all. One of which none are has no ratio.
    pub fn of(options: &TorrentOptions, settings: &SessionSettings, selected: u64) -> Self {
        let ratio = options.seed_ratio.unwrap_or(settings.seed_ratio);
        let time = options.seed_time_s.unwrap_or(settings.seed_time_s);
        Self {
            uploaded: (ratio > 0.0 && selected > 0).then(|| bytes(ratio, selected)),
            complete_s: (time > 0).then_some(time),
        }
    }

    /// Whether so many bytes are enough.
    pub fn is_uploaded(&self, uploaded: u64) -> bool {
        self.uploaded.is_some_and(|goal| uploaded >= goal)
    }

    /// When the time is over, in seconds since 1970, for a torrent complete since `completed_s`.
    pub fn end_s(&self, completed_s: u64) -> Option<u64> {
        self.complete_s.map(|time| completed_s.saturating_add(time))
    }

    /// Whether the time is over at `now_s`.
    pub fn is_over(&self, completed_s: u64, now_s: u64) -> bool {
        self.end_s(completed_s).is_some_and(|end| now_s >= end)
    }
}

/// At least a byte: a goal that is reached before anything was uploaded would be no seeding at all.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few bytes more or less of a ratio; the cast saturates, and neither factor is negative"
)]
fn bytes(ratio: f64, size: u64) -> u64 {
    ((ratio * size as f64).ceil() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use torrent_common::config::PeerConfig;

    use super::*;

    fn goals(ratio: Option<f64>, time: Option<u64>, all_ratio: f64, all_time: u64, size: u64) -> Goals {
        let options = TorrentOptions { seed_ratio: ratio, seed_time_s: time, ..TorrentOptions::default() };
        let config = PeerConfig { seed_ratio: all_ratio, seed_time_s: all_time, ..PeerConfig::default() };
        Goals::of(&options, &SessionSettings::configured(&config), size)
    }

    #[test]
    fn a_torrents_own_goals_win() {
        let none = Goals { uploaded: None, complete_s: None };
        assert_eq!(goals(None, None, 0.0, 0, 100), none);
        assert_eq!(goals(Some(0.0), Some(0), 2.0, 60, 100), none, "never, for this one");
        assert_eq!(goals(None, None, 1.5, 60, 100), Goals { uploaded: Some(150), complete_s: Some(60) });
        assert_eq!(goals(Some(0.001), None, 1.5, 0, 100).uploaded, Some(1));
        assert_eq!(goals(Some(1.0), None, 0.0, 0, 0), none);
        assert_eq!(goals(Some(1e300), None, 0.0, 0, 100).uploaded, Some(u64::MAX));
    }

    #[test]
    fn reached_and_not_reached() {
        let goals = goals(Some(2.0), Some(60), 0.0, 0, 100);
        assert!(!goals.is_uploaded(199) && goals.is_uploaded(200));
        assert!(!goals.is_over(1000, 1059) && goals.is_over(1000, 1060));
        assert_eq!(goals.end_s(u64::MAX), Some(u64::MAX));
        // A clock that was set back ends nothing early.
        assert!(!goals.is_over(1000, 0));
    }
}
