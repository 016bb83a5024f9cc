//! Commands on a storage that goes wrong at every one of its operations in turn: what was reported as saved comes back exactly, what was
//! reported is true, and the next command works, with no step by hand.

#[macro_use]
#[path = "pruning/through.rs"]
mod through;
mod program;
mod faults {
    #[macro_use]
    pub mod sweep;
    pub mod commands;
    pub mod world;
}

use faults::{sweep, world};
