//! What is wanted changes.

use super::*;
use crate::options::Priority::{self, High, Low, Normal, Skip};
use crate::storage::testing::{TestFile, torrent as metainfo};
use crate::torrent::selection::Selection;

/// One file for each piece.
fn selection(priorities: &[Priority]) -> Selection {
    let names: Vec<String> = (0..priorities.len()).map(|index| index.to_string()).collect();
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 40)).collect();
    Selection::of(&metainfo("t", &TestFile::list(&files), 40, None), priorities)
}

fn selected(priorities: &[Priority], had: &[u32]) -> Test {
    let config = CoreConfig { selection: selection(priorities), ..CoreConfig::new(OWN) };
    torrent_with(priorities.len() as u64, had, config)
}

fn pieces(blocks: &[BlockRef]) -> Vec<u32> {
    let mut pieces: Vec<u32> = blocks.iter().map(|block| block.piece().get()).collect();
    pieces.dedup();
    pieces
}

fn has(effects: &[Effect], wanted: &Effect) -> bool {
    effects.contains(wanted)
}

#[test]
fn only_what_is_wanted_is_fetched_and_the_most_wanted_first() {
    let mut t = selected(&[Low, Skip, High, Normal], &[]);
    assert_eq!(t.core.lacking(), 120);
    let blocks = t.giver(1, &[0, 1, 2, 3]);
    assert_eq!(pieces(&blocks), [2, 3, 0]);
    let effects = t.send(1, &blocks);
    let effects = t.finish(&effects);
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::Completed).count(), 1);
    assert!(t.core.is_complete());
    assert_eq!((t.core.lacking(), t.core.stats(t.now).bytes_left), (0, 40));
    // It has everything and we want nothing.
    assert_eq!(closed(&effects, 1), Some(CloseReason::BothSeed));
}

#[test]
fn a_peer_with_nothing_that_is_wanted_is_not_interesting() {
    let mut t = selected(&[Skip, Normal], &[]);
    t.connect(1);
    let have = t.bits(&[0]);
    let effects = t.peer(1, PeerEvent::Bitfield(have));
    assert!(!commands(&effects, 1).contains(&&Command::Interested));
    let effects = t.event(Event::Selected(selection(&[Low, Normal])));
    assert!(commands(&effects, 1).contains(&&Command::Interested));
    let effects = t.event(Event::Selected(selection(&[Skip, Normal])));
    assert!(commands(&effects, 1).contains(&&Command::NotInterested));
    let piece = t.piece(1);
    let effects = t.peer(1, PeerEvent::Have(piece));
    assert!(commands(&effects, 1).contains(&&Command::Interested));
}

#[test]
fn what_is_not_wanted_any_more_is_taken_back() {
    let mut t = torrent(4);
    let blocks = t.giver(1, &[0, 1, 2, 3]);
    assert_eq!(blocks.len(), 16);
    // Piece 0 is on its way to the disk, of the others half is here.
    let (first, rest): (Vec<_>, Vec<_>) = blocks.iter().copied().partition(|block| block.piece().get() == 0);
    let effects = t.send(1, &first);
    assert_eq!(hashed(&effects), [t.piece(0)]);
    let half: Vec<_> = rest.iter().copied().filter(|block| block.index() < 2).collect();
    t.send(1, &half);
    let reserved = t.budget.reserved.get();
    let effects = t.event(Event::Selected(selection(&[Skip, Skip, Normal, Normal])));
    let taken = cancelled(&effects, 1);
    assert_eq!((pieces(&taken), taken.len()), (vec![1], 2));
    assert!(has(&effects, &Effect::Discard(t.piece(1))));
    assert_eq!(t.budget.reserved.get(), reserved - 40);
    // What was complete is had all the same.
    let zero = t.piece(0);
    t.event(Event::Hashed(zero, true));
    let effects = t.event(Event::Written(zero, true));
    assert!(has(&effects, &Effect::Had(zero)) && !has(&effects, &Effect::Completed));
    // Late blocks of what was dropped change nothing.
    t.send(1, &taken);
    let rest: Vec<_> =
        rest.into_iter().filter(|block| block.piece().get() > 1 && block.index() > 1).collect();
    let effects = t.send(1, &rest);
    assert!(has(&t.finish(&effects), &Effect::Completed));
}

#[test]
fn to_want_less_may_complete_it_and_to_want_more_begins_again() {
    let mut t = selected(&[Normal, Normal], &[0]);
    t.event(Event::Found(vec![address(1)]));
    t.event(Event::Connected(key(1), info(1, Direction::Outgoing)));
    let have = t.bits(&[0, 1]);
    t.peer(1, PeerEvent::Bitfield(have.clone()));
    let blocks = asked(&t.peer(1, PeerEvent::Unchoked), 1);
    let effects = t.event(Event::Selected(selection(&[Normal, Skip])));
    assert!(has(&effects, &Effect::Completed));
    assert_eq!(cancelled(&effects, 1), blocks);
    assert_eq!(closed(&effects, 1), Some(CloseReason::BothSeed));
    t.pass(5);
    assert!(t.core.next_wake().is_none(), "nothing to wait for");
    // Nobody is dialled, until more is wanted.
    let effects = t.event(Event::Selected(selection(&[High, Skip])));
    assert!(!has(&effects, &Effect::Incomplete) && !has(&effects, &Effect::Dial(address(1))));
    let effects = t.event(Event::Selected(selection(&[Skip, High])));
    assert!(has(&effects, &Effect::Incomplete) && has(&effects, &Effect::Dial(address(1))));
    t.event(Event::Connected(key(2), info(1, Direction::Outgoing)));
    t.peer(2, PeerEvent::Bitfield(have));
    let blocks = asked(&t.peer(2, PeerEvent::Unchoked), 2);
    assert_eq!(pieces(&blocks), [1]);
    let effects = t.send(2, &blocks);
    assert!(has(&t.finish(&effects), &Effect::Completed));
}

#[test]
fn a_piece_that_could_not_be_written_is_not_fetched_again_when_it_is_not_wanted() {
    let mut t = torrent(2);
    let blocks = t.giver(1, &[0, 1]);
    let first: Vec<_> = blocks.iter().copied().filter(|block| block.piece().get() == 0).collect();
    let effects = t.send(1, &first);
    for piece in hashed(&effects) {
        t.event(Event::Hashed(piece, true));
        t.event(Event::Written(piece, false));
    }
    t.event(Event::Selected(selection(&[Skip, Normal])));
    let effects = t.pass(15);
    assert!(asked(&effects, 1).is_empty());
    let effects = t.event(Event::Selected(selection(&[Normal, Normal])));
    assert_eq!(pieces(&asked(&effects, 1)), [0]);
}
