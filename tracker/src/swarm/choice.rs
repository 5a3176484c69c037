//! Who is told to a peer that has others near it: mostly those, so that most of what it downloads comes from near.
//!
//! A client takes from whomever it hears of, so what counts is also who it does *not* hear of: of a swarm that would fit in
//! an answer, far peers are left out on purpose. What keeps the swarm whole:
//!
//! - **One in [`Mix::far_part`] is far**, and one at the least where no seeder is told: so each peer of a site without a
//!   seeder is a bridge of its own. A newcomer is always told somebody who is there, so a swarm grows in one piece; a site
//!   falls off only when all the far ones that its peers know have gone before one of its peers asks again. The tests try it.
//! - **Seeders are always told** to leechers: [`SEEDERS`] near ones, or if there are none, far ones. Who has one near meets
//!   far ones by chance.
//! - **Few near ones displace nobody**: an answer has at least [`Mix::least`] peers as long as there are so many.
//!
//! Near ones are looked for among [`Mix::slots`] slots of a swarm. In larger swarms a site that is a smaller part of them
//! than 1 in so many is found in part, and the rest of the answer is chosen at random as without sites.
//!
//! The far ones of a peer are the same for [`STEADY_S`], unless the swarm changes: otherwise a peer that asks again and
//! again in a long download would get to know everybody.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::Role;
use super::address::{Asker, Packed};
use super::large::shares;
use super::tick::Tick;
use crate::near::{Mix, Near};

/// Seconds for which a peer's far ones stay the same. Longer, and one who cannot reach any of them would wait for others.
pub(super) const STEADY_S: u32 = 600;

/// Seeders told to every leecher that has others near, if there are so many.
const SEEDERS: usize = 2;

/// Slots looked at for far peers, in swarms where these are hardly any.
const FAR_SLOTS: usize = 256;

/// Slots of one role looked at in any case, however few of a swarm have it.
const ROLE_SLOTS: usize = 128;

/// A swarm, as far as a choice needs to know it.
pub(super) trait Population {
    /// How many peers of a role are of use to the asker, itself not counted.
    fn others_of(&self, role: Role, asker: &Asker) -> u32;

    /// Shows different peers of one role that are of use to the asker, never itself, until `see` breaks off or about
    /// `budget` slots were looked at: in an order as random as that of a sample, which they are if `see` takes all.
    fn visit(
        &self,
        role: Role,
        asker: &Asker,
        budget: usize,
        now: Tick,
        random: &mut fastrand::Rng,
        see: &mut dyn FnMut(SocketAddr) -> ControlFlow<()>,
    );
}

/// A choice under way.
struct Choice<'a, P: ?Sized> {
    swarm: &'a P,
    asker: &'a Asker,
    near: &'a Near<'a>,
    now: Tick,
}

