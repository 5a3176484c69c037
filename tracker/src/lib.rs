//! The tracker: swarms, a catalogue of published torrents, and HTTP in front of both.

pub mod swarm;
