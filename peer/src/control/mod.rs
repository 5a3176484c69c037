//! The daemon's HTTP interface on loopback: [`api`] types, server, and the client the commands use.

pub mod api;
pub mod client;
pub mod engine;
pub mod server;

pub use engine::{Engine, Refusal};
pub use server::ControlServer;
