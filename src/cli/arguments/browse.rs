//! `copal browse`: whose snapshots.

use std::ffi::OsString;

use clap::Args;

use super::values;

/// Look through snapshots, folders, texts and versions in the terminal, and restore what you choose
///
/// The keys stand in the last line; `?` explains them. It needs a terminal, and works over ssh.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal browse")]
pub struct Browse {
    /// Only snapshots of that host [default: those of all]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}
