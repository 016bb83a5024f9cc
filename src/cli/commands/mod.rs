//! One file for each command: from options to a verb, and from its result to what is printed.

pub mod about;
pub mod backup;
pub mod browse;
pub mod check;
pub mod complete;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod find;
pub mod forget;
mod idle;
pub mod init;
pub mod key;
pub mod ls;
pub mod mount;
pub mod parity;
pub mod profile;
pub mod protect;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod tag;
pub mod undelete;
pub mod versions;
pub mod web;
