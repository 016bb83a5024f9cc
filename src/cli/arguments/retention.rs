//! Commands that say what stays: `forget`, `undelete`, `protect`, `unprotect`, `tag`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Args;

use super::values;
use crate::retention::Grouping;
use crate::retention::calendar::{Calendar, Period, Span};
use crate::retention::fit::{Free, Limits};
use crate::retention::policy::{Count, Policy, Tags};

/// Forget snapshots by a policy, or by name
///
/// Forgotten snapshots are listed no more, and are neither `latest` nor compared with. Nothing is removed: until it is, `copal undelete`
/// has them back. Snapshots are first divided into groups (--group-by), and the policy is applied to each. Of each hour, day, week, month
/// or year the newest snapshot is kept; while a rule's number is not used up, the oldest snapshot of the group is kept as well. N is a
/// number or `unlimited`; DURATION, such as 1y5m7d2h, counts back from the newest snapshot. Protected snapshots are never forgotten.
/// With --keep-size and --free only as many go as have to, the oldest first; their room comes back with `copal prune`, seven days later.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run\n  copal forget --keep-within 30d --keep-tag release\n  copal forget --keep-size 500G --keep-daily 7 --dry-run\n  copal forget 3fa91c20"
)]
pub struct Forget {
    /// These, whatever policy there is
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    /// Count hours, days, weeks, months and years as the clocks of that zone show them, such as Europe/Lisbon, UTC or local [default: of the place where the snapshot was made]
    #[arg(long, value_name = "ZONE", value_parser = Calendar::parse)]
    pub timezone: Option<Calendar>,
    /// Forget all that --host, --tag and --path choose; only with --unsafe-allow-remove-all
    #[arg(long)]
    pub all: bool,
    /// Allow that nothing is kept of a group
    #[arg(long)]
    pub unsafe_allow_remove_all: bool,
    /// Only show what would be forgotten, and how much that frees
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Prune afterwards: what was just forgotten stays for seven days all the same
    #[arg(long, conflicts_with = "dry_run")]
    pub prune: bool,
    #[command(flatten)]
    pub keep: Keep,
    /// Forget no more than it takes, the oldest first, until what stays takes at most that size: of what the rules do not keep, or without rules of all but the newest of each group
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Rules")]
    pub keep_size: Option<u64>,
    /// The same until so much is free where the repository lies: 20% of it, or 100G
    #[arg(long, value_name = "ROOM", value_parser = Free::parse, help_heading = "Rules")]
    pub free: Option<Free>,
    /// Only snapshots of that host; several times: of any of them
    #[arg(long, value_name = "NAME", value_parser = values::bytes(), help_heading = "Which snapshots")]
    pub host: Vec<OsString>,
    #[command(flatten)]
    pub choice: Choice,
    /// Only snapshots that saved what --path says and nothing else
    #[arg(long, requires = "path", hide = true)]
    pub exact_paths: bool,
    /// What snapshots of a group have in common: host, paths, tags, with commas between; '' for one group of all
    #[arg(short, long, value_name = "WHAT", value_parser = Grouping::parse, default_value = "host,paths", help_heading = "Which snapshots")]
    pub group_by: Grouping,
}

/// The rules. Each is for each group by itself.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Rules")]
pub struct Keep {
    /// Keep the newest N snapshots
    #[arg(short = 'l', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_last: Option<Count>,
    /// Keep the newest snapshot of each of N hours
    #[arg(short = 'H', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_hourly: Option<Count>,
    /// Keep the newest snapshot of each of N days
    #[arg(short = 'd', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_daily: Option<Count>,
    /// Keep the newest snapshot of each of N weeks
    #[arg(short = 'w', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_weekly: Option<Count>,
    /// Keep the newest snapshot of each of N months
    #[arg(short = 'm', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_monthly: Option<Count>,
    /// Keep the newest snapshot of each of N years
    #[arg(short = 'y', long, value_name = "N", value_parser = Count::parse, allow_negative_numbers = true)]
    pub keep_yearly: Option<Count>,
    /// Keep all snapshots of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within: Option<Span>,
    /// Keep the newest snapshot of each hour of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within_hourly: Option<Span>,
    /// Keep the newest snapshot of each day of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within_daily: Option<Span>,
    /// Keep the newest snapshot of each week of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within_weekly: Option<Span>,
    /// Keep the newest snapshot of each month of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within_monthly: Option<Span>,
    /// Keep the newest snapshot of each year of that time
    #[arg(long, value_name = "DURATION", value_parser = Span::parse)]
    pub keep_within_yearly: Option<Span>,
    /// Keep snapshots that have all tags of that list; several times: of any of the lists
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub keep_tag: Vec<Tags>,
}

impl Keep {
    /// The policy that the rules make; without any, when only room counts, the newest of each group stays.
    pub fn policy_or_newest(&self) -> Policy {
        match self.is_given() {
            true => self.policy(),
            false => Policy { counts: BTreeMap::from([(Period::Each, Count::Most(1))]), ..Policy::default() },
        }
    }

