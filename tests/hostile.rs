//! Hostile input: every decoder on mutated, cut and random bytes, and whole repositories by an attacker who has the key. An error each time;
//! never a panic, never memory far beyond the input, never a write outside the target.

mod hostile {
    pub mod bombs;
    pub mod contents;
    pub mod decoders;
    pub mod folders;
    pub mod make;
    pub mod memory;
    pub mod mutations;
    pub mod nodes;
    pub mod objects;
    pub mod targets;
}
mod program;

use hostile::{decoders, make, memory, mutations, objects};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;
