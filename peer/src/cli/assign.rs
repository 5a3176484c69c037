//! KEY=VALUE of `torrent-status --set`, made into what the control API takes. Keys are the API's; `-` is as good as `_`.

use torrent_common::config::ranges::ACTIVE_TORRENTS;

use super::arguments::{connections, duration, number, rate, ratio};
use crate::options::{FilePriority, OptionsPatch, Preallocation, Priority};
use crate::settings::{AltMode, SettingsPatch};

/// The value that stands for "as configured".
const DEFAULT: &str = "default";
/// Files named in one range at the most.
const MAX_RANGE: usize = 1_000_000;

/// What may be set for a torrent, for those who guess wrong.
const TORRENT_KEYS: &str = "download_limit, upload_limit, max_connections, seed_ratio, seed_time, sequential, \
                            preallocation, or priority.FILES (such as priority.1,3-5=skip)";
/// What may be set for all torrents.
const SETTINGS_KEYS: &str = "download_limit, upload_limit, alt_download_limit, alt_upload_limit, alt_mode, alt_schedule, \
                             max_active_downloads, max_active_seeds, seed_ratio, seed_time";

/// Changes for one torrent.
///
/// # Errors
/// In words for the user.
pub fn torrent(assignments: &[String]) -> Result<OptionsPatch, String> {
    let mut patch = OptionsPatch::default();
    for assignment in assignments {
        let (key, value) = split(assignment)?;
        match key.as_str() {
            "download_limit" => patch.download_limit = Some(or_default(value, rate)?),
            "upload_limit" => patch.upload_limit = Some(or_default(value, rate)?),
            "max_connections" => patch.max_connections = Some(or_default(value, connections)?),
            "seed_ratio" => patch.seed_ratio = Some(or_default(value, ratio)?),
            "seed_time" | "seed_time_s" => patch.seed_time_s = Some(or_default(value, duration)?),
            "sequential" => patch.sequential = Some(or_default(value, yes_or_no)?),
            "preallocation" => patch.preallocation = Some(or_default(value, preallocation)?),
            key => match key.strip_prefix("priority.") {
                Some(files) => {
                    let priority = or_default(value, priority)?.unwrap_or_default();
                    patch.files.extend(numbers(files)?.map(|index| FilePriority { index, priority }));
                }
                None => return Err(format!("{key:?} cannot be set for a torrent: {TORRENT_KEYS}")),
            },
        }
    }
    Ok(patch)
}

/// Changes for all torrents.
///
/// # Errors
/// In words for the user.
pub fn settings(assignments: &[String]) -> Result<SettingsPatch, String> {
    let mut patch = SettingsPatch::default();
    for assignment in assignments {
        let (key, value) = split(assignment)?;
        match key.as_str() {
            "download_limit" => patch.download_limit = Some(or_default(value, rate)?),
            "upload_limit" => patch.upload_limit = Some(or_default(value, rate)?),
            "alt_download_limit" => patch.alt_download_limit = Some(or_default(value, rate)?),
            "alt_upload_limit" => patch.alt_upload_limit = Some(or_default(value, rate)?),
            "alt_mode" => patch.alt_mode = Some(or_default(value, alt_mode)?),
            "alt_schedule" => patch.alt_schedule = Some(or_default(value, |text| Ok(text.to_owned()))?),
            "max_active_downloads" => patch.max_active_downloads = Some(or_default(value, count)?),
            "max_active_seeds" => patch.max_active_seeds = Some(or_default(value, count)?),
            "seed_ratio" => patch.seed_ratio = Some(or_default(value, ratio)?),
            "seed_time" | "seed_time_s" => patch.seed_time_s = Some(or_default(value, duration)?),
            key => {
                return Err(format!(
                    "{key:?} cannot be set for all torrents: {SETTINGS_KEYS}; for a single one name it"
                ));
            }
        }
    }
    Ok(patch)
}

fn split(assignment: &str) -> Result<(String, &str), String> {
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| format!("{assignment:?} is not KEY=VALUE, such as upload_limit=500K"))?;
    let mut key = key.trim().to_ascii_lowercase();
    // In file numbers it is a range.
    if !key.contains('.') {
        key = key.replace('-', "_");
    }
    Ok((key, value.trim()))
}

fn or_default<T>(value: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if value.eq_ignore_ascii_case(DEFAULT) { Ok(None) } else { read(value).map(Some) }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither yes nor no")),
    }
}

