//! Numbers and strangers' texts, as people read them. The only room that decides how.

use crate::control::api::{TorrentState, TorrentStatus};
use crate::text::{escape_for_log, tame};

/// What stands for "none" or "not known".
pub const NONE: &str = "-";

/// Bytes: `0 B`, `1023 B`, `1.0 KiB`, `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in UNITS.into_iter().skip(1) {
        // What would be shown as 1024.0 belongs to the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Bytes per second: `1.2 MiB/s`; nothing is [`NONE`].
pub fn rate(bytes_per_second: u64) -> String {
    match bytes_per_second {
        0 => NONE.into(),
        some => format!("{}/s", size(some)),
    }
}

/// Seconds: `45s`, `3m05s`, `1h02m`, `2d03h`; not known, or beyond 99 days, is [`NONE`].
pub fn duration(seconds: Option<u64>) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        Some(s) if s < MINUTE => format!("{s}s"),
        Some(s) if s < HOUR => format!("{}m{:02}s", s / MINUTE, s % MINUTE),
        Some(s) if s < DAY => format!("{}h{:02}m", s / HOUR, s % HOUR / MINUTE),
        Some(s) if s < 100 * DAY => format!("{}d{:02}h", s / DAY, s % DAY / HOUR),
        _ => NONE.into(),
    }
}

/// 0 to 1 as `12.3%`, rounded down: 100 % is shown only when nothing is missing.
pub fn percent(progress: f64) -> String {
    let progress = if progress.is_finite() { progress.clamp(0.0, 1.0) } else { 0.0 };
    // 0.29 is a little less than 29 hundredths in binary.
    let thousandths = (progress * 1000.0 + 1e-9).floor();
    let thousandths = if progress < 1.0 { thousandths.min(999.0) } else { 1000.0 };
    format!("{:.1}%", thousandths / 10.0)
}

/// Bytes uploaded for each one that is selected: the same that SEED_RATIO is about, whether it was downloaded here or made.
pub fn ratio(status: &TorrentStatus) -> String {
    match status.selected {
        0 => NONE.into(),
        base => format!("{:.2}", status.uploaded as f64 / base as f64),
    }
}

/// The size of a torrent; of one that is wanted in part what that comes to, and the size: `2.9 MiB of 42.9 MiB`.
pub fn wanted(status: &TorrentStatus) -> String {
    if status.selected == status.size {
        return size(status.size);
    }
    format!("{} of {}", size(status.selected), size(status.size))
}

/// `1 peer`, `2 peers`.
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}

/// What a torrent does, in a word.
pub const fn state(state: TorrentState) -> &'static str {
    match state {
        TorrentState::Checking => "checking",
        TorrentState::Downloading => "downloading",
        TorrentState::Seeding => "seeding",
        TorrentState::Paused => "paused",
        TorrentState::Error => "error",
        TorrentState::Stopping => "stopping",
        TorrentState::Queued => "queued",
        TorrentState::Finished => "finished",
    }
}

/// How far a torrent is, in one line without its name.
pub fn progress_line(status: &TorrentStatus) -> String {
    let percent = percent(status.progress);
    if let (TorrentState::Downloading, Some(trouble)) = (status.state, &status.error) {
        return format!("waiting at {percent}: {}", message(trouble, 200));
    }
    match status.state {
        TorrentState::Checking => format!("checking {percent}"),
        TorrentState::Downloading => format!(
            "{percent} of {}  {}  {}  ETA {}",
            size(status.selected),
            rate(status.download_rate),
            count(status.peers, "peer"),
            duration(status.eta_seconds)
        ),
        TorrentState::Seeding => {
            format!("seeding  up {}  {}", rate(status.upload_rate), count(status.peers, "peer"))
        }
        TorrentState::Paused => format!("paused at {percent}"),
        TorrentState::Stopping => format!("stopping at {percent}, when its disk is done"),
        TorrentState::Queued => format!("queued at {percent}"),
        TorrentState::Finished => "finished: seeded as long as it was to be".into(),
        TorrentState::Error => {
            format!("error: {}", message(status.error.as_deref().unwrap_or("not told"), 200))
        }
    }
}

/// A stranger's text of at most `max_chars` characters, safe to print.
pub fn text(text: &str, max_chars: usize) -> String {
    escape_for_log(text, max_chars)
}

