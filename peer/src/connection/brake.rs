//! A brake on what a peer says. Messages are cheap to send, and each may cost the torrent's thread, which serves all peers,
//! or at least a core. Nothing is charged for what is worth something: blocks, requests that are queued, and pieces that
//! a peer has, each once. Who says more than the brake allows is read from slowly, and TCP tells it so: what honest peers
//! say in a burst arrives all the same.

use std::time::{Duration, Instant};

/// A peer may say one message that changes nothing in this time,
const EACH: Duration = Duration::from_millis(1);
/// and so many at once after a silence.
const BURST: u64 = 4000;
/// A change of its state is charged as so many: the torrent looks at all its peers for it.
const CHANGE: u64 = 2;
/// So many bytes of a long message are charged as one.
const LONG: usize = 64;
/// Nothing is read before so many may be: a peer is not listened to a message at a time.
const LEAST: u64 = 100;
/// Who says too much for so long without a break means it.
const FLOOD: Duration = Duration::from_secs(60);

/// The brake of one connection.
#[derive(Debug)]
pub struct Brake {
    /// What was said up to the last look is paid for by then.
    paid: Instant,
    /// What was said since then,
    said: u64,
    /// and may be.
    may: u64,
    /// Since when the brake was pulled again and again.
    since: Option<Instant>,
}

impl Brake {
    /// Nothing was said yet.
    pub fn new(now: Instant) -> Self {
        Self { paid: now.checked_sub(time_of(BURST)).unwrap_or(now), said: 0, may: BURST, since: None }
    }

    /// The peer changed its mind.
    pub const fn changed(&mut self) {
        self.said = self.said.saturating_add(CHANGE);
    }

    /// A message of so many bytes that was of no use.
    pub const fn useless(&mut self, len: usize) {
        self.said = self.said.saturating_add(1 + (len / LONG) as u64);
    }

    /// Enough was read: [`Brake::until`] says for how long.
    pub const fn is_pulled(&self) -> bool {
        self.said >= self.may
    }

    /// Until when nothing is to be read; None: something may be.
    pub fn until(&mut self, now: Instant) -> Option<Instant> {
        let silence = now.checked_sub(time_of(BURST)).unwrap_or(self.paid);
        let paid = self.paid.max(silence).checked_add(time_of(std::mem::take(&mut self.said)));
        self.paid = paid.unwrap_or(now + time_of(BURST));
        let over = now.saturating_duration_since(self.paid).as_millis() / EACH.as_millis();
        self.may = u64::try_from(over).unwrap_or(BURST);
        if self.may > BURST / 2 {
            self.since = None;
        }
        if self.may >= LEAST {
            return None;
        }
        self.since = self.since.or(Some(now));
        Some(self.paid + time_of(LEAST))
    }

    /// It has gone on for too long.
    pub fn is_flooded(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) > FLOOD)
    }
}

/// In which so many messages are paid for.
fn time_of(messages: u64) -> Duration {
    EACH.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many useless messages are read in a second by a connection that looks as late as `lateness`.
    fn heard(brake: &mut Brake, from: Instant, lateness: Duration) -> u64 {
        let (mut now, mut count) = (from, 0);
        while now < from + Duration::from_secs(1) {
            while !brake.is_pulled() {
                brake.useless(5);
                count += 1;
            }
            now = brake.until(now).map_or(now, |until| until + lateness);
        }
        count
    }

    #[test]
    fn a_burst_is_heard_at_once_and_a_flood_slowly() {
        let begin = Instant::now();
        let mut brake = Brake::new(begin);
        assert_eq!(brake.until(begin), None);
        assert!((BURST..BURST + 1100).contains(&heard(&mut brake, begin, Duration::ZERO)));
        let lateness = Duration::from_millis(3);
        for second in 1..5 {
            let count = heard(&mut brake, begin + Duration::from_secs(second), lateness);
            assert!((800..1200).contains(&count), "{count} in second {second}");
        }
        assert!(!brake.is_flooded(begin + Duration::from_secs(59)));
        assert!(brake.is_flooded(begin + Duration::from_secs(61)));
        // It rests for a minute.
        let count = heard(&mut brake, begin + Duration::from_secs(65), lateness);
        assert!((BURST..BURST + 1200).contains(&count), "{count}");
        assert!(!brake.is_flooded(begin + Duration::from_secs(66)));
    }

    #[test]
    fn long_messages_and_changes_are_charged_more() {
        let now = Instant::now();
        let said = |say: &dyn Fn(&mut Brake)| {
            let mut brake = Brake::new(now);
            std::iter::repeat_with(|| say(&mut brake)).take_while(|()| true).take(10).for_each(drop);
            brake.said
        };
        assert_eq!(said(&|brake| brake.useless(4)), 10);
        assert_eq!(said(&|brake| brake.changed()), 10 * CHANGE);
        assert_eq!(said(&|brake| brake.useless(64 << 10)), 10 * 1025);
        let mut brake = Brake::new(now);
        (0..9).for_each(|_| brake.useless(usize::MAX / 8));
        assert!(brake.is_pulled() && brake.until(now).is_some(), "no number is too large");
    }
}
