//! The limits of all torrents together: the usual ones, or the alternative ones by switch or by schedule.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::civil::{Time, Weekday};
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use torrent_common::config::Schedule;

use super::Limits;
use crate::settings::AltMode;
use crate::wake::Waker;

/// What is set. Bytes of payload per second; 0: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// Down.
    pub download: u64,
    /// Up.
    pub upload: u64,
    /// Down, while the alternative ones hold.
    pub alt_download: u64,
    /// Up, while the alternative ones hold.
    pub alt_upload: u64,
    /// Which of them hold.
    pub alt_mode: AltMode,
    /// When the alternative ones hold, if that is by schedule.
    pub alt_schedule: Schedule,
}

/// What is set, and the limits that follow from it.
#[derive(Debug, Default)]
pub struct RateControl {
    limits: Limits,
    rates: Mutex<Rates>,
    /// Of the thread that waits for the schedule, if there is one.
    clock: OnceLock<Waker>,
}

impl Rates {
    /// Whether the schedule names this time of the place where we are.
    fn are_alternative(&self, now: &Zoned) -> bool {
        self.alt_schedule.contains(minute_of_week(now))
    }

    /// When that changes, if it does.
    fn next_change(&self, now: &Zoned) -> Option<Timestamp> {
        let minute = self.alt_schedule.next_change(minute_of_week(now))?;
        let days = i64::from(now.weekday().to_monday_zero_offset());
        let monday = now.date().checked_sub(Span::new().try_days(days).ok()?).ok()?;
        // By the clock on the wall, whatever becomes of it until then: the night of a change of the clock is as the
        // clock shows it.
        let wall =
            monday.to_datetime(Time::midnight()).checked_add(Span::new().try_minutes(minute).ok()?).ok()?;
        let wall = now.time_zone().to_ambiguous_zoned(wall);
        // In the hour that the clock shows twice, the first of two times may be over.
        let times = [wall.clone().compatible(), wall.later()];
        let next =
            times.into_iter().flatten().map(|time| time.timestamp()).find(|&time| time > now.timestamp());
        Some(next.unwrap_or(now.timestamp() + SignedDuration::from_mins(1)))
    }
}

impl RateControl {
    /// The limits, for connections.
    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// What is set.
    pub fn rates(&self) -> Rates {
        self.lock().clone()
    }

    /// Sets what holds from now on. When this returns, it does.
    pub fn set(&self, rates: Rates) {
        *self.lock() = rates;
        self.apply();
        // A thread that was just applying what held before does so again.
        if let Some(clock) = self.clock.get() {
            clock.ring();
        }
    }

    /// Applies what is set: when to do so again, if the clock has a say.
    pub(super) fn apply(&self) -> Option<Timestamp> {
        let rates = self.rates();
        let (alternative, next) = match rates.alt_mode {
            AltMode::Off => (false, None),
            AltMode::On => (true, None),
            AltMode::Scheduled => {
                let now = Zoned::now();
                (rates.are_alternative(&now), rates.next_change(&now))
            }
        };
        if alternative {
            self.limits.set(rates.alt_download, rates.alt_upload);
        } else {
            self.limits.set(rates.download, rates.upload);
        }
        next
    }

    /// `waker` is rung when something was set. Once.
    pub(super) fn watch(&self, waker: Waker) {
        let _ = self.clock.set(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn minute_of_week(now: &Zoned) -> u32 {
    let number = |number: i8| u32::from(number.unsigned_abs());
    let day = now.weekday().since(Weekday::Monday);
    (number(day) * 24 + number(now.hour())) * 60 + number(now.minute())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn rates(schedule: &str) -> Rates {
        Rates { alt_mode: AltMode::Scheduled, alt_schedule: schedule.parse().unwrap(), ..Rates::default() }
    }

    #[test]
    fn the_schedule_is_by_the_local_clock() {
        let rates = rates("mon-fri 08:00-18:00");
        // A Wednesday.
        let at = |hour, minute| date(2026, 7, 1).at(hour, minute, 30, 0).to_zoned(berlin()).unwrap();
        assert!(!rates.are_alternative(&at(7, 59)) && rates.are_alternative(&at(8, 0)));
        let next = rates.next_change(&at(7, 59)).unwrap();
        assert_eq!(next.to_string(), "2026-07-01T06:00:00Z");
        assert_eq!(rates.next_change(&at(8, 0)).unwrap().to_string(), "2026-07-01T16:00:00Z");
        let friday = date(2026, 7, 3).at(18, 0, 0, 0).to_zoned(berlin()).unwrap();
        assert_eq!(rates.next_change(&friday).unwrap().to_string(), "2026-07-06T06:00:00Z");
        let utc = at(7, 59).with_time_zone(TimeZone::UTC);
        assert_eq!(rates.next_change(&utc).unwrap().to_string(), "2026-07-01T08:00:00Z");
    }

    #[test]
    fn a_night_in_which_the_clock_changes_is_as_the_clock_shows_it() {
        let rates = rates("22:00-06:00, sun 02:30-12:00");
        // In the night to 29 March 2026 there is no 02:30; in the night to 25 October there are two.
        for (evening, morning) in [
            (date(2026, 3, 28).at(23, 0, 0, 0), "2026-03-29T10:00:00Z"),
            (date(2026, 10, 24).at(23, 0, 0, 0), "2026-10-25T11:00:00Z"),
        ] {
            let evening = evening.to_zoned(berlin()).unwrap();
            assert!(rates.are_alternative(&evening));
            assert_eq!(rates.next_change(&evening).unwrap().to_string(), morning);
        }
        let second: Timestamp = "2026-10-25T01:10:00Z".parse().unwrap();
        let second = second.to_zoned(berlin());
        assert_eq!(second.hour(), 2);
        let twice = self::rates("sun 02:30-04:00").next_change(&second).unwrap();
        assert_eq!(twice.to_string(), "2026-10-25T01:30:00Z");
        let gap = self::rates("sun 02:30-04:00");
        let evening = date(2026, 3, 28).at(23, 0, 0, 0).to_zoned(berlin()).unwrap();
        let begin = gap.next_change(&evening).unwrap();
        assert_eq!(begin.to_string(), "2026-03-29T01:30:00Z");
        assert!(gap.are_alternative(&begin.to_zoned(berlin())));
    }

    #[test]
    fn what_is_set_holds_when_set_returns() {
        let control = RateControl::default();
        let limits = control.limits();
        let mut rates = Rates { download: 1, upload: 2, alt_download: 3, alt_upload: 4, ..Rates::default() };
        let held = || (limits.down.rate(), limits.up.rate());
        control.set(rates.clone());
        assert_eq!(held(), (1, 2));
        rates.alt_mode = AltMode::On;
        control.set(rates.clone());
        assert_eq!(held(), (3, 4));
        rates.alt_mode = AltMode::Scheduled;
        control.set(rates.clone());
        assert_eq!(held(), (1, 2));
        rates.alt_schedule = "00:00-24:00".parse().unwrap();
        control.set(rates.clone());
        assert_eq!((held(), control.rates()), ((3, 4), rates));
    }
}
