//! `copal serve`: which folder is served to whom.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// Serve a repository's folder to copal on another machine, over ssh
///
/// It speaks on standard input and output and listens nowhere: the other copal has ssh start it, for a repository
/// copal+ssh://USER@HOST/PATH. In the command of a key in authorized_keys it holds whoever has that key to what its options allow, whatever
/// he asks for: command="copal serve --append-only /srv/backup/laptop",restrict ssh-ed25519 ...
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example, in ~/.ssh/authorized_keys of the server:\n  command=\"copal serve --append-only --quota 500G /srv/backup/laptop\",restrict ssh-ed25519 AAAA... laptop"
)]
pub struct Serve {
    /// The only folder that is served; without it, the one that is asked for
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,

    /// Take what a backup adds, and nothing else: nothing is removed, replaced, forgotten or pruned, and no key is added
    #[arg(long)]
    pub append_only: bool,

    /// Only let be read
    #[arg(long)]
    pub read_only: bool,

    /// Refuse what would make all objects together larger than that, as a full disk does. Example: --quota 500G
    #[arg(long, value_name = "SIZE", value_parser = values::positive_size)]
    pub quota: Option<u64>,
}
