//! What holds for all torrents of a daemon and can be changed while it runs. A start begins with what config.ini says.

use serde::{Deserialize, Serialize};
use torrent_common::config::ranges::{ACTIVE_TORRENTS, OutOfRange, RATE, SEED_RATIO, SEED_TIME};
use torrent_common::config::{PeerConfig, Schedule, ScheduleError};

use crate::limits::Rates;
use crate::options::{check_all, named};

/// GET /settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSettings {
    /// Bytes of payload per second, of all torrents together; 0: no limit.
    pub download_limit: u64,
    /// Bytes of payload per second, of all torrents together; 0: no limit.
    pub upload_limit: u64,
    /// The same while the alternative limits hold.
    pub alt_download_limit: u64,
    /// The same while the alternative limits hold.
    pub alt_upload_limit: u64,
    /// Which limits hold. A change that names a schedule and no mode makes `off` `scheduled`.
    pub alt_mode: AltMode,
    /// When the alternative limits hold, if that is by schedule; empty or `never`: never.
    pub alt_schedule: String,
    /// Torrents that download, or check what they have, at a time; 0: no limit. The others are queued.
    pub max_active_downloads: usize,
    /// Complete torrents that have connections at a time; 0: no limit. The others are queued.
    pub max_active_seeds: usize,
    /// Seeding ends when so many times the size of what is selected of a torrent were uploaded; 0: never, at most 1000000.
    pub seed_ratio: f64,
    /// Seeding ends so many seconds after a torrent was complete; 0: never.
    pub seed_time_s: u64,
}

/// Which limits of rates hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AltMode {
    /// The usual ones.
    #[default]
    Off,
    /// The alternative ones.
    On,
    /// The alternative ones when the schedule says so.
    Scheduled,
}

/// POST /settings: a change (a JSON merge patch, RFC 7396): what is absent stays, what is null becomes as in config.ini.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsPatch {
    /// See [`SessionSettings::download_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub download_limit: Option<Option<u64>>,
    /// See [`SessionSettings::upload_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<Option<u64>>,
    /// See [`SessionSettings::alt_download_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub alt_download_limit: Option<Option<u64>>,
    /// See [`SessionSettings::alt_upload_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub alt_upload_limit: Option<Option<u64>>,
    /// See [`SessionSettings::alt_mode`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub alt_mode: Option<Option<AltMode>>,
    /// See [`SessionSettings::alt_schedule`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub alt_schedule: Option<Option<String>>,
    /// See [`SessionSettings::max_active_downloads`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub max_active_downloads: Option<Option<usize>>,
    /// See [`SessionSettings::max_active_seeds`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub max_active_seeds: Option<Option<usize>>,
    /// See [`SessionSettings::seed_ratio`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub seed_ratio: Option<Option<f64>>,
    /// See [`SessionSettings::seed_time_s`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub seed_time_s: Option<Option<u64>>,
}

/// What was asked for makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Too little or too much, as in config.ini.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// Not days and hours.
    #[error("an alt_schedule is {0}")]
    Schedule(#[from] ScheduleError),
}

impl SessionSettings {
    /// As config.ini has them.
    pub fn configured(config: &PeerConfig) -> Self {
        Self {
            download_limit: config.download_limit,
            upload_limit: config.upload_limit,
            alt_download_limit: config.alt_download_limit,
            alt_upload_limit: config.alt_upload_limit,
            alt_mode: if config.alt_schedule.is_empty() { AltMode::Off } else { AltMode::Scheduled },
            alt_schedule: config.alt_schedule.to_string(),
            max_active_downloads: config.max_active_downloads,
            max_active_seeds: config.max_active_seeds,
            seed_ratio: config.seed_ratio,
            seed_time_s: config.seed_time_s,
        }
    }
}

impl SessionSettings {
    /// What concerns rates.
    pub fn rates(&self) -> Rates {
        Rates {
            download: self.download_limit,
            upload: self.upload_limit,
            alt_download: self.alt_download_limit,
            alt_upload: self.alt_upload_limit,
            alt_mode: self.alt_mode,
            // What is no schedule was refused when it was set.
            alt_schedule: self.alt_schedule.parse().unwrap_or_default(),
        }
    }
}

