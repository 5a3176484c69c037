//! A torrent and its connections: whenever the torrent stops, gives a connection up, or the daemon ends, every thread ends.
//! What passes between them is the real thing ([`Outlet`], [`obey_all`]); around it the loops of `torrent/thread.rs` and
//! `connection/run.rs`, without what they are for.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{ModelWaker, Receiver, Ring, Sender, bounded, check};
use crate::connection::link::{ConnectionHandle, obey_all};
use crate::torrent::event::Command;
use crate::torrent::late::{Outlet, Passage};

type Handle = ConnectionHandle<Sender<Command>, ModelWaker>;

enum Input {
    Opened(Handle),
    Report,
    Gone,
    Stop,
}

/// What a connection thread has of the registry.
#[derive(Clone)]
struct Lease {
    waker: ModelWaker,
    shutdown: Arc<AtomicBool>,
}

impl Lease {
    fn new() -> Self {
        Self { waker: ModelWaker::new(), shutdown: Arc::new(AtomicBool::new(false)) }
    }
}

/// False when there is nobody to obey any more.
fn obey(commands: &Receiver<Command>, obeyed: &mut u32) -> bool {
    let outcome = obey_all(commands, |_| {
        *obeyed += 1;
        Ok::<(), ()>(())
    });
    outcome == Ok(true)
}

/// Says so many things to the torrent and sleeps. How many commands it obeyed.
fn connection(lease: &Lease, inputs: &Sender<Input>, mut reports: u32) -> u32 {
    let (commands, receiver) = bounded(1);
    let mut obeyed = 0;
    if !inputs.send(Input::Opened(ConnectionHandle::over(commands, lease.waker.clone()))) {
        return obeyed;
    }
    while !lease.shutdown.load(Ordering::Acquire) && obey(&receiver, &mut obeyed) {
        if reports > 0 {
            reports -= 1;
            if !inputs.send(Input::Report) {
                break;
            }
        } else {
            lease.waker.wait();
        }
    }
    inputs.send(Input::Gone);
    obeyed
}

/// Answers every report with a command. How many it meant to send.
fn torrent(inputs: &Receiver<Input>) -> u32 {
    let (mut outlet, mut sent) = (None, 0);
    loop {
        let passage = match (inputs.recv(), &mut outlet) {
            (Some(Input::Opened(opened)), outlet) => {
                *outlet = Some(Outlet::new(opened));
                continue;
            }
            (Some(Input::Report), Some(open)) => {
                sent += 1;
                open.send(Command::Unchoke)
            }
            (Some(Input::Report), None) => continue,
            (Some(Input::Gone), _) => Passage::Lost,
            // It waits for nobody: what is still in its queue is dropped with that.
            (Some(Input::Stop) | None, _) => return sent,
        };
        // What waits is tried again with the next input: a model has no clock.
        if passage == Passage::Lost || outlet.as_mut().is_some_and(|open| open.send_late() == Passage::Lost) {
            outlet = None;
        }
    }
}

#[test]
fn a_connection_ends_whenever_its_torrent_does() {
    check(2, || {
        let (lease, (inputs, receiver)) = (Lease::new(), bounded(1));
        let running = thread::spawn(move || torrent(&receiver));
        let reports = inputs.clone();
        let connected = thread::spawn(move || connection(&lease, &reports, 2));
        inputs.send(Input::Stop);
        let sent = running.join().unwrap();
        assert!(connected.join().unwrap() <= sent);
    });
}

#[test]
fn the_registry_ends_a_connection_whatever_its_torrent_does() {
    check(2, || {
        let (lease, (inputs, receiver)) = (Lease::new(), bounded(1));
        let registry = lease.clone();
        let connected = thread::spawn(move || connection(&lease, &inputs, 1));
        let running = thread::spawn(move || torrent(&receiver));
        registry.shutdown.store(true, Ordering::Release);
        registry.waker.ring();
        let obeyed = connected.join().unwrap();
        // Its sender was the last: the torrent ends too.
        assert!(obeyed <= running.join().unwrap());
    });
}

#[test]
fn what_a_full_queue_refused_is_heard_in_the_end_and_in_order() {
    check(3, || {
        let waker = ModelWaker::new();
        let (commands, receiver) = bounded(1);
        let mut outlet = Outlet::new(ConnectionHandle::over(commands, waker.clone()));
        let connected = thread::spawn(move || {
            let mut heard = Vec::new();
            let mut hear = |command| {
                heard.push(command);
                Ok::<(), ()>(())
            };
            while obey_all(&receiver, &mut hear) == Ok(true) {
                waker.wait();
            }
            heard
        });
        let said = [Command::Interested, Command::Unchoke, Command::NotInterested];
        let mut passage = Passage::Through;
        said.iter().for_each(|command| passage = outlet.send(command.clone()));
        while passage == Passage::Late {
            thread::yield_now();
            passage = outlet.send_late();
        }
        assert_eq!(passage, Passage::Through);
        drop(outlet);
        assert_eq!(connected.join().unwrap(), said);
    });
}
