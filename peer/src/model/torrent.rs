//! A torrent and its connections: whenever the torrent stops, gives a connection up, or the daemon ends, every thread ends.
//! The loops are those of `torrent/thread.rs` and `connection/run.rs`, without what they are for.

use crossbeam_channel::TryRecvError;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::{ModelWaker, Receiver, Ring, Sender, bounded, check};
use crate::connection::link::ConnectionHandle;
use crate::torrent::event::Command;

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

/// Says so many things to the torrent and sleeps. How many commands it obeyed.
fn connection(lease: &Lease, inputs: &Sender<Input>, mut reports: u32) -> u32 {
    let (commands, receiver) = bounded(1);
    let mut obeyed = 0;
    if !inputs.send(Input::Opened(ConnectionHandle::over(commands, lease.waker.clone()))) {
        return obeyed;
    }
    'open: while !lease.shutdown.load(Ordering::Acquire) {
        loop {
            match receiver.try_recv() {
                Ok(_) => obeyed += 1,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => break 'open,
            }
        }
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

/// Answers every report with a command, and gives up a connection that has no room for it. How many commands it sent.
fn torrent(inputs: &Receiver<Input>) -> u32 {
    let (mut handle, mut sent): (Option<Handle>, _) = (None, 0);
    loop {
        match inputs.recv() {
            Some(Input::Opened(opened)) => handle = Some(opened),
            Some(Input::Report) => {
                if let Some(open) = &handle {
                    if open.send(Command::Unchoke) {
                        sent += 1;
                    } else {
                        handle = None;
                    }
                }
            }
            Some(Input::Gone) => handle = None,
            // It waits for nobody: what is still in its queue is dropped with that.
            Some(Input::Stop) | None => return sent,
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
