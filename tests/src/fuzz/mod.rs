//! Fuzz targets: what is done with a stranger's bytes, and what must hold whatever they are. libFuzzer makes the bytes
//! (`tests/fuzz`, `scripts/fuzz.sh`); `tests/tests/seeds.rs` goes through the seeds as plain tests.
//!
//! A target panics when something does not hold. It is the same every time: nothing is remembered between two inputs.

mod announce;
mod answer;
mod bencode;
mod config;
mod control;
mod inbox;
mod metainfo;
mod multipart;
mod resume;
mod udp;
mod wire;

pub use announce::announce_query;
pub use answer::tracker_answer;
pub use bencode::bencode;
pub use config::config;
pub use control::control;
pub use inbox::inbox;
pub use metainfo::metainfo;
pub use multipart::multipart;
pub use resume::resume;
pub use udp::udp_packet;
pub use wire::wire;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by the names of their programs and of the folders of their seeds.
pub const TARGETS: [(&str, Target); 11] = [
    ("announce_query", announce_query),
    ("bencode", bencode),
    ("config", config),
    ("control", control),
    ("inbox", inbox),
    ("metainfo", metainfo),
    ("multipart", multipart),
    ("resume", resume),
    ("tracker_answer", tracker_answer),
    ("udp_packet", udp_packet),
    ("wire", wire),
];

/// The first byte of an input, by which targets choose, and the rest.
fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}
