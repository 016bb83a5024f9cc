//! Says which patterns of the command line made no difference: most often a slip of the pen.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use crate::cli::context::Context;
use crate::patterns::Patterns;
use crate::terminal::escape::escape;

/// Entries of folders that were left out which are looked at afterwards; where there are more, nothing is said.
const LOOKED_AT: usize = 200_000;

/// Warns of the patterns that matched nothing; `given` are the last ones of `patterns`, each with its option.
pub(super) fn warn(context: &Context<'_>, patterns: &Patterns, given: &[(&str, &OsString)]) {
    let first = patterns.len().saturating_sub(given.len());
    let idle = patterns.idle();
    let names: Vec<String> = idle
        .iter()
        .filter_map(|rule| given.get(rule.checked_sub(first)?))
        .map(|(option, pattern)| format!("{option} '{}'", escape(pattern.as_bytes())))
        .collect();
    if !names.is_empty() {
        context.warn(&format!("{} made no difference", names.join(", ")));
    }
}

/// Looks into the folders that a backup left out: what matches in there is no slip, though it was left out with its folder.
pub(super) fn look_into_left_out(patterns: &Patterns) {
    let mut left = LOOKED_AT;
    for folder in patterns.passed_over() {
        if patterns.idle().is_empty() {
            return;
        }
        let mut device = None;
        for entry in
            walkdir::WalkDir::new(OsStr::from_bytes(&folder)).follow_links(false).same_file_system(true)
        {
            let Ok(entry) = entry else { return patterns.look_away() };
            let is_directory = entry.file_type().is_dir();
            if is_directory {
                let Ok(metadata) = entry.metadata() else { return patterns.look_away() };
                // What is mounted there is not looked into.
                if *device.get_or_insert(metadata.dev()) != metadata.dev() {
                    return patterns.look_away();
                }
            }
            patterns.matches_entry(entry.path().as_os_str().as_bytes(), is_directory);
            left -= 1;
            if left == 0 {
                return patterns.look_away();
            }
        }
    }
}
