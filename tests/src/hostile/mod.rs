//! Strangers who mean harm, on the wire: each [`Attack`] is a script for one connection, and a [`Siege`] plays it from many
//! at once, again and again, until it is over, as fast as it can or as their line to the victim lets them. All of them come
//! to their victim; on loopback they are told apart by their peer ids alone.

mod line;
mod scripts;
mod uploads;
pub mod words;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use torrent_common::ids::PeerId;
use torrent_common::metainfo::Metainfo;
use torrent_common::wire::message::RawBlock;
use torrent_common::wire::{Handshake, Message};

use self::line::Line;
pub use self::scripts::ATTACKS;
use crate::scripted::{Link, Received};

/// After a connection ended the next comes so soon.
const AGAIN: Duration = Duration::from_millis(5);
/// What a connection costs the line, with its end: packets without a payload.
const CONNECTION_LEN: usize = 500;

/// What a victim does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It downloads.
    Leecher,
    /// It has everything, and uploads.
    Seeder,
}

/// One way to do harm.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is.
    pub name: &'static str,
    /// Connections at the same time.
    pub connections: usize,
    /// Who suffers from it.
    pub against: &'static [Role],
    /// It sends blocks that it is asked for: over a slow line that takes long.
    pub bulky: bool,
    /// What the victim's log says of it, and how soon.
    pub told: Option<(&'static str, Duration)>,
    /// What one connection does, to its end.
    script: fn(&mut Stranger<'_>) -> io::Result<()>,
}

/// Whom to attack.
#[derive(Debug, Clone)]
pub struct Victim {
    /// Where it listens.
    pub address: SocketAddr,
    /// The torrent that it has or wants.
    pub metainfo: Metainfo,
    /// All of its bytes.
    pub payload: Arc<Vec<u8>>,
}

/// An attack under way. It ends when this is dropped.
pub struct Siege {
    field: Arc<Field>,
    threads: Vec<JoinHandle<()>>,
}

struct Field {
    attack: Attack,
    victim: Victim,
    over: Mutex<bool>,
    ended: Condvar,
    line: Line,
    /// The open connection of each thread.
    open: Mutex<Vec<Option<TcpStream>>>,
    strikes: AtomicU64,
}

/// One connection of an attack.
struct Stranger<'a> {
    link: Link,
    field: &'a Field,
    /// Which of the connections at the same time.
    number: usize,
    random: fastrand::Rng,
}

impl Siege {
    /// Begins, over a line that carries so many bytes per second to the victim; `None`: as many as the machine does.
    pub fn begin(attack: Attack, victim: Victim, bytes_per_second: Option<u64>) -> Self {
        let field = Arc::new(Field {
            attack,
            victim,
            over: Mutex::new(false),
            ended: Condvar::new(),
            line: Line::new(bytes_per_second),
            open: Mutex::new((0..attack.connections).map(|_| None).collect()),
            strikes: AtomicU64::new(0),
        });
        let thread = |number| {
            let field = Arc::clone(&field);
            std::thread::spawn(move || field.play(number))
        };
        Self { threads: (0..attack.connections).map(thread).collect(), field: Arc::clone(&field) }
    }

    /// How often something was done to the victim so far.
    pub fn strikes(&self) -> u64 {
        self.field.strikes.load(Ordering::Relaxed)
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        if let Ok(mut over) = self.field.over.lock() {
            *over = true;
        }
        self.field.ended.notify_all();
        if let Ok(open) = self.field.open.lock() {
            open.iter().flatten().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Field {
    fn play(&self, number: usize) {
        let mut random = fastrand::Rng::with_seed(number as u64);
        // What the victim refuses is its right; a full backlog passes.
        while !self.pause(AGAIN) && !self.pause(self.line.take(CONNECTION_LEN)) {
            let Ok(stream) = TcpStream::connect_timeout(&self.victim.address, Duration::from_secs(2)) else {
                continue;
            };
            {
                let over = self.over.lock().unwrap();
                if *over {
                    return;
                }
                self.open.lock().unwrap()[number] = stream.try_clone().ok();
            }
            let (link, random) = (Link::new(stream), random.fork());
            let _ = (self.attack.script)(&mut Stranger { link, field: self, number, random });
            self.open.lock().unwrap()[number] = None;
        }
    }

    /// Waits so long. True if it is over.
    fn pause(&self, time: Duration) -> bool {
        let over = self.over.lock().unwrap();
        *self.ended.wait_timeout_while(over, time, |over| !*over).unwrap().0
    }
}

impl Stranger<'_> {
    /// Something is done to the victim now.
    fn strike(&self) {
        self.field.strikes.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits so long.
    ///
    /// # Errors
    /// If it is over.
    fn pause(&self, time: Duration) -> io::Result<()> {
        if self.field.pause(time) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Sends bytes as they are, when the line has room for them.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(line::PART_LEN) {
            let wait = self.field.line.take(part.len());
            if !wait.is_zero() {
                self.pause(wait)?;
            }
            self.link.send(part)?;
        }
        Ok(())
    }

    fn tell(&mut self, message: &Message) -> io::Result<()> {
        self.send(&words::encoded(message))
    }

    fn receive(&mut self) -> io::Result<Received> {
        self.link.receive()
    }

    /// Both handshakes, under a name that nobody else has.
    fn greet(&mut self) -> io::Result<()> {
        let name = PeerId::generate(&mut self.random);
        self.greet_as(name)
    }

    fn greet_as(&mut self, name: PeerId) -> io::Result<()> {
        self.send(&Handshake::new(self.field.victim.metainfo.info_hash, name).encode())?;
        self.link.read_handshake().map(drop)
    }

    /// Says that it has everything and gives it to anybody.
    fn offer(&mut self) -> io::Result<()> {
        self.tell(&Message::HaveAll)?;
        self.tell(&Message::Unchoke)
    }

    /// What a request asks for; `spoilt`: one of its bytes is wrong.
    fn block(&self, wanted: RawBlock, spoilt: bool) -> Vec<u8> {
        let victim = &self.field.victim;
        let span = victim.metainfo.geometry.span(wanted.index, wanted.begin, wanted.len);
        let span = span.expect("our daemon asks for what exists");
        let begin = usize::try_from(victim.metainfo.geometry.offset(span.piece())).unwrap();
        let begin = begin + wanted.begin as usize;
        let mut bytes = victim.payload[begin..begin + wanted.len as usize].to_vec();
        bytes[0] ^= u8::from(spoilt);
        bytes
    }
}
