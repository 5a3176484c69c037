//! Whom to unchoke: a plain function of plain data.
//!
//! While downloading, tit for tat: the slots go to those who send us most, but for one, the optimistic slot, which
//! goes round so that newcomers can show what they give (BEP 3). While seeding nobody gives us anything: peers take
//! turns, and who waited longest is next.

use std::cmp::Reverse;
use std::time::Duration;

use super::event::PeerKey;

/// How often the slots are dealt anew.
pub const ROUND: Duration = Duration::from_secs(10);
/// The optimistic slot goes on every so many rounds.
pub const ROUNDS_PER_OPTIMIST: u64 = 3;
/// While seeding, a turn ends when it has lasted so long and so much was sent.
pub const TURN: Duration = Duration::from_secs(20);

/// An interested peer.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who it is.
    pub key: PeerKey,
    /// It has a slot now.
    pub unchoked: bool,
    /// It took nothing when it had a slot a while ago: while seeding it comes last.
    pub idled: bool,
    /// Bytes per second that it sends us.
    pub from_them: u64,
    /// Bytes per second that we send it.
    pub to_them: u64,
    /// It had a slot for a minute, owed us blocks, and sent nothing: only the optimistic slot may be its.
    pub snubbing: bool,
    /// It came a short while ago: three times as likely to get the optimistic slot.
    pub new: bool,
    /// How long it has had its slot, or waited for one.
    pub since: Duration,
    /// Bytes sent since it got its slot.
    pub turn_bytes: u64,
}

/// What is decided besides the candidates.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Counts up by one each time.
    pub number: u64,
    /// We have everything.
    pub seeding: bool,
    /// Who has the optimistic slot.
    pub optimist: Option<PeerKey>,
    /// Bytes that make a turn while seeding: about a few pieces.
    pub quota: u64,
}

/// Who has a slot now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Everybody with a slot, the optimist included.
    pub unchoked: Vec<PeerKey>,
    /// Who has the optimistic slot.
    pub optimist: Option<PeerKey>,
}

/// Deals `slots` slots among the interested.
pub fn decide(candidates: &[Candidate], slots: usize, round: &Round, random: &mut fastrand::Rng) -> Decision {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    random.shuffle(&mut order);
    if round.seeding {
        order.sort_by_key(|candidate| turn(candidate, round.quota));
        let unchoked = order.iter().take(slots).map(|candidate| candidate.key).collect();
        return Decision { unchoked, optimist: None };
    }
    order.sort_by_key(|candidate| (candidate.snubbing, Reverse(candidate.from_them), !candidate.unchoked));
    let regular = order.iter().take_while(|candidate| !candidate.snubbing).take(slots.saturating_sub(1));
    let mut unchoked: Vec<PeerKey> = regular.map(|candidate| candidate.key).collect();
    let rest = order.get(unchoked.len()..).unwrap_or_default();
    let stays = !round.number.is_multiple_of(ROUNDS_PER_OPTIMIST);
    let current =
        rest.iter().find(|candidate| Some(candidate.key) == round.optimist).map(|candidate| candidate.key);
    let optimist = current.filter(|_| stays).or_else(|| choose_optimist(rest, current, random));
    unchoked.extend(optimist);
    Decision { unchoked, optimist }
}

/// Seeding: who has not had its turn to the end keeps its slot; then those who wait, the longest first; then, slots
/// being left, those whose turn is over, the fastest first. Who took nothing when it could comes behind all of them.
fn turn(candidate: &Candidate, quota: u64) -> (u8, Reverse<Duration>, Reverse<u64>) {
    let over = candidate.since >= TURN && candidate.turn_bytes >= quota || candidate.since >= 3 * TURN;
    match (candidate.unchoked, over) {
        _ if candidate.idled => (3, Reverse(candidate.since), Reverse(0)),
        (true, false) => (0, Reverse(Duration::ZERO), Reverse(candidate.to_them)),
        (false, _) => (1, Reverse(candidate.since), Reverse(0)),
        (true, true) => (2, Reverse(Duration::ZERO), Reverse(candidate.to_them)),
    }
}

fn choose_optimist(
    rest: &[&Candidate],
    current: Option<PeerKey>,
    random: &mut fastrand::Rng,
) -> Option<PeerKey> {
    let weight = |candidate: &Candidate| match candidate {
        // Only if there is nobody else.
        _ if Some(candidate.key) == current => 0,
        _ if candidate.new => 3,
        _ => 1,
    };
    let total: usize = rest.iter().map(|candidate| weight(candidate)).sum();
    if total == 0 {
        return current;
    }
    let mut ticket = random.usize(..total);
    for candidate in rest {
        match ticket.checked_sub(weight(candidate)) {
            Some(left) => ticket = left,
            None => return Some(candidate.key),
        }
    }
    None
}

