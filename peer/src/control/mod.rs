//! The daemon's HTTP interface on loopback: [`api`] types, server, and the client the commands use.

pub mod admit;
pub mod api;
pub mod client;
pub mod engine;
mod guarded;
pub mod handle;
pub mod listing;
pub mod route;
pub mod server;
#[cfg(test)]
mod tests;
mod work;

pub use client::{ClientError, ControlClient};
pub use engine::{Engine, Refusal};
pub use server::{ControlError, ControlServer};
