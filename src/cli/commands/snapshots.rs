//! `copal snapshots`: what there is to restore from.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::arguments::Snapshots;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::crypto::FULL;
use crate::model::Snapshot;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::table::{Align, PART, Table};
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
    /// The snapshot in whose place a repair wrote this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_for: Option<String>,
    /// The snapshot of another repository of which this one is a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_from: Option<String>,
    /// The snapshot of another program of which this one was made.
    #[serde(skip_serializing_if = "String::is_empty")]
    imported_from: String,
    program_version: String,
    incomplete: bool,
    /// Somebody added it, or what it is a copy of, with a key that only adds.
    write_only: bool,
    protected: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    /// When it was forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<String>,
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
    let Snapshot { time, host, user, sources, root, parent, program, incomplete, summary, .. } =
        &named.snapshot;
    Line {
        stands_for: named.snapshot.stands_for.map(|original| original.to_string()),
        copied_from: named.snapshot.copied_from.map(|(_, original)| original.to_string()),
        imported_from: named.snapshot.imported_from.clone(),
        id: named.name.to_string(),
        short_id: named.name.short(),
        time: time::iso(*time),
        hostname: json::text(host).into_owned(),
        username: json::text(user).into_owned(),
        paths: sources.iter().map(|source| json::text(source).into_owned()).collect(),
        tags: named.standing.tags.clone(),
        tree: root.to_string(),
        parent: parent.map(|parent| parent.to_string()),
        program_version: program.clone(),
        incomplete: *incomplete,
        write_only: named.snapshot.teller() != FULL,
        protected: named.standing.protected,
        description: named.standing.description.clone(),
        forgotten: named.standing.forgotten.map(time::iso),
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

fn table(context: &Context<'_>, wanted: &Snapshots, chosen: &[Named]) -> Result<(), Failure> {
    let mut columns = vec![("ID", Align::Left), ("Time", Align::Left)];
    if wanted.forgotten {
        columns.push(("Forgotten", Align::Left));
    }
    columns.extend([
        ("Host", Align::Cut),
        ("Tags", Align::Cut),
        ("Files", Align::Right),
        ("Size", Align::Right),
        ("Added", Align::Right),
        // Last, since they may be longer than a line.
        ("Paths", Align::Cut),
    ]);
    let mut table = Table::new(&columns);
    for named in chosen {
        let Named { snapshot, standing, .. } = named;
        let paths: Vec<String> = snapshot.sources.iter().map(|source| escape(source).into_owned()).collect();
        let is_added = snapshot.teller() != FULL;
        let marks = [(snapshot.incomplete, " !"), (standing.protected, " P"), (is_added, " W")];
        let marks: String = marks.iter().filter(|(is_marked, _)| *is_marked).map(|(_, mark)| *mark).collect();
        let mut row = vec![format!("{}{marks}", named.name.short()), time::show(snapshot.time)];
        if wanted.forgotten {
            row.push(standing.forgotten.map(time::show).unwrap_or_default());
        }
        row.extend([
            escape(&snapshot.host).into_owned(),
            escape(standing.tags.join(",").as_bytes()).into_owned(),
            snapshot.summary.files.to_string(),
            show_size(snapshot.summary.bytes),
            show_size(snapshot.summary.bytes_stored),
            paths.join(PART),
        ]);
        table.row(row);
    }
    context.out.write(table.show())?;
    if chosen.iter().any(|named| named.snapshot.incomplete) {
        context.out.write("! something could not be read when this snapshot was made\n")?;
    }
    if chosen.iter().any(|named| named.standing.protected) {
        context.out.write("P protected: never forgotten by a policy\n")?;
    }
    if chosen.iter().any(|named| named.snapshot.teller() != FULL) {
        context.out.write("W added with a write-only key\n")?;
    }
    context.out.write(format!("{}\n", show_count(chosen.len() as u64, "snapshot")))?;
    if wanted.forgotten && !chosen.is_empty() {
        context.say("to have one back: copal undelete SNAP");
    }
    Ok(())
}

/// Lists snapshots.
pub fn run(context: &Context<'_>, wanted: &Snapshots) -> Result<Code, Failure> {
    // Who only adds sees its own.
    let repository = context.open_to_add()?;
    let all = select::load(context, &repository)?;
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let mut chosen = match (wanted.snapshots.is_empty(), wanted.forgotten) {
        (true, false) => all.confirmed.clone(),
        (true, true) => all.forgotten.clone(),
        (false, false) => select::find_all(context, &all, &wanted.snapshots, host)?,
        (false, true) => {
            let found = wanted.snapshots.iter().map(|text| select::find_forgotten(&all, text));
            found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
        }
    };
    chosen.retain(|named| {
        let Named { snapshot, standing, .. } = named;
        host.is_none_or(|host| snapshot.host == host)
            && (wanted.tag.is_empty() || wanted.tag.iter().any(|tags| tags.are_in(&standing.tags)))
            && wanted.path.iter().all(|path| snapshot.sources.iter().any(|source| source == path.as_bytes()))
    });
    if context.global.json {
        for named in &chosen {
            context.out.json("snapshot", &line(named))?;
        }
    } else {
        table(context, wanted, &chosen)?;
    }
    if !all.unconfirmed.is_empty() {
        let count = all.unconfirmed.len() as u64;
        let (verb, whose, they) = match count {
            1 => ("was", "its", "it is"),
            _ => ("were", "their", "they are"),
        };
        context.warn(&format!(
            "{} {verb} never completed ({whose} backup was interrupted at the very end); {they} not listed",
            show_count(count, "snapshot")
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
