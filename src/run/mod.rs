//! Doing what a profile says: what is due, what was done before, and how it went. Decides and remembers; the steps are commands.

pub mod plan;
pub mod state;

pub use plan::{Decision, Limits, Step, Wanted, plan};
pub use state::{Error, Held, Past, State, Target, lock};
