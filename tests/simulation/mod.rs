//! A deterministic simulation: the shipped code over a storage, clocks and a scheduler that a seed decides.

pub mod actor;
pub mod agent;
pub mod handle;
pub mod mender;
pub mod mutants;
pub mod pruner;
pub mod random;
pub mod reader;
pub mod scheduler;
pub mod seeds;
pub mod storage;
pub mod trace;
pub mod verify;
pub mod ways;
pub mod world;
pub mod writer;
