//! `copal copy`: from where, and which snapshots.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::Choice;
use super::values;
use crate::cli::environment::Lookup;
use crate::compress::Level;

/// Copy snapshots from another repository into this one
///
/// The two may have different keys and cut files differently: what is read of one is stored as a backup into the other would. What is
/// there already is not stored again, and of what the copy before has nothing is read, so that a copy every night takes what one night
/// brought. A run that was cut off goes on where it was when it is started again. Copies keep their times, hosts, tags and descriptions, and
/// say of which snapshot they are a copy.
///
/// Ends with 5 when something of a snapshot can not be read: that one is not copied, the others are.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal copy --from-repo /media/disk/backup -r sftp:offsite:backup\n  copal copy --from-repo /media/disk/backup --from-key-file disk.key --host web1 latest"
)]
pub struct Copy {
    /// Only these snapshots of the other repository [default: all]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,

    /// The repository to copy from [variable: COPAL_FROM_REPOSITORY]
    #[arg(long, value_name = "REPOSITORY", value_parser = values::bytes())]
    pub from_repo: Option<OsString>,

    /// A file whose first line is the password of that one [variable: COPAL_FROM_PASSWORD_FILE; default: what opens this one]
    #[arg(long, value_name = "FILE")]
    pub from_password_file: Option<PathBuf>,

    /// A command (run by sh) that prints the password of that one [variable: COPAL_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", value_parser = values::bytes())]
    pub from_password_command: Option<OsString>,

    /// A key file that opens that one [variable: COPAL_FROM_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub from_key_file: Option<PathBuf>,

    /// Only snapshots of that host; several times: of any of them
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Vec<OsString>,

    #[command(flatten)]
    pub choice: Choice,

    /// Say what would be copied, and store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// How hard to compress: off, fast, auto, max, or a zstd level from 1 to 22
    #[arg(long, value_name = "LEVEL", default_value = "auto", value_parser = values::compression)]
    pub compression: Level,
}

impl Copy {
    /// Takes from the environment what was not typed, and refuses two ways to say the same.
    pub fn complete(&mut self, environment: Lookup<'_>) -> Result<(), String> {
        if self.from_repo.is_none() {
            self.from_repo = environment("COPAL_FROM_REPOSITORY");
        }
        if self.from_repo.is_none() {
            return Err("say where to copy from: --from-repo REPOSITORY".into());
        }
        let said = |copy: &Copy| {
            [
                ("--from-key-file", copy.from_key_file.is_some()),
                ("--from-password-file", copy.from_password_file.is_some()),
                ("--from-password-command", copy.from_password_command.is_some()),
            ]
        };
        super::global::at_most_one(&said(self))?;
        if !self.has_secret() {
            self.from_key_file = environment("COPAL_FROM_KEY_FILE").map(PathBuf::from);
            self.from_password_file = environment("COPAL_FROM_PASSWORD_FILE").map(PathBuf::from);
            self.from_password_command = environment("COPAL_FROM_PASSWORD_COMMAND");
            super::global::at_most_one(&said(self))?;
        }
        Ok(())
    }

    /// Whether a place for the other repository's password or key was named.
    pub fn has_secret(&self) -> bool {
        self.from_key_file.is_some()
            || self.from_password_file.is_some()
            || self.from_password_command.is_some()
    }
}
