//! `copal init` and `copal key`: making a repository, and the passwords and key files that open it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::secrets::Origin;
use super::values;

/// Make a new repository
///
/// Asks for a password twice. With --key-file the key opens it instead; the file is made when it does not exist: keep a copy elsewhere.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal init -r /media/disk/backup\n  copal init -r /srv/backup --key-file ~/.config/copal/srv-key"
)]
pub struct Init {
    /// The average size of chunks (64K when nothing is said): larger ones mean a smaller index and less deduplication. It cannot be changed later
    #[arg(long, value_name = "SIZE", value_parser = values::positive_size)]
    pub average_chunk: Option<u64>,
}

/// Show and change the passwords and keys that open the repository
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal key add --label laptop --new-key-file /root/laptop.key")]
pub struct Key {
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    Add(KeyAdd),
    /// List the passwords and keys that open the repository
    List,
    Remove(KeyRemove),
    Passwd(KeyPassword),
    Export(KeyExport),
}

/// Add a password or key file
///
/// With --write-only it is for a machine that may be stolen or broken into: with it backups are added, and nothing that was saved is read or removed.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal key add --label laptop\n  copal key add --write-only --label web1 --new-key-file web1.key"
)]
pub struct KeyAdd {
    #[command(flatten)]
    pub new: NewSecret,
    /// It only adds backups: it neither reads what was saved, not even by itself, nor removes anything
    #[arg(long)]
    pub write_only: bool,
    /// With --write-only: it sees which chunks full keys stored, and does not store those again; whoever steals it sees that too
    #[arg(long, requires = "write_only")]
    pub share_index: bool,
    /// What `key list` shows for it
    #[arg(long, value_name = "TEXT", value_parser = values::text)]
    pub label: Option<String>,
}

/// Remove a password or key; not the last one, and not the one in use
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal key remove 3fa91c")]
pub struct KeyRemove {
    /// Its id, as `key list` shows it (the beginning is enough)
    #[arg(value_name = "ID", value_parser = values::text)]
    pub id: String,
}

/// Replace the password or key in use by a new one
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal key passwd")]
pub struct KeyPassword {
    #[command(flatten)]
    pub new: NewSecret,
}

/// Print a recovery sheet that opens the repository when all else is lost
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal key export | lpr")]
pub struct KeyExport {}

/// Where a new password or key comes from; without any, a person types it twice.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
pub struct NewSecret {
    /// A file whose first line is the new password
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// A key file; made when it does not exist
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
}

impl NewSecret {
    /// Where the new password or key comes from.
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            key_file: self.new_key_file.as_deref(),
            password_file: self.new_password_file.as_deref(),
            ..Origin::default()
        }
    }
}