/// Who gets a slot that fell free between two rounds: `waiting` are the interested without one.
pub fn fill(waiting: &[Candidate], seeding: bool, random: &mut fastrand::Rng) -> Option<PeerKey> {
    if seeding {
        let next = waiting.iter().max_by_key(|candidate| (!candidate.idled, candidate.since));
        return next.map(|candidate| candidate.key);
    }
    let givers = waiting.iter().filter(|candidate| candidate.from_them > 0 && !candidate.snubbing);
    let best = givers.max_by_key(|candidate| candidate.from_them).map(|candidate| candidate.key);
    best.or_else(|| choose_optimist(&waiting.iter().collect::<Vec<_>>(), None, random))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn candidate(key: u64, from_them: u64) -> Candidate {
        Candidate {
            key: PeerKey(key),
            unchoked: false,
            idled: false,
            from_them,
            to_them: 0,
            snubbing: false,
            new: false,
            since: Duration::from_secs(60),
            turn_bytes: 0,
        }
    }

    fn round(number: u64, seeding: bool) -> Round {
        Round { number, seeding, optimist: None, quota: 1_000 }
    }

    #[test]
    fn the_best_givers_and_one_more() {
        let random = &mut fastrand::Rng::with_seed(1);
        let candidates: Vec<_> = (0..10).map(|key| candidate(key, key * 100)).collect();
        let decision = decide(&candidates, 4, &round(1, false), random);
        assert_eq!(decision.unchoked[..3], [PeerKey(9), PeerKey(8), PeerKey(7)]);
        assert_eq!(decision.optimist, decision.unchoked.last().copied());
        assert!(decision.optimist < Some(PeerKey(7)));
    }

    #[test]
    fn the_optimist_stays_three_rounds() {
        let random = &mut fastrand::Rng::with_seed(1);
        let candidates: Vec<_> = (0..10).map(|key| candidate(key, key * 100)).collect();
        let mut now = Round { optimist: Some(PeerKey(2)), ..round(1, false) };
        for number in [1, 2, 4, 5] {
            now.number = number;
            assert_eq!(decide(&candidates, 4, &now, random).optimist, Some(PeerKey(2)));
        }
        now.number = 3;
        assert_ne!(decide(&candidates, 4, &now, random).optimist, Some(PeerKey(2)));
        assert_eq!(decide(&candidates[2..3], 4, &now, random).unchoked, [PeerKey(2)]);
    }

    #[test]
    fn new_peers_are_three_times_as_likely() {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut candidates = vec![candidate(0, 9), candidate(1, 0), candidate(2, 0)];
        candidates[2].new = true;
        let mut seen = BTreeMap::new();
        for _ in 0..4_000 {
            *seen.entry(decide(&candidates, 2, &round(0, false), random).optimist).or_insert(0) += 1;
        }
        assert!((900..1_100).contains(&seen[&Some(PeerKey(1))]), "{seen:?}");
    }

    #[test]
    fn who_snubs_us_gets_no_regular_slot() {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut candidates = vec![candidate(0, 900), candidate(1, 1)];
        candidates[0].snubbing = true;
        assert_eq!(decide(&candidates, 2, &round(1, false), random).unchoked, [PeerKey(1), PeerKey(0)]);
        assert_eq!(decide(&candidates, 1, &round(1, false), random).unchoked.len(), 1);
    }

    #[test]
    fn seeding_gives_everybody_a_turn() {
        let random = &mut fastrand::Rng::with_seed(1);
        let mut candidates: Vec<_> = (0..9).map(|key| candidate(key, 0)).collect();
        let mut turns = BTreeMap::new();
        for number in 0..90 {
            let decision = decide(&candidates, 4, &round(number, true), random);
            assert_eq!(decision.unchoked.len(), 4);
            for candidate in &mut candidates {
                let unchoked = decision.unchoked.contains(&candidate.key);
                if unchoked != candidate.unchoked {
                    (candidate.unchoked, candidate.since, candidate.turn_bytes) =
                        (unchoked, Duration::ZERO, 0);
                }
                candidate.since += ROUND;
                if unchoked {
                    candidate.turn_bytes += 1_000;
                    *turns.entry(candidate.key).or_insert(0) += 1;
                }
            }
        }
        let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
        assert!(turns.len() == 9 && most - least <= 8, "{turns:?}");
    }

    #[test]
    fn few_candidates_all_get_a_slot_and_none_is_named_twice() {
        let random = &mut fastrand::Rng::with_seed(1);
        for count in 0..4 {
            let candidates: Vec<_> = (0..count).map(|key| candidate(key, 5)).collect();
            for seeding in [false, true] {
                let mut unchoked = decide(&candidates, 4, &round(0, seeding), random).unchoked;
                unchoked.sort_unstable();
                assert_eq!(unchoked, (0..count).map(PeerKey).collect::<Vec<_>>());
            }
        }
    }
}
