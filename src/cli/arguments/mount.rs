//! `copal mount`: where, for whom, and whose newest snapshot is `latest`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::values;

/// Show all snapshots as folders, for any program to read
///
/// Below DIR are snapshots/TIME/, hosts/HOST/TIME/, tags/TAG/TIME/, latest, and versions/HOST/PATH/, which has every version of that file.
/// Nothing in them can be changed. New snapshots appear while it is mounted. It stays until Ctrl-C, SIGTERM, or `fusermount3 -u DIR`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  mkdir -p ~/old && copal mount ~/old")]
pub struct Mount {
    /// An empty folder to mount on
    #[arg(value_name = "DIR")]
    pub place: PathBuf,

    /// Let other users look too, each at what modes and access control lists let them; without it you alone may, at everything
    #[arg(long)]
    pub allow_other: bool,

    /// Whose newest snapshot is `latest` [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}