fn preallocation(text: &str) -> Result<Preallocation, String> {
    match text {
        "none" => Ok(Preallocation::None),
        "sparse" => Ok(Preallocation::Sparse),
        "full" => Ok(Preallocation::Full),
        _ => Err(format!("{text:?} is neither none, sparse nor full")),
    }
}

fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "skip" => Ok(Priority::Skip),
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err(format!("{text:?} is neither skip, low, normal nor high")),
    }
}

fn alt_mode(text: &str) -> Result<AltMode, String> {
    match text {
        "off" => Ok(AltMode::Off),
        "on" => Ok(AltMode::On),
        "scheduled" => Ok(AltMode::Scheduled),
        _ => Err(format!("{text:?} is neither off, on nor scheduled")),
    }
}

fn count(text: &str) -> Result<usize, String> {
    number(&ACTIVE_TORRENTS, text).map_err(|error| format!("{error}; 0 for no limit"))
}

/// Indices (from 0) of files numbered from 1, as in `1,3-5`.
fn numbers(text: &str) -> Result<impl Iterator<Item = usize>, String> {
    let wrong = || format!("{text:?} does not name files: numbers as --files shows them, such as 1,3-5");
    let number = |text: &str| text.parse::<usize>().ok().filter(|&number| number > 0).ok_or_else(wrong);
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last - first >= MAX_RANGE {
            return Err(wrong());
        }
        ranges.push(first - 1..last);
    }
    Ok(ranges.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn every_key_of_a_torrent() {
        let patch = torrent(&strings(&[
            "download_limit=1M",
            "Upload-Limit=default",
            "max_connections=5",
            "seed_ratio = 1.5",
            "seed-time=1h",
            "sequential=yes",
            "preallocation=none",
            "priority.1,3-4=skip",
            "priority.2=high",
        ]))
        .unwrap();
        let file = |index, priority| FilePriority { index, priority };
        let expected = OptionsPatch {
            download_limit: Some(Some(1 << 20)),
            upload_limit: Some(None),
            max_connections: Some(Some(5)),
            seed_ratio: Some(Some(1.5)),
            seed_time_s: Some(Some(3600)),
            sequential: Some(Some(true)),
            preallocation: Some(Some(Preallocation::None)),
            priorities: None,
            files: vec![
                file(0, Priority::Skip),
                file(2, Priority::Skip),
                file(3, Priority::Skip),
                file(1, Priority::High),
            ],
        };
        assert_eq!(patch, expected);
    }

    #[test]
    fn every_key_of_the_daemon() {
        let patch = settings(&strings(&[
            "download_limit=1",
            "upload_limit=2",
            "alt_download_limit=3",
            "alt_upload_limit=4",
            "alt_mode=scheduled",
            "alt_schedule=nights",
            "max_active_downloads=5",
            "max_active_seeds=default",
            "seed_ratio=2",
            "seed_time=0",
        ]))
        .unwrap();
        let expected = SettingsPatch {
            download_limit: Some(Some(1)),
            upload_limit: Some(Some(2)),
            alt_download_limit: Some(Some(3)),
            alt_upload_limit: Some(Some(4)),
            alt_mode: Some(Some(AltMode::Scheduled)),
            alt_schedule: Some(Some("nights".into())),
            max_active_downloads: Some(Some(5)),
            max_active_seeds: Some(None),
            seed_ratio: Some(Some(2.0)),
            seed_time_s: Some(Some(0)),
        };
        assert_eq!(patch, expected);
    }

    #[test]
    fn what_cannot_be_set_is_told_with_what_can() {
        for wrong in [
            "upload_limit",
            "=1",
            "colour=red",
            "upload_limit=fast",
            "sequential=maybe",
            "priority.0=skip",
            "priority.2-1=skip",
            "priority.1-9999999=skip",
            "priority.x=skip",
            "priority.=skip",
            "priority.1=later",
        ] {
            assert!(torrent(&strings(&[wrong])).is_err(), "{wrong}");
        }
        assert!(torrent(&strings(&["colour=red"])).unwrap_err().contains("seed_ratio"));
        assert!(settings(&strings(&["sequential=yes"])).unwrap_err().contains("max_active_seeds"));
        assert_eq!(torrent(&[]).unwrap(), OptionsPatch::default());
    }
}
