//! A profile to begin with.

use std::path::Path;

use super::section::quoted;

/// What takes away and reads, which a write-only key may not.
const AFTERWARDS: &str = r#"[forget]
keep-hourly = 24
keep-daily = 14
keep-weekly = 8
keep-monthly = 24
keep-yearly = "unlimited"

[prune]
every = "7d"

[check]
every = "1d"
budget = "5m"                  # reads as much as fits, the oldest first: runs add up to everything

[drill]
every = "30d"
"#;
const ELSEWHERE: &str = "\
# A write-only key adds, and neither forgets, prunes, checks nor drills: have that done where a full key is.
";

/// The text of a new profile: every part with a comment, what most people want switched on; of what comes after a backup nothing for a
/// write-only key.
pub fn template(
    name: &str,
    repository: Option<&str>,
    key: &str,
    sources: &[&Path],
    is_write_only: bool,
) -> String {
    let list: Vec<String> = sources.iter().map(|source| quoted(&source.to_string_lossy())).collect();
    let (mark, place) = match repository {
        Some(place) => ("", place),
        None => ("# ", "/media/disk/backup"),
    };
    format!(
        r#"# {name}: a profile of copal. See it whole: copal profile show {name}. Try it: copal run {name} --dry-run
# Keys are the long names of options (copal backup --help, ...), in a section for each command.

description = {description}
{mark}repository = {place}
{key}

[backup]
sources = [{sources}]
exclude-preset = ["home"]      # caches, trash, browsers, builds
# exclude = ["*.iso", "Downloads/"]
# exclude-larger-than = "4G"
# one-file-system = true

{afterwards}
# [targets.offsite]            # a second repository that gets the same
# repository = "/media/other/backup"

# [hooks]
# before = "mount /media/disk"
# finally = "umount /media/disk"

# [notices.monitor]
# ping = "https://hc-ping.com/YOUR-UUID"

# [notices.admin]
# mail = "root"
# when = "failure"

[schedule]
at = "daily 02:30"
"#,
        description = quoted(&format!("What is saved of {name}")),
        place = quoted(place),
        sources = list.join(", "),
        afterwards = if is_write_only { ELSEWHERE } else { AFTERWARDS },
    )
}
