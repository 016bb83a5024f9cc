//! What is said when a backup is over.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use crate::backup::Outcome;
use crate::cli::arguments::Backup;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::repository::{EXPORTED_FACT, Repository};
use crate::terminal::size::{show_count, show_duration, show_size};

#[derive(Serialize)]
struct Summary {
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    files_removed: u64,
    /// New contents that look encrypted.
    files_incompressible: u64,
    dirs_total: u64,
    total_files_processed: u64,
    total_bytes_processed: u64,
    data_added: u64,
    data_added_packed: u64,
    unreadable: u64,
    changed_while_read: u64,
    metadata_not_read: u64,
    /// Chunks that damage had hit, and their bytes before compression.
    chunks_healed: u64,
    bytes_healed: u64,
    total_duration: f64,
    dry_run: bool,
}

pub(in crate::cli::commands) fn report(
    context: &Context<'_>,
    outcome: &Outcome,
    wanted: &Backup,
    seconds: f64,
) -> Result<(), Failure> {
    let summary = &outcome.snapshot.summary;
    if context.global.json {
        let line = Summary {
            snapshot_id: outcome.name.map(|name| name.to_string()),
            files_new: summary.files_new,
            files_changed: summary.files_changed,
            files_unmodified: summary.files_unmodified,
            files_removed: outcome.files_removed(),
            files_incompressible: outcome.files_incompressible,
            dirs_total: summary.directories,
            total_files_processed: summary.files,
            total_bytes_processed: summary.bytes,
            data_added: summary.bytes_new,
            data_added_packed: summary.bytes_stored,
            unreadable: summary.unreadable,
            changed_while_read: summary.changed_while_read,
            metadata_not_read: outcome.metadata_unread,
            chunks_healed: outcome.healed.0,
            bytes_healed: outcome.healed.1,
            total_duration: seconds,
            dry_run: wanted.dry_run,
        };
        return Ok(context.out.json("summary", &line)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let mut text = String::new();
    if outcome.parent.is_some() {
        text += &format!(
            "files   {} new, {} changed, {} unchanged",
            summary.files_new, summary.files_changed, summary.files_unmodified
        );
        match outcome.files_removed() {
            0 => text.push('\n'),
            removed => text += &format!(", {removed} gone\n"),
        }
    } else {
        text += &format!("files   {}, in {}\n", summary.files, show_count(summary.directories, "folder"));
    }
    let verb = if wanted.dry_run { "would be new" } else { "new" };
    text += &format!("size    {}, {} of it {verb}", show_size(summary.bytes), show_size(summary.bytes_new));
    if !wanted.dry_run {
        text += &format!(", stored in {}", show_size(summary.bytes_stored));
    }
    text += &format!(
        "\ntime    {}\n",
        show_duration(std::time::Duration::from_millis((seconds * 1000.0) as u64))
    );
    if outcome.healed.0 > 0 {
        text += &format!(
            "healed  {verb} again {} ({}) that damage had hit\n",
            show_count(outcome.healed.0, "chunk"),
            show_size(outcome.healed.1),
            verb = if wanted.dry_run { "would store" } else { "stored" },
        );
    }
    match (&outcome.name, wanted.dry_run) {
        (Some(name), _) => text += &format!("snapshot {} saved\n", name.short()),
        (None, true) => text += "dry run: nothing was saved\n",
        (None, false) => text += "nothing had changed: no snapshot was made\n",
    }
    context.out.write(text)?;
    Ok(())
}

/// How to get something back, said while it is new to the person; and warnings about where the repository lies.
pub(super) fn advise(context: &Context<'_>, repository: &Repository, outcome: &Outcome, sources: &[Vec<u8>]) {
    if context.global.quiet || context.global.json {
        return;
    }
    // What it says next is nothing for a key that only adds.
    let reads = !repository.is_write_only();
    if let (true, Some(_), None) = (reads, &outcome.name, &outcome.parent) {
        let named = match context.is_default_repository() {
            true => String::new(),
            false => format!(" -r {}", repository.location()),
        };
        context.say(&format!(
            "to see what there is: copal ls{named} latest\nto restore: copal restore{named} latest -t FOLDER"
        ));
    }
    let device = |path: &OsStr| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let here = device(OsStr::new(&repository.location()));
    if here.is_some() && sources.iter().any(|source| device(OsStr::from_bytes(source)) == here) {
        context.say("note: the repository is on the same disk as the files: it is lost with that disk");
    }
    if reads
        && context.is_default_repository()
        && repository.index.fact(EXPORTED_FACT).ok().flatten().is_none()
    {
        context.say("note: no copy of the key was ever exported: copal key export");
    }
}
