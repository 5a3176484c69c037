//! The daemon's HTTP interface on loopback: [`api`] types, server, and the client the commands use.

pub mod admit;
pub mod api;
pub mod client;
pub mod engine;
mod guard;
pub mod handle;
pub mod listing;
pub mod server;
mod sockets;
#[cfg(test)]
mod tests;

pub use client::{ClientError, ControlClient};
pub use engine::{Engine, Refusal};
pub use server::{ControlError, ControlServer};
