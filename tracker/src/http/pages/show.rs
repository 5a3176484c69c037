//! How numbers, times and strangers' texts are shown to people.

use std::fmt::Write as _;

/// What a day has, in seconds.
const DAY_S: i64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A number of bytes in the largest unit that it fills, with one decimal below 100: `97.7 KiB`, `512 B`.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = units.get(exponent.saturating_sub(1) as usize).copied().unwrap_or_default();
    let tenths = u128::from(bytes) * 10 / (1_u128 << (10 * exponent));
    if tenths < 1000 && !tenths.is_multiple_of(10) {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

/// A number with commas: `12,345`.
pub(super) fn number(value: impl TryInto<u64>) -> String {
    let digits = value.try_into().unwrap_or(u64::MAX).to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number and what it counts: `1 file`, `2 files`.
pub(super) fn count(value: u64, what: &str) -> String {
    format!("{} {what}{}", number(value), if value == 1 { "" } else { "s" })
}

/// A stranger's text as it may be shown: without control characters but line ends and tabs, and without those that turn
/// the direction of writing, with which a name can pretend to end in something else. Not escaped: templates do that.
pub(super) fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        (c.is_control() && !"\n\t".contains(c))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    let lines = text.replace("\r\n", "\n");
    lines.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// A moment, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    /// How long ago it was: `3 days ago`. The future is now.
    pub(super) fn ago(self, now_s: i64) -> String {
        let age_s = now_s.saturating_sub(self.0);
        let units =
            [(365 * DAY_S, "year"), (30 * DAY_S, "month"), (DAY_S, "day"), (3600, "hour"), (60, "minute")];
        for (unit_s, name) in units {
            if let Some(whole @ 1..) = age_s.checked_div(unit_s) {
                return format!("{} ago", count(whole.unsigned_abs(), name));
            }
        }
        "just now".to_owned()
    }

    /// As machines read it (RFC 3339): `2026-11-22T21:00:00Z`.
    pub(super) fn machine(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// As people read it: `22 Nov 2026, 21:00 UTC`.
    pub(super) fn exact(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, _) = self.time();
        format!("{day} {} {year}, {hour:02}:{minute:02} UTC", month_name(month))
    }

    /// As mail and feeds have it (RFC 822, with four digits of the year): `Sun, 22 Nov 2026 21:00:00 +0000`.
    pub(super) fn mail(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let weekday = usize::try_from(self.0.div_euclid(DAY_S).rem_euclid(7)).unwrap_or_default();
        let weekday = WEEKDAYS.get(weekday).copied().unwrap_or_default();
        let mut shown = format!("{weekday}, {day:02} {} {year:04} ", month_name(month));
        // Writing to a String cannot fail.
        let _ = write!(shown, "{hour:02}:{minute:02}:{second:02} +0000");
        shown
    }

    fn time(self) -> (i64, i64, i64) {
        let second = self.0.rem_euclid(DAY_S);
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// Year, month and day in the Gregorian calendar. Years are counted from March, so that a leap day is the last of its
    /// year, in periods of 400, which all have the same days.
    fn date(self) -> (i64, i64, i64) {
        const PERIOD_DAYS: i64 = 146_097;
        // From 1 March of the year 0 to 1 January 1970.
        let days = self.0.div_euclid(DAY_S) + 719_468;
        let in_period = days.rem_euclid(PERIOD_DAYS);
        let year = (in_period - in_period / 1460 + in_period / 36_524 - in_period / 146_096) / 365;
        let in_year = in_period - (365 * year + year / 4 - year / 100);
        // Months from March have 31, 30, 31, 30, 31 days, twice, and then the rest.
        let month = (5 * in_year + 2) / 153;
        let day = in_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (400 * days.div_euclid(PERIOD_DAYS) + year + i64::from(month <= 2), month, day)
    }
}

fn month_name(month: i64) -> &'static str {
    usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (100_000, "97.6 KiB"),
            (102_399, "99.9 KiB"),
            (102_400, "100 KiB"),
            (1 << 20, "1 MiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (1_503_238_553, "1.3 GiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn numbers() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(
            [count(0, "file"), count(1, "file"), count(1200, "file")],
            ["0 files", "1 file", "1,200 files"]
        );
    }

    #[test]
    fn ages() {
        for (age, expected) in [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (7200, "2 hours ago"),
            (DAY_S, "1 day ago"),
            (29 * DAY_S, "29 days ago"),
            (60 * DAY_S, "2 months ago"),
            (364 * DAY_S, "12 months ago"),
            (800 * DAY_S, "2 years ago"),
        ] {
            assert_eq!(Moment(1_000_000_000 - age).ago(1_000_000_000), expected);
        }
        assert_eq!(Moment(i64::MIN).ago(i64::MAX), "292,471,208,677 years ago");
    }

    #[test]
    fn moments() {
        for (moment, machine, mail) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "2000-02-28T23:59:59Z", "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 +0000"),
            (1_709_251_199, "2024-02-29T23:59:59Z", "Thu, 29 Feb 2024 23:59:59 +0000"),
            (1_795_381_200, "2026-11-22T21:00:00Z", "Sun, 22 Nov 2026 21:00:00 +0000"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 +0000"),
            (-1, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 +0000"),
        ] {
            assert_eq!((Moment(moment).machine(), Moment(moment).mail()), (machine.into(), mail.into()));
        }
        assert_eq!(Moment(1_795_381_200).exact(), "22 Nov 2026, 21:00 UTC");
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!Moment(extreme).mail().is_empty());
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = Moment(-DAY_S).date();
        for day in 0..200_000 {
            let (year, month, of_month) = Moment(day * DAY_S).date();
            let next = match last {
                (y, 12, 31) => (y + 1, 1, 1),
                (y, m, _) if of_month == 1 => (y, m + 1, 1),
                (y, m, d) => (y, m, d + 1),
            };
            assert_eq!((year, month, of_month), next);
            last = next;
        }
        assert_eq!(last, (2517, 7, 31));
    }

    #[test]
    fn strangers_texts_lose_what_cannot_be_seen() {
        assert_eq!(visible("a\r\nb\rc\td\0\u{1b}[1m\u{85}"), "a\nb\u{fffd}c\td\u{fffd}\u{fffd}[1m\u{fffd}");
        assert_eq!(visible("photo\u{202e}gpj.exe"), "photo\u{fffd}gpj.exe");
        assert_eq!(visible("שלום <b>&\"'"), "שלום <b>&\"'");
    }
}
