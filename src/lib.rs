//! copal: deduplicating, encrypted backups. This is the table of contents, from the ground floor up; imports point down.

pub mod model;

pub mod compress;
pub mod crypto;
pub mod format;
