//! `copal repair snapshots`.

use serde::Serialize;

use super::{incomplete, some, with};
use crate::backend::Kind;
use crate::cli::arguments::RepairSnapshots;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::model::Id;
use crate::repair::{self, Hit, Lost, SnapshotsPlan, Wanted};
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{agree, show_count, show_size};
use crate::terminal::time;

#[derive(Serialize)]
struct HitLine {
    id: String,
    time: String,
    hostname: String,
    files_lost: u64,
    bytes_lost: u64,
    folders_lost: u64,
    folders_lost_in_part: u64,
    attributes_lost: u64,
    all_lost: bool,
    change_cache_lost: bool,
    confirmation_lost: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stood_for_by: Option<String>,
    forgotten: bool,
}

#[derive(Serialize)]
struct Line {
    snapshots: u64,
    hit: Vec<HitLine>,
    put_back: Vec<String>,
    snapshots_removed: Vec<String>,
    notes_removed: Vec<String>,
    left_alone: Vec<String>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Written {
    id: String,
    stands_for: String,
}

#[derive(Serialize)]
struct Summary {
    changed: bool,
    snapshots_hit: u64,
    snapshots_written: u64,
    snapshots_forgotten: u64,
    dry_run: bool,
}

fn object(kind: Kind, name: &Id) -> String {
    format!("{}/{name}", kind.folder())
}

/// What is lost, in words.
fn words(hit: &Hit) -> String {
    let Lost { files, bytes, folders, partly, attributes, previous } = hit.lost;
    let mut parts = Vec::new();
    if hit.is_all_lost {
        parts.push("everything is lost".to_owned());
    } else {
        if files > 0 {
            parts.push(format!(
                "{} of {} {} lost",
                show_size(bytes),
                show_count(files, "file"),
                agree(bytes, "is", "are")
            ));
        }
        if folders > 0 {
            parts.push(format!("{} {} lost", show_count(folders, "folder"), agree(folders, "is", "are")));
        }
        if partly > 0 {
            parts.push(format!(
                "{} {} some entries",
                show_count(partly, "folder"),
                agree(partly, "loses", "lose")
            ));
        }
        if attributes > 0 {
            parts.push(format!(
                "{} {} lost",
                show_count(attributes, "attribute"),
                agree(attributes, "is", "are")
            ));
        }
        if previous > 0 {
            parts.push(format!(
                "of {} that could not be read, what was known before is lost",
                show_count(previous, "entry")
            ));
        }
    }
    if hit.is_state_lost {
        parts.push(
            "the change cache that it carries is lost, and nothing of what was saved by that".to_owned(),
        );
    }
    if hit.is_unconfirmed {
        parts.push("its confirmation can not be read".to_owned());
    }
    if parts.is_empty() {
        parts.push("something is lost".to_owned());
    }
    parts.join(", ")
}

fn text(plan: &SnapshotsPlan, dry_run: bool) -> String {
    let would = if dry_run { "would " } else { "" };
    let mut text = String::new();
    for hit in &plan.hit {
        let named = &hit.named;
        let what = match &hit.by {
            Some(by) => format!("something is lost, and snapshot {} stands for it", by.short()),
            None => format!("{}; {would}write another that stands for it", words(hit)),
        };
        let host = escape(&named.snapshot.host);
        let goes = if hit.goes { format!("; {would}forget it") } else { String::new() };
        text += &format!(
            "snapshot {} of {}, {host}: {what}{goes}\n",
            named.name.short(),
            time::show(named.snapshot.time)
        );
    }
    let objects = &plan.objects;
    for (kind, name) in &objects.put_back {
        text += &format!("{would}put back {} from this machine's cache\n", object(*kind, name));
    }
    for (name, confirmed) in &objects.gone {
        let when = confirmed.map_or_else(String::new, |time| format!(", saved at {},", time::show(time)));
        text += &format!(
            "lost: snapshot {}{when} can not be read; {would}remove what is left of it\n",
            name.short()
        );
    }
    for name in &objects.notes {
        text += &format!(
            "lost: note {name}, which may have protected, forgotten, brought back, tagged or described a snapshot; {would}remove it\n"
        );
    }
    if !objects.notes.is_empty() {
        let counts = if dry_run { "would count" } else { "counts" };
        text += &format!("what is forgotten {counts} as forgotten today\n");
    }
    for (kind, name) in &objects.later {
        text += &format!("{} is of a later version of copal, and left alone\n", object(*kind, name));
    }
    text
}

fn line(plan: &SnapshotsPlan, dry_run: bool) -> Line {
    let hit = |hit: &Hit| HitLine {
        id: hit.named.name.to_string(),
        time: time::iso(hit.named.snapshot.time),
        hostname: json::text(&hit.named.snapshot.host).into_owned(),
        files_lost: hit.lost.files,
        bytes_lost: hit.lost.bytes,
        folders_lost: hit.lost.folders,
        folders_lost_in_part: hit.lost.partly,
        attributes_lost: hit.lost.attributes,
        all_lost: hit.is_all_lost,
        change_cache_lost: hit.is_state_lost,
        confirmation_lost: hit.is_unconfirmed,
        stood_for_by: hit.by.map(|by| by.to_string()),
        forgotten: hit.goes,
    };
    let objects = &plan.objects;
    Line {
        snapshots: plan.snapshots,
        hit: plan.hit.iter().map(hit).collect(),
        put_back: objects.put_back.iter().map(|(kind, name)| object(*kind, name)).collect(),
        snapshots_removed: objects.gone.iter().map(|(name, _)| name.to_string()).collect(),
        notes_removed: objects.notes.iter().map(ToString::to_string).collect(),
        left_alone: objects.later.iter().map(|(kind, name)| object(*kind, name)).collect(),
        dry_run,
    }
}

/// Repairs snapshots.
pub(super) fn run(context: &Context<'_>, wanted: &RepairSnapshots) -> Result<Code, Failure> {
    let repository = context.open()?;
    let dry_run = wanted.how.dry_run;
    let mut only = Vec::new();
    if !wanted.snapshots.is_empty() {
        let all = select::load(context, &repository)?;
        only = select::find_all(context, &all, &wanted.snapshots, None)?;
    }
    let asked = Wanted { only: only.iter().map(|named| named.name).collect(), forget: wanted.forget };
    let outcome = with(context, &repository, &wanted.how, |tools, asking| {
        repair::snapshots(tools, &asked, &mut |plan| {
            asking.agree(&text(plan, dry_run), &line(plan, dry_run), plan.is_empty(), plan.takes_away())
        })
    })?;
    let plan = &outcome.plan;
    if context.global.json {
        for (original, name) in &outcome.written {
            let written = Written { id: name.to_string(), stands_for: original.to_string() };
            context.out.json("written", &written)?;
        }
        let summary = Summary {
            changed: outcome.done,
            snapshots_hit: plan.hit.len() as u64,
            snapshots_written: outcome.written.len() as u64,
            snapshots_forgotten: outcome.forgotten.len() as u64,
            dry_run,
        };
        context.out.json("summary", &summary)?;
    } else if !context.global.quiet {
        for (original, name) in &outcome.written {
            context.out.write(format!("snapshot {} stands for {}\n", name.short(), original.short()))?;
        }
        if !outcome.forgotten.is_empty() {
            let count = outcome.forgotten.len() as u64;
            context.out.write(format!("forgot {}\n", show_count(count, "snapshot")))?;
        } else if !wanted.forget && !outcome.written.is_empty() {
            context.say("the originals stay; to forget them: copal repair snapshots --forget");
        }
    }
    end(plan)
}

/// How it ends: nothing may be lost and the end be 0.
fn end(plan: &SnapshotsPlan) -> Result<Code, Failure> {
    if !plan.protected.is_empty() {
        let count = plan.protected.len() as u64;
        return Err(incomplete(
            format!(
                "{} {} protected, and {} not forgotten: {}",
                show_count(count, "original"),
                agree(count, "is", "are"),
                agree(count, "was", "were"),
                some(&plan.protected)
            ),
            "What stands for it is protected too. Take that of the original away: copal unprotect SNAP",
        ));
    }
    let later = plan.later.len() + plan.objects.later.len();
    if later > 0 {
        return Err(incomplete(
            format!(
                "{} of a later version of copal {} left alone",
                show_count(later as u64, "snapshot or note"),
                agree(later as u64, "was", "were")
            ),
            "Repair it with a newer copal.",
        ));
    }
    let hit =
        plan.hit.iter().filter(|hit| hit.by.is_none() && (!hit.lost.is_empty() || hit.is_all_lost)).count();
    let gone = plan.objects.gone.len() + plan.objects.notes.len();
    match (hit, gone) {
        (0, 0) => Ok(Code::Done),
        _ => Err(incomplete(
            format!(
                "something is lost: of {}, and {} that can not be read",
                show_count(hit as u64, "snapshot"),
                show_count(gone as u64, "snapshot or note")
            ),
            "Files that are still on their machines heal it: run the backup again.",
        )),
    }
}