impl SettingsPatch {
    /// Changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The settings after the change; `configured` is what null stands for.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn applied_to(
        &self,
        settings: &SessionSettings,
        configured: &SessionSettings,
    ) -> Result<SessionSettings, SettingsError> {
        self.check()?;
        let (now, then) = (settings, configured);
        let mut next = SessionSettings {
            download_limit: pick(self.download_limit.as_ref(), &now.download_limit, &then.download_limit),
            upload_limit: pick(self.upload_limit.as_ref(), &now.upload_limit, &then.upload_limit),
            alt_download_limit: pick(
                self.alt_download_limit.as_ref(),
                &now.alt_download_limit,
                &then.alt_download_limit,
            ),
            alt_upload_limit: pick(
                self.alt_upload_limit.as_ref(),
                &now.alt_upload_limit,
                &then.alt_upload_limit,
            ),
            alt_mode: pick(self.alt_mode.as_ref(), &now.alt_mode, &then.alt_mode),
            alt_schedule: pick(self.alt_schedule.as_ref(), &now.alt_schedule, &then.alt_schedule),
            max_active_downloads: pick(
                self.max_active_downloads.as_ref(),
                &now.max_active_downloads,
                &then.max_active_downloads,
            ),
            max_active_seeds: pick(
                self.max_active_seeds.as_ref(),
                &now.max_active_seeds,
                &then.max_active_seeds,
            ),
            seed_ratio: pick(self.seed_ratio.as_ref(), &now.seed_ratio, &then.seed_ratio),
            seed_time_s: pick(self.seed_time_s.as_ref(), &now.seed_time_s, &then.seed_time_s),
        };
        // Who sets a schedule and says nothing else wants it to hold.
        let has_schedule = next.alt_schedule.parse().is_ok_and(|schedule: Schedule| !schedule.is_empty());
        if self.alt_schedule.is_some()
            && self.alt_mode.is_none()
            && has_schedule
            && next.alt_mode == AltMode::Off
        {
            next.alt_mode = AltMode::Scheduled;
        }
        Ok(next)
    }

    /// Whether every value makes sense.
    fn check(&self) -> Result<(), SettingsError> {
        let rates = [
            ("download_limit", self.download_limit),
            ("upload_limit", self.upload_limit),
            ("alt_download_limit", self.alt_download_limit),
            ("alt_upload_limit", self.alt_upload_limit),
        ];
        check_all(&RATE, rates)?;
        let places = [
            ("max_active_downloads", self.max_active_downloads),
            ("max_active_seeds", self.max_active_seeds),
        ];
        check_all(&ACTIVE_TORRENTS, places)?;
        check_all(&SEED_TIME, [("seed_time_s", self.seed_time_s)])?;
        if let Some(ratio) = self.seed_ratio.flatten() {
            SEED_RATIO.check("seed_ratio", ratio)?;
        }
        if let Some(Some(schedule)) = &self.alt_schedule {
            schedule.parse::<Schedule>()?;
        }
        Ok(())
    }
}

/// A field after a change: what it is now, was configured as, or is to be.
fn pick<T: Clone>(named: Option<&Option<T>>, now: &T, configured: &T) -> T {
    match named {
        None => now.clone(),
        Some(value) => value.clone().unwrap_or_else(|| configured.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_stays_and_null_is_as_in_the_file() {
        let config = PeerConfig { max_active_seeds: 3, seed_ratio: 2.5, ..PeerConfig::default() };
        let configured = SessionSettings::configured(&config);
        assert_eq!((configured.max_active_seeds, configured.seed_ratio), (3, 2.5));
        let patch = |json: &str| serde_json::from_str::<SettingsPatch>(json).unwrap();
        let set = patch(r#"{"max_active_seeds":9,"seed_ratio":0,"alt_mode":"scheduled"}"#);
        let changed = set.applied_to(&configured, &configured).unwrap();
        let expected = SessionSettings {
            max_active_seeds: 9,
            seed_ratio: 0.0,
            alt_mode: AltMode::Scheduled,
            ..configured.clone()
        };
        assert_eq!(changed, expected);
        assert_eq!(patch("{}").applied_to(&changed, &configured).unwrap(), changed);
        let back = patch(r#"{"max_active_seeds":null,"seed_ratio":null,"alt_mode":null}"#);
        assert_eq!(back.applied_to(&changed, &configured).unwrap(), configured);
        let odd = patch(r#"{"alt_schedule":"at night"}"#).applied_to(&changed, &changed);
        assert_eq!(odd, Err(SettingsError::Schedule(ScheduleError)));
        for wrong in [
            r#"{"seed_ratio":-1}"#,
            r#"{"seed_ratio":1e308}"#,
            r#"{"max_active_seeds":1000001}"#,
            r#"{"max_active_downloads":18446744073709551615}"#,
            r#"{"seed_time_s":18446744073709551615}"#,
            r#"{"alt_upload_limit":1099511627777}"#,
        ] {
            let error = patch(wrong).applied_to(&changed, &changed).unwrap_err();
            assert!(matches!(error, SettingsError::Range(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_schedule_that_is_set_holds_unless_told_otherwise() {
        let configured = SessionSettings::configured(&PeerConfig::default());
        let mode = |json: &str, before: &SessionSettings| {
            let patch = serde_json::from_str::<SettingsPatch>(json).unwrap();
            patch.applied_to(before, &configured).unwrap().alt_mode
        };
        let nights = r#"{"alt_schedule":"22:00-06:00"}"#;
        assert_eq!(mode(nights, &configured), AltMode::Scheduled);
        assert_eq!(mode(r#"{"alt_schedule":"22:00-06:00","alt_mode":"off"}"#, &configured), AltMode::Off);
        assert_eq!(mode(r#"{"alt_schedule":"22:00-06:00","alt_mode":null}"#, &configured), AltMode::Off);
        let on = SessionSettings { alt_mode: AltMode::On, ..configured.clone() };
        assert_eq!(mode(nights, &on), AltMode::On);
        for never in [r#"{"alt_schedule":"never"}"#, r#"{"alt_schedule":null}"#, r#"{"upload_limit":1}"#] {
            assert_eq!(mode(never, &configured), AltMode::Off);
        }
    }
}
