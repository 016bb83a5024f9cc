//! `copal snapshots`: what there is to restore from.

use serde::Serialize;

use crate::cli::arguments::Snapshots;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::model::Snapshot;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::show_size;
use crate::terminal::table::{Align, Table};
use crate::terminal::time;

/// A snapshot as programs get it; field names are restic's where restic has them.
#[derive(Serialize)]
pub struct Line {
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    username: String,
    paths: Vec<String>,
    tags: Vec<String>,
    tree: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    program_version: String,
    incomplete: bool,
    summary: Counts,
}

#[derive(Serialize)]
struct Counts {
    total_files_processed: u64,
    total_bytes_processed: u64,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    data_added: u64,
    data_added_packed: u64,
}

/// What programs get of a snapshot.
pub fn line(named: &Named) -> Line {
    let Snapshot { time, host, user, sources, tags, root, parent, program, incomplete, summary, .. } =
        &named.snapshot;
    Line {
        id: named.name.to_string(),
        short_id: named.name.short(),
        time: time::iso(*time),
        hostname: json::text(host).into_owned(),
        username: json::text(user).into_owned(),
        paths: sources.iter().map(|source| json::text(source).into_owned()).collect(),
        tags: tags.clone(),
        tree: root.to_string(),
        parent: parent.map(|parent| parent.to_string()),
        program_version: program.clone(),
        incomplete: *incomplete,
        summary: Counts {
            total_files_processed: summary.files,
            total_bytes_processed: summary.bytes,
            files_new: summary.files_new,
            files_changed: summary.files_changed,
            files_unmodified: summary.files_unmodified,
            data_added: summary.bytes_new,
            data_added_packed: summary.bytes_stored,
        },
    }
}

/// Lists snapshots.
pub fn run(context: &Context<'_>, wanted: &Snapshots) -> Result<Code, Failure> {
    let repository = context.open()?;
    let all = select::load(context, &repository)?;
    let mut chosen: Vec<Named> = Vec::new();
    if wanted.snapshots.is_empty() {
        chosen.clone_from(&all.confirmed);
    } else {
        for text in &wanted.snapshots {
            let host =
                wanted.host.as_ref().map(|host| std::os::unix::ffi::OsStrExt::as_bytes(host.as_os_str()));
            chosen.push(select::find(context, &all, text, host)?);
        }
    }
    chosen.retain(|named| {
        use std::os::unix::ffi::OsStrExt;
        let snapshot = &named.snapshot;
        wanted.host.as_ref().is_none_or(|host| snapshot.host == host.as_bytes())
            && (wanted.tag.is_empty() || wanted.tag.iter().any(|tag| snapshot.tags.contains(tag)))
            && wanted.path.iter().all(|path| snapshot.sources.iter().any(|source| source == path.as_bytes()))
    });
    if context.global.json {
        for named in &chosen {
            context.out.json("snapshot", &line(named))?;
        }
    } else {
        let mut table = Table::new(&[
            ("ID", Align::Left),
            ("Time", Align::Left),
            ("Host", Align::Left),
            ("Tags", Align::Left),
            ("Files", Align::Right),
            ("Size", Align::Right),
            ("Added", Align::Right),
            // Last, since they may be longer than a line.
            ("Paths", Align::Left),
        ]);
        for named in &chosen {
            let snapshot = &named.snapshot;
            let paths: Vec<String> =
                snapshot.sources.iter().map(|source| escape(source).into_owned()).collect();
            table.row([
                format!("{}{}", named.name.short(), if snapshot.incomplete { " !" } else { "" }),
                time::show(snapshot.time),
                escape(&snapshot.host).into_owned(),
                escape(snapshot.tags.join(",").as_bytes()).into_owned(),
                snapshot.summary.files.to_string(),
                show_size(snapshot.summary.bytes),
                show_size(snapshot.summary.bytes_stored),
                paths.join(" "),
            ]);
        }
        context.out.write(table.render())?;
        if chosen.iter().any(|named| named.snapshot.incomplete) {
            context.out.write("! something could not be read when this snapshot was made\n")?;
        }
        let count = chosen.len();
        context.out.write(format!("{count} snapshot{}\n", if count == 1 { "" } else { "s" }))?;
    }
    if !all.unconfirmed.is_empty() {
        context.warn(&format!(
            "{} snapshots were never completed (their backup was interrupted at the very end); they are not listed",
            all.unconfirmed.len()
        ));
    }
    if all.problems.is_empty() {
        Ok(Code::Done)
    } else {
        Err(failure(&crate::repository::Error::Damaged {
            object: "snapshots".to_owned(),
            what: format!("{} can not be read", all.problems.len()),
        }))
    }
}