/// A message of at most `max_chars` characters with strangers' text in it, some of it escaped already: safe to print.
pub fn message(text: &str, max_chars: usize) -> String {
    tame(text, max_chars)
}

/// A file name made of a stranger's text: letters, digits, `.`, `-` and `_` of at most 80 bytes, none hidden. May be empty.
pub fn file_stem(name: &str) -> String {
    let mut stem = String::new();
    for character in name.chars() {
        let safe =
            if character.is_alphanumeric() || matches!(character, '.' | '-' | '_') { character } else { '_' };
        if stem.len() + safe.len_utf8() > 80 {
            break;
        }
        stem.push(safe);
    }
    stem.trim_matches(['.', '_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use torrent_common::ids::InfoHash;

    use super::*;

    fn status(state: TorrentState) -> TorrentStatus {
        TorrentStatus {
            info_hash: InfoHash::new([0; 20]),
            name: "n".into(),
            state,
            progress: 0.5,
            size: 10 << 20,
            selected: 10 << 20,
            downloaded: 5 << 20,
            uploaded: 1 << 20,
            download_rate: 1 << 20,
            upload_rate: 0,
            peers: 2,
            seeds: 1,
            eta_seconds: Some(62),
            error: None,
            retry_seconds: None,
            output: "/".into(),
            private: false,
        }
    }

    #[test]
    fn sizes() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_575, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (1 << 50, "1.0 PiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(rate(0), "-");
        assert_eq!(rate(3 << 20), "3.0 MiB/s");
    }

    #[test]
    fn durations() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (185, "3m05s"),
            (3599, "59m59s"),
            (3720, "1h02m"),
            (86399, "23h59m"),
            (97200, "1d03h"),
            (u64::MAX, "-"),
        ] {
            assert_eq!(duration(Some(seconds)), shown);
        }
        assert_eq!(duration(None), "-");
    }

    #[test]
    fn percents() {
        for (progress, shown) in [
            (0.0, "0.0%"),
            (0.29, "29.0%"),
            (0.12345, "12.3%"),
            (0.9999, "99.9%"),
            (0.999_999_999_999, "99.9%"),
            (1.0, "100.0%"),
            (2.0, "100.0%"),
            (-1.0, "0.0%"),
            (f64::NAN, "0.0%"),
        ] {
            assert_eq!(percent(progress), shown, "{progress}");
        }
    }

    #[test]
    fn ratios() {
        let all = status(TorrentState::Seeding);
        assert_eq!(ratio(&all), "0.10");
        assert_eq!(ratio(&TorrentStatus { downloaded: 0, ..all.clone() }), "0.10");
        assert_eq!(ratio(&TorrentStatus { selected: all.size / 2, ..all.clone() }), "0.20");
        assert_eq!(ratio(&TorrentStatus { selected: 0, ..all }), "-");
    }

    #[test]
    fn progress_lines() {
        assert_eq!(
            progress_line(&status(TorrentState::Downloading)),
            "50.0% of 10.0 MiB  1.0 MiB/s  2 peers  ETA 1m02s"
        );
        let part = TorrentStatus { selected: 3 << 20, ..status(TorrentState::Downloading) };
        assert!(progress_line(&part).starts_with("50.0% of 3.0 MiB "));
        assert_eq!(
            (wanted(&part).as_str(), wanted(&status(TorrentState::Queued)).as_str()),
            ("3.0 MiB of 10.0 MiB", "10.0 MiB")
        );
        let error = TorrentStatus { error: Some("\u{1b}[2J".into()), ..status(TorrentState::Error) };
        assert!(!progress_line(&error).contains('\u{1b}'));
    }

    #[test]
    fn file_stems() {
        for (name, stem) in [
            ("holiday pictures", "holiday_pictures"),
            ("../../etc/passwd", "etc_passwd"),
            (".hidden", "hidden"),
            ("..", ""),
            ("a/b\\c\0d", "a_b_c_d"),
            ("Größe 3", "Größe_3"),
            ("-rf", "rf"),
        ] {
            assert_eq!(file_stem(name), stem);
        }
    }

    proptest! {
        #[test]
        fn file_stems_stay_in_their_folder(name in any::<String>()) {
            let stem = file_stem(&name);
            prop_assert!(stem.len() <= 80);
            prop_assert!(!stem.contains(['/', '\\', '\0']) && !stem.starts_with('.'));
        }
    }
}
