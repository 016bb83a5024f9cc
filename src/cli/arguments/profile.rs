//! `copal profile`: what was written down to be done again and again.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::values;

/// Make, check and show profiles
///
/// A profile is a file NAME.toml in the config folder (~/.config/copal, root's is /etc/copal) that holds options under their long names, in
/// a section for each command. `copal run NAME` does all that it says; every command takes its options with --profile NAME.
#[derive(Clone, Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Profile {
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// What to do with profiles.
#[derive(Clone, Debug, Subcommand)]
pub enum ProfileCommand {
    New(ProfileNew),
    Check(ProfileCheck),
    Show(ProfileShow),
    List(ProfileList),
}

/// Write a profile to begin with, with a comment for each part
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal profile new home -r /media/disk/backup ~")]
pub struct ProfileNew {
    /// What it is called: letters, digits, - and _
    #[arg(value_name = "NAME", value_parser = values::text)]
    pub name: String,
    /// What it saves [default: your home folder; root's: /etc, /home, /root, /srv and /var/lib, as far as they are there]
    #[arg(value_name = "SOURCE", value_parser = values::bytes())]
    pub sources: Vec<OsString>,
    /// Without what a write-only key may not do: forget, prune, check, drill
    #[arg(long)]
    pub write_only: bool,
}

/// Say what is wrong with profiles, with the line where it stands
#[derive(Clone, Debug, Args)]
pub struct ProfileCheck {
    /// Which [default: all]
    #[arg(value_name = "NAME", value_parser = values::text)]
    pub names: Vec<String>,
}

/// Show a profile with all that it inherits, and where each key comes from
#[derive(Clone, Debug, Args)]
pub struct ProfileShow {
    /// Which
    #[arg(value_name = "NAME", value_parser = values::text)]
    pub name: String,
}

/// List profiles
#[derive(Clone, Debug, Args)]
pub struct ProfileList {}
