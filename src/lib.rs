//! copal: deduplicating, encrypted backups. This is the table of contents, from the ground floor up; imports point down.

pub mod locks;
pub mod model;
pub mod network;
pub mod progress;

pub mod backend;
pub mod compress;
pub mod crypto;
pub mod files;
pub mod format;
pub mod index;
pub mod patterns;
pub mod terminal;

pub mod profile;
pub mod program;
pub mod repository;

pub mod backup;
pub mod catalogue;
pub mod check;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod freeze;
pub mod guards;
pub mod hooks;
pub mod mount;
pub mod parity;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod retention;
pub mod schedule;

pub mod browse;
pub mod copy;
pub mod drill;
pub mod import;
pub mod notices;
pub mod run;
pub mod watch;
pub mod web;

pub mod cli;
