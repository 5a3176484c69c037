//! Times of the week, as in `mon-fri 08:00-18:00, sat 10:00-12:00`.

use std::fmt;
use std::str::FromStr;

const DAY_MIN: u32 = 24 * 60;
const WEEK_MIN: u32 = 7 * DAY_MIN;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// More is no schedule but a mistake.
const MAX_SPANS: usize = 100;

/// Spans of days and hours that come back every week, by the clock on the wall. Empty, or `never`: never.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    text: String,
    /// Minutes of the week, the first in and the first not in any more, on one day or over midnight. Ends may lie in the
    /// next week.
    spans: Vec<(u32, u32)>,
}

/// What is no [`Schedule`], with words for what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "days and hours such as mon-fri 08:00-18:00, or 22:00-06:00 for every day; several with commas between them"
)]
pub struct ScheduleError;

impl Schedule {
    /// Never.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether it names this minute of the week, counted from Monday 00:00.
    pub fn contains(&self, minute: u32) -> bool {
        let minute = minute % WEEK_MIN;
        self.spans
            .iter()
            .any(|&(from, to)| (from..to).contains(&minute) || (from..to).contains(&(minute + WEEK_MIN)))
    }

    /// The minute of the week (may be past its end, for the next week) at which [`Schedule::contains`] gives another
    /// answer than at `minute`, the next after it. `None`: it never does.
    pub fn next_change(&self, minute: u32) -> Option<u32> {
        let minute = minute % WEEK_MIN;
        let now = self.contains(minute);
        let edges = self.spans.iter().flat_map(|&(from, to)| [from % WEEK_MIN, to % WEEK_MIN]);
        let after = edges.map(|edge| if edge > minute { edge } else { edge + WEEK_MIN });
        after.filter(|&edge| self.contains(edge) != now).min()
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let text = if text.eq_ignore_ascii_case("never") { "" } else { text };
        let mut spans = Vec::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            let (days, hours) = part.rsplit_once(char::is_whitespace).unwrap_or(("", part));
            let (from, to) = hours.split_once('-').ok_or(ScheduleError)?;
            let (from, to) = (minute(from)?, minute(to)?);
            if from == to || from == DAY_MIN {
                return Err(ScheduleError);
            }
            let len = if to > from { to - from } else { to + DAY_MIN - from };
            spans.extend(
                day_numbers(days.trim())?.map(|day| day * DAY_MIN + from).map(|begin| (begin, begin + len)),
            );
            if spans.len() > MAX_SPANS {
                return Err(ScheduleError);
            }
        }
        Ok(Self { text: text.to_owned(), spans })
    }
}

/// As it was written.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `mon`, `mon-fri`, `sat-tue`, or nothing for every day: 0 is Monday.
fn day_numbers(text: &str) -> Result<impl Iterator<Item = u32>, ScheduleError> {
    let (first, last) =
        if text.is_empty() { ("mon", "sun") } else { text.split_once('-').unwrap_or((text, text)) };
    let number = |name: &str| {
        let name = name.trim();
        (0..)
            .zip(DAYS)
            .find(|(_, day)| day.eq_ignore_ascii_case(name))
            .map(|(day, _)| day)
            .ok_or(ScheduleError)
    };
    let (first, last) = (number(first)?, number(last)?);
    let count = (last + 7 - first) % 7 + 1;
    Ok((first..first + count).map(|day| day % 7))
}

/// `08:00`, up to `24:00`: minutes from midnight.
fn minute(text: &str) -> Result<u32, ScheduleError> {
    let number = |text: &str, most: u32| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|&number: &u32| digits && number <= most).ok_or(ScheduleError)
    };
    let (hours, minutes) = text.trim().split_once(':').ok_or(ScheduleError)?;
    let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
    if minute <= DAY_MIN { Ok(minute) } else { Err(ScheduleError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32, hour: u32, minute: u32) -> u32 {
        day * DAY_MIN + hour * 60 + minute
    }

    #[test]
    fn days_and_hours() {
        let schedule: Schedule = " mon-fri 08:00-18:00,Sat 22:30-6:00 ".parse().unwrap();
        assert_eq!(schedule.to_string(), "mon-fri 08:00-18:00,Sat 22:30-6:00");
        for (minute, inside) in [
            (at(0, 7, 59), false),
            (at(0, 8, 0), true),
            (at(4, 17, 59), true),
            (at(4, 18, 0), false),
            (at(5, 12, 0), false),
            (at(5, 22, 30), true),
            (at(6, 5, 59), true),
            (at(6, 6, 0), false),
            (at(7, 8, 0), true),
        ] {
            assert_eq!(schedule.contains(minute), inside, "{minute}");
        }
        assert_eq!(schedule.next_change(at(0, 8, 0)), Some(at(0, 18, 0)));
        assert_eq!(schedule.next_change(at(4, 18, 0)), Some(at(5, 22, 30)));
        assert_eq!(schedule.next_change(at(5, 23, 0)), Some(at(6, 6, 0)));
        assert_eq!(schedule.next_change(at(6, 6, 0)), Some(at(7, 8, 0)));
    }

    #[test]
    fn over_midnight_and_over_the_week() {
        let nights: Schedule = "22:00-06:00".parse().unwrap();
        assert!(
            nights.contains(at(0, 0, 0)) && nights.contains(at(6, 23, 59)) && !nights.contains(at(3, 12, 0))
        );
        assert_eq!(nights.next_change(at(6, 23, 0)), Some(at(7, 6, 0)));
        assert_eq!(nights.next_change(at(6, 7, 0)), Some(at(6, 22, 0)));
        let weekend: Schedule = "sat-sun 00:00-24:00".parse().unwrap();
        assert_eq!(weekend.next_change(at(5, 3, 0)), Some(at(7, 0, 0)));
        assert_eq!(weekend.next_change(at(0, 0, 0)), Some(at(5, 0, 0)));
        let wrapped: Schedule = "sun-mon 12:00-13:00".parse().unwrap();
        assert!(
            wrapped.contains(at(6, 12, 0))
                && wrapped.contains(at(0, 12, 0))
                && !wrapped.contains(at(1, 12, 0))
        );
    }

    #[test]
    fn always_and_never_do_not_change() {
        let always: Schedule = "00:00-24:00".parse().unwrap();
        let never: Schedule = "".parse().unwrap();
        assert!(never.is_empty() && !always.is_empty());
        assert_eq!("Never".parse(), Ok(never.clone()));
        for minute in (0..WEEK_MIN).step_by(7) {
            assert!(always.contains(minute) && !never.contains(minute));
            assert_eq!((always.next_change(minute), never.next_change(minute)), (None, None));
        }
    }

    #[test]
    fn what_is_no_schedule() {
        for bad in [
            "x",
            "mon",
            "mon 8",
            "mon 08:00",
            "08:00-08:00",
            "24:00-08:00",
            "08:00-24:01",
            "08:60-09:00",
            "8-9",
            "moon 08:00-09:00",
            "mon-fri-sat 08:00-09:00",
            "08:00-09:00,",
            ",",
            "+8:00-09:00",
            "08:00-09:00-10:00",
            "mon tue 08:00-09:00",
            "008:00-09:00",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        let many = vec!["mon 08:00-09:00"; 101].join(",");
        assert!(many.parse::<Schedule>().is_err());
    }
}
