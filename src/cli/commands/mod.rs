//! One file for each command: from options to a verb, and from its result to what is printed.

pub mod about;
pub mod backup;
pub mod check;
pub mod init;
pub mod key;
pub mod ls;
pub mod restore;
pub mod snapshots;
pub mod stats;
