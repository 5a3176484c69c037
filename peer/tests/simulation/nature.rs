//! What the nodes of a swarm are like: how they are connected, what befalls them, and who among them lies.

use std::cell::Cell;
use std::time::Duration;

use torrent_peer::torrent::core::Budget;

/// Bytes reserved, and how many may be.
pub struct TestBudget {
    pub reserved: Cell<u64>,
    pub limit: u64,
    /// How often there was no room.
    pub refusals: Cell<u64>,
}

impl TestBudget {
    pub const fn new(limit: u64) -> Self {
        Self { reserved: Cell::new(0), limit, refusals: Cell::new(0) }
    }
}

impl Budget for TestBudget {
    fn try_reserve(&self, len: u64) -> bool {
        let fits = self.reserved.get() + len <= self.limit;
        if fits {
            self.reserve_first(len);
        } else {
            self.refusals.set(self.refusals.get() + 1);
        }
        fits
    }

    fn has_room(&self, len: u64) -> bool {
        self.reserved.get() + len <= self.limit
    }

    fn reserve_first(&self, len: u64) {
        self.reserved.set(self.reserved.get() + len);
    }

    fn release(&self, len: u64) {
        self.reserved.set(self.reserved.get().checked_sub(len).expect("released more than was reserved"));
    }
}

/// What a node does when it is asked for what it said it has, and has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Nothing.
    Silence,
    /// Rejects it (BEP 6).
    Rejection,
    /// Sends any bytes.
    Garbage,
}

/// How a run of a node ends, before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// As it should: everybody is told.
    Stopped,
    /// The process is killed: the system hangs up for it, and what was written stays.
    Killed,
    /// Nobody is told, and what was written last may be lost.
    PowerCut,
}

/// The end of a run, and the beginning of the next with what is on disk.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    pub at: Duration,
    pub down: Duration,
    pub ending: Ending,
    /// Comes back under the same name.
    pub same_name: bool,
}

/// What a node is like.
#[derive(Debug, Clone)]
pub struct Nature {
    pub seeder: bool,
    /// Bytes per second up.
    pub upload: u64,
    pub slots: usize,
    /// Fetches in order.
    pub sequential: bool,
    /// Shows its pieces one after the other if it is the only seeder.
    pub super_seeding: bool,
    pub fast: bool,
    /// One in so many blocks it sends is corrupt; 0: none.
    pub corrupts: u32,
    /// It says that it has everything. Of one in so many pieces that is not true.
    pub lies: Option<(Lie, u32)>,
    /// Says any well-formed thing to anybody, so often.
    pub raves: Option<Duration>,
    /// Sends nothing in this time, and then goes on as if nothing had been.
    pub stalls: Option<(Duration, Duration)>,
    /// One in so many writes fails; 0: none.
    pub write_errors: u32,
    /// Writing a piece takes so long.
    pub writing: Duration,
    pub budget: u64,
    pub joins: Duration,
    pub leaves: Option<Duration>,
    pub restarts: Vec<Restart>,
    /// Bytes per second down.
    pub download: u64,
    /// Takes and never gives: nobody hears that it unchokes them.
    pub free_rides: bool,
    /// Leaves when it has sent so many bytes.
    pub leaves_after: Option<u64>,
}

impl Nature {
    /// A well-meaning node without troubles, on a fast line.
    pub const fn plain(seeder: bool) -> Self {
        Self {
            seeder,
            upload: 2_500_000,
            slots: 4,
            sequential: false,
            super_seeding: true,
            fast: true,
            corrupts: 0,
            lies: None,
            raves: None,
            stalls: None,
            write_errors: 0,
            writing: Duration::from_millis(3),
            budget: u64::MAX,
            joins: Duration::ZERO,
            leaves: None,
            restarts: Vec::new(),
            download: u64::MAX >> 32,
            free_rides: false,
            leaves_after: None,
        }
    }

    /// Does what it says, and sends the bytes it was asked for.
    pub const fn is_honest(&self) -> bool {
        self.corrupts == 0 && self.lies.is_none() && self.raves.is_none()
    }

    /// May send bytes that are wrong.
    pub const fn poisons(&self) -> bool {
        self.corrupts > 0 || matches!(self.lies, Some((Lie::Garbage, _)))
    }
}
