//! Servers that the user's own `ssh` leads to: where they are, how they are called, one connection for many threads, and what is done when it
//! is lost. What is said over it is for those who use this.

pub(super) mod connection;
pub(super) mod link;
mod options;
mod place;
pub(super) mod process;

pub use connection::{Line, Lost, Peer, Why};
pub use link::Dial;
pub use options::Options;
pub use place::Place;