    /// The policy that the rules make.
    pub fn policy(&self) -> Policy {
        let counts = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        let within = [
            self.keep_within,
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_yearly,
        ];
        fn given<T: Copy>(values: [Option<T>; 6]) -> BTreeMap<Period, T> {
            Period::ALL.into_iter().zip(values).filter_map(|(period, value)| Some((period, value?))).collect()
        }
        Policy { counts: given(counts), within: given(within), tags: self.keep_tag.clone() }
    }

    /// Whether there are any.
    pub fn is_given(&self) -> bool {
        self.policy() != Policy::default()
    }
}

/// Which of all snapshots are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which snapshots")]
pub struct Choice {
    /// Only snapshots that have all tags of that list; several times: of any of the lists. '' stands for having none
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub tag: Vec<Tags>,
    /// Only snapshots that saved this source; several times: all of them
    #[arg(long, value_name = "PATH", value_parser = values::bytes())]
    pub path: Vec<OsString>,
}

impl Choice {
    fn is_given(&self) -> bool {
        !self.tag.is_empty() || !self.path.is_empty()
    }
}

impl Forget {
    /// What has to fit.
    pub fn limits(&self) -> Limits {
        Limits { size: self.keep_size, free: self.free }
    }

    /// Refuses what does not say clearly what is to go.
    pub fn check(&self) -> Result<(), String> {
        let has_rules = self.keep.is_given() || self.limits().is_given();
        let wanted = [!self.snapshots.is_empty(), has_rules, self.all];
        match wanted.iter().filter(|is_wanted| **is_wanted).count() {
            0 => {
                return Err(
                    "say what to keep (--keep-daily 7, --keep-within 30d, ...) or which snapshots to forget"
                        .into(),
                );
            }
            1 => {}
            _ => return Err("give snapshots, rules of what to keep, or --all: only one of these".into()),
        }
        if !self.snapshots.is_empty() && self.choice.is_given() {
            return Err("--tag and --path choose among all snapshots; here they are named".into());
        }
        if self.keep.is_given() && self.keep.policy().is_empty() {
            return Err("these rules keep nothing at all; to forget everything say --all".into());
        }
        Ok(())
    }
}

/// Take back that snapshots were forgotten
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal snapshots --forgotten\n  copal undelete 3fa91c20")]
pub struct Undelete {
    /// Forgotten snapshots, by the beginnings of their ids
    #[arg(value_name = "SNAP", value_parser = values::text, required = true)]
    pub snapshots: Vec<String>,
}

/// Protect snapshots: they are never forgotten, whatever a policy says
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal protect latest")]
pub struct Protect {
    /// Which
    #[arg(value_name = "SNAP", value_parser = values::text, required = true)]
    pub snapshots: Vec<String>,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Take the protection of snapshots away
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal unprotect 3fa91c20")]
pub struct Unprotect {
    /// Which
    #[arg(value_name = "SNAP", value_parser = values::text, required = true)]
    pub snapshots: Vec<String>,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Change the tags of snapshots
///
/// Without snapshots named, all that --host, --tag and --path choose. What was backed up stays as it is, and so do the ids.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal tag --add release latest\n  copal tag --remove old --tag old\n  copal tag --set a,b 3fa91c20"
)]
pub struct Tag {
    /// These [default: all]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    /// Add tags
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub add: Vec<Tags>,
    /// Remove tags
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub remove: Vec<Tags>,
    /// Replace all tags by these; '' for none
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub set: Vec<Tags>,
    /// Only snapshots of that host; several times: of any of them
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes(), help_heading = "Which snapshots")]
    pub host: Vec<OsString>,
    #[command(flatten)]
    pub choice: Choice,
}

/// The tags of several lists, each once.
pub fn flatten(lists: &[Tags]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for tag in lists.iter().flat_map(|list| &list.0) {
        if !all.contains(tag) {
            all.push(tag.clone());
        }
    }
    all
}

impl Tag {
    /// Refuses what says nothing, or two things.
    pub fn check(&self) -> Result<(), String> {
        let changes = !self.add.is_empty() || !self.remove.is_empty();
        match (changes, self.set.is_empty()) {
            (false, true) => return Err("say which tags: --add, --remove or --set".into()),
            (true, false) => return Err("--set and --add or --remove contradict each other".into()),
            _ => {}
        }
        let (add, remove, set) = (flatten(&self.add), flatten(&self.remove), flatten(&self.set));
        let empty = |tags: &[String]| tags.iter().any(String::is_empty);
        if empty(&add) || empty(&remove) || set.len() > 1 && empty(&set) {
            return Err("a tag must not be empty".into());
        }
        if let Some(tag) = add.iter().find(|tag| remove.contains(tag)) {
            return Err(format!("{tag} is to be added and removed"));
        }
        if !self.snapshots.is_empty() && self.choice.is_given() {
            return Err("--tag and --path choose among all snapshots; here they are named".into());
        }
        Ok(())
    }
}