/// Up to `wanted` peers, near ones first. `None` if there are no near ones, or all are to be told: then a sample of all is
/// what the asker gets. `steady` chooses the far ones.
pub(super) fn choose(
    swarm: &(impl Population + ?Sized),
    wanted: usize,
    (asker, near): (&Asker, &Near<'_>),
    now: Tick,
    (random, steady): (&mut fastrand::Rng, &mut fastrand::Rng),
) -> Option<Vec<SocketAddr>> {
    let choice = Choice { swarm, asker, near, now };
    let others = Role::ALL.map(|role| swarm.others_of(role, asker));
    let all = others.iter().map(|&count| count as usize).sum::<usize>();
    let is_too_large = near.mix.small_only && all > near.mix.slots;
    if wanted == 0 || is_too_large || all <= wanted.min(near.mix.least) {
        return None;
    }
    let found = Role::ALL.map(|role| choice.near_ones(role, wanted, choice.slots_for(role, all), random));
    let near_count = found.iter().map(Vec::len).sum::<usize>();
    if near_count == 0 {
        return None;
    }
    let [seeders, ..] = &found;
    let [seeder_count, ..] = others;
    let wants_seeders = asker.role == Role::Leecher && seeders.is_empty();
    let far_seeders = if wants_seeders { SEEDERS.min(wanted / 2).min(seeder_count as usize) } else { 0 };
    // Who asks and needs nothing is told no seeder: it has to know others than its neighbours, as they may not reach it.
    let has_seeder = asker.role == Role::Leecher && (far_seeders > 0 || !seeders.is_empty());
    let far_count = far_count(&near.mix, wanted, near_count + far_seeders, has_seeder, steady);
    let far = choice.far_ones(far_seeders, far_count, &found, others, steady);
    let near_counts = found.each_ref().map(|ones| count_of(ones));
    let near_shares = near_shares(near_counts, wanted.saturating_sub(far.len()), random);
    let told_near = found.iter().zip(near_shares).flat_map(|(of_role, share)| of_role.iter().take(share));
    Some(told_near.chain(&far).copied().collect())
}

/// How many are told at random besides `others`, near ones and seeders.
fn far_count(mix: &Mix, wanted: usize, others: usize, has_seeder: bool, random: &mut fastrand::Rng) -> usize {
    let told = wanted.min(others);
    // Of short answers only some have a far one.
    let share = (told + random.usize(..mix.far_part)) / mix.far_part;
    let bridges = usize::from(!has_seeder && told >= 4);
    share.max(bridges).max(mix.least.min(wanted).saturating_sub(others))
}

/// How many near ones of each role are told: in proportion, but [`SEEDERS`] if possible.
fn near_shares(
    [seeders, leechers, partial]: [u32; 3],
    count: usize,
    random: &mut fastrand::Rng,
) -> [usize; 3] {
    let first = SEEDERS.min(seeders as usize).min(count.div_ceil(2));
    let rest = seeders.saturating_sub(u32::try_from(first).unwrap_or(u32::MAX));
    let [more, leechers, partial] = shares([rest, leechers, partial], count - first, random);
    [first + more, leechers, partial]
}

impl<P: Population + ?Sized> Choice<'_, P> {
    /// Up to `most` near ones of a role.
    fn near_ones(
        &self,
        role: Role,
        most: usize,
        slots: usize,
        random: &mut fastrand::Rng,
    ) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        self.swarm.visit(role, self.asker, slots, self.now, random, &mut |address| {
            if self.near.contains(address.ip()) {
                found.push(address);
            }
            flow(found.len() < most)
        });
        found
    }

    /// So many seeders, and so many of all, none of them near. Fewer if there are no more, or hardly any.
    fn far_ones(
        &self,
        seeders: usize,
        count: usize,
        near: &[Vec<SocketAddr>; 3],
        others: [u32; 3],
        steady: &mut fastrand::Rng,
    ) -> Vec<SocketAddr> {
        let mut far = Vec::with_capacity(seeders + count);
        self.far_of(Role::Seeder, seeders, &mut far, steady);
        // What is left of each role, if near ones were all found.
        let mut left = others;
        for (left, of_role) in left.iter_mut().zip(near) {
            *left = left.saturating_sub(count_of(of_role));
        }
        let [seeders, ..] = &mut left;
        *seeders = seeders.saturating_sub(count_of(&far));
        for (role, share) in Role::ALL.into_iter().zip(shares(left, count, steady)) {
            self.far_of(role, share, &mut far, steady);
        }
        far
    }

    /// Appends so many of a role to `far` that are neither near nor there: of those that are seen the ones that rank first
    /// with the asker for a while (rendezvous hashing), so that who comes and goes meanwhile changes them little.
    fn far_of(&self, role: Role, count: usize, far: &mut Vec<SocketAddr>, steady: &mut fastrand::Rng) {
        if count == 0 {
            return;
        }
        let salt = steady.u64(..);
        let mut ranked = Vec::new();
        self.swarm.visit(role, self.asker, FAR_SLOTS, self.now, steady, &mut |address| {
            if !self.near.contains(address.ip()) && !far.contains(&address) {
                ranked.push((Packed::new(address).hash(salt), address));
            }
            flow(ranked.len() < FAR_SLOTS)
        });
        ranked.sort_unstable();
        far.extend(ranked.into_iter().take(count).map(|(_, address)| address));
    }

    /// Slots to look at for near ones of a role: in a large swarm of `all`, as many as fall to it.
    fn slots_for(&self, role: Role, all: usize) -> usize {
        let of_role = self.swarm.others_of(role, self.asker) as usize;
        // Slots may be free: a small swarm is to be seen whole.
        if all <= self.near.mix.slots / 2 {
            usize::MAX
        } else {
            (self.near.mix.slots.saturating_mul(of_role) / all).max(ROLE_SLOTS)
        }
    }
}

fn count_of(peers: &[SocketAddr]) -> u32 {
    u32::try_from(peers.len()).unwrap_or(u32::MAX)
}

const fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests;
