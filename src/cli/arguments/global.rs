//! Options that every command takes, and the variables that stand in for them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;

use super::super::environment::Lookup;
use super::super::secrets::{Origin, Secret};
use super::values;

/// Options that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options everywhere")]
pub struct Global {
    /// The repository: a path. Default: the built-in one in your data folder. Example: -r /media/disk/backup [variable: COPAL_REPOSITORY]
    #[arg(short, long, global = true, value_name = "REPOSITORY", value_parser = values::bytes())]
    pub repo: Option<OsString>,

    /// A file whose first line names the repository [variable: COPAL_REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub repository_file: Option<PathBuf>,

    /// A file whose first line is the password [variable: COPAL_PASSWORD_FILE; COPAL_PASSWORD holds the password itself]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// A command (run by sh) that prints the password. Example: --password-command 'pass show backup' [variable: COPAL_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", value_parser = values::bytes())]
    pub password_command: Option<OsString>,

    /// A key file that opens the repository without a password [variable: COPAL_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// The folder for caches; they may be deleted at any time [variable: COPAL_CACHE_DIR]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,

    /// Keep no cache on this machine
    #[arg(long, global = true)]
    pub no_cache: bool,

    /// Keep no catalogue of paths on this machine: `versions` goes through the snapshots, which takes longer [variable: COPAL_CATALOGUE=off]
    #[arg(long, global = true)]
    pub no_catalogue: bool,

    /// Take options from a profile: NAME.toml in the config folder, or a path with a slash. What is typed counts before it [variable: COPAL_PROFILE]
    #[arg(long, global = true, value_name = "NAME", value_parser = values::text)]
    pub profile: Option<String>,

    /// Print JSON lines, for programs
    #[arg(long, global = true)]
    pub json: bool,

    /// Print only errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say more: each entry that is new, changed or given back; twice also what is unchanged
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// About how much memory a backup or a restore may take: 64M at least, 256M by default; less means fewer threads, shorter packs and smaller steps. Example: --memory 1G
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::memory)]
    pub memory: Option<u64>,

    /// Send no more than that to the repository in a second. Example: --limit-upload 2M
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::positive_size)]
    pub limit_upload: Option<u64>,

    /// Fetch no more than that from the repository in a second
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::positive_size)]
    pub limit_download: Option<u64>,

    /// How much of what a repository on another machine says of files and folders is kept on this one: 1G unless said, 0 for nothing
    #[arg(long, global = true, value_name = "SIZE", value_parser = values::size)]
    pub cache_size: Option<u64>,

    /// Give way to everything else on this machine: only processor time and disk that nobody else wants
    #[arg(long, global = true)]
    pub background: bool,

    /// The password in COPAL_PASSWORD; never an option.
    #[arg(skip)]
    pub password: Option<Secret>,
}

impl Global {
    /// Refuses what contradicts itself and takes from the environment what was not typed.
    pub fn complete(&mut self, environment: Lookup<'_>) -> Result<(), String> {
        if self.quiet && self.verbose > 0 {
            return Err("--quiet and --verbose contradict each other".into());
        }
        if self.no_cache && self.cache_dir.is_some() {
            return Err("--no-cache and --cache-dir contradict each other".into());
        }
        at_most_one(&[
            ("--repo", self.repo.is_some()),
            ("--repository-file", self.repository_file.is_some()),
        ])?;
        if self.repo.is_none() && self.repository_file.is_none() {
            self.repo = environment("COPAL_REPOSITORY");
            self.repository_file = environment("COPAL_REPOSITORY_FILE").map(PathBuf::from);
            at_most_one(&[
                ("COPAL_REPOSITORY", self.repo.is_some()),
                ("COPAL_REPOSITORY_FILE", self.repository_file.is_some()),
            ])?;
        }
        at_most_one(&[
            ("--key-file", self.key_file.is_some()),
            ("--password-file", self.password_file.is_some()),
            ("--password-command", self.password_command.is_some()),
        ])?;
        if !self.has_secret() {
            self.key_file = environment("COPAL_KEY_FILE").map(PathBuf::from);
            self.password_file = environment("COPAL_PASSWORD_FILE").map(PathBuf::from);
            self.password_command = environment("COPAL_PASSWORD_COMMAND");
            at_most_one(&[
                ("COPAL_KEY_FILE", self.key_file.is_some()),
                ("COPAL_PASSWORD_FILE", self.password_file.is_some()),
                ("COPAL_PASSWORD_COMMAND", self.password_command.is_some()),
            ])?;
        }
        if !self.has_secret() {
            self.password = environment("COPAL_PASSWORD").map(Secret::from);
        }
        if !self.no_cache && self.cache_dir.is_none() {
            self.cache_dir = environment("COPAL_CACHE_DIR").map(PathBuf::from);
        }
        match environment("COPAL_CATALOGUE") {
            Some(value) if value == "off" => self.no_catalogue = true,
            Some(value) if value != "on" => return Err("COPAL_CATALOGUE is neither on nor off".into()),
            _ => {}
        }
        Ok(())
    }

    /// Where the password or key comes from.
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            key_file: self.key_file.as_deref(),
            password_file: self.password_file.as_deref(),
            password_command: self.password_command.as_deref().map(OsStr::new),
            password: self.password.as_ref(),
        }
    }

    /// Whether a place for the password or key was named.
    fn has_secret(&self) -> bool {
        self.key_file.is_some() || self.password_file.is_some() || self.password_command.is_some()
    }
}

/// Refuses two ways to say the same thing.
pub(super) fn at_most_one(given: &[(&str, bool)]) -> Result<(), String> {
    let names: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
    match names.as_slice() {
        [first, second, ..] => Err(format!("{first} and {second} contradict each other; give only one")),
        _ => Ok(()),
    }
}
