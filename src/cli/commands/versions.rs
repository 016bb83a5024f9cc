//! `copal versions`: every version of a path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::catalogue::{self, History, Timelines, Version};
use crate::cli::arguments::Versions;
use crate::cli::catalogue::filled;
use crate::cli::context::{Context, absolute, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{paths, select, signals};
use crate::index::catalogue::{Catalogue, PathNumber};
use crate::model::{NodeType, joined};
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, Repository};
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::shell;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::table::{Align, Table};
use crate::terminal::time;

#[derive(Serialize)]
struct Line<'a> {
    path: std::borrow::Cow<'a, str>,
    /// The path's bytes, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    hostname: std::borrow::Cow<'a, str>,
    /// 1 is the newest.
    version: usize,
    r#type: &'a str,
    size: u64,
    mtime: String,
    first_snapshot: String,
    first_time: String,
    last_snapshot: String,
    last_time: String,
    /// Snapshots that hold it.
    snapshots: u64,
    /// The first snapshot after it that does not hold the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed_from: Option<String>,
}

/// Shows the versions of a path.
pub fn run(context: &Context<'_>, wanted: &Versions) -> Result<Code, Failure> {
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let found = Found::new(context, &repository, &all, wanted.path.as_bytes(), host, wanted.all)?;
    for line in &found.doubts {
        context.warn(line);
    }
    match context.global.json {
        true => print_json(context, &found)?,
        false => print(context, &found)?,
    }
    Ok(Code::Done)
}

/// A path and its versions on one host.
pub struct Found<'s> {
    /// As it is stored, from the root.
    pub path: Vec<u8>,
    pub host: Vec<u8>,
    /// Newest first.
    pub versions: Vec<Version<'s>>,
    /// What may be missing, in words.
    pub doubts: Vec<String>,
    /// Snapshots of that host that could not be read where the path may be.
    damaged: Vec<&'s Named>,
}

impl<'s> Found<'s> {
    /// Finds the path that a person means, and its versions; `all_changes`: not only those of contents.
    pub fn new(
        context: &Context<'_>,
        repository: &Repository,
        all: &'s Snapshots,
        path: &[u8],
        host: Option<&[u8]>,
        all_changes: bool,
    ) -> Result<Found<'s>, Failure> {
        let snapshots = &all.confirmed;
        let failed = |error: Error| failure(&error);
        let (path, histories, unknown, mut damaged) = match filled(context, repository, snapshots, false)? {
            Some(catalogue) => {
                let timelines = Timelines::new(snapshots, Some(&catalogue)).map_err(failed)?;
                let number = resolve(&catalogue, path)?;
                let text = catalogue.names().path(number).map_err(|error| failed(error.into()))?;
                let histories =
                    catalogue::history(&catalogue, &timelines, number, all_changes).map_err(failed)?;
                (text, histories, timelines.unknown(), timelines.partial().collect())
            }
            None => {
                let timelines = Timelines::new(snapshots, None).map_err(failed)?;
                let names = walk_to(repository, snapshots, path)?;
                let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
                let mut damaged = Vec::new();
                let walked = catalogue::history_by_walking(
                    repository,
                    &timelines,
                    &slices,
                    all_changes,
                    signals::stop(),
                    &mut damaged,
                );
                (joined(&names), walked.map_err(failed)?, 0, damaged)
            }
        };
        let History { host, versions } = choose(context, histories, &path, host)?;
        let mut doubts = Vec::new();
        if unknown > 0 {
            doubts.push(format!("{unknown} of the oldest snapshots are not in the catalogue, which is full; see them with --no-catalogue"));
        }
        damaged.retain(|named| named.snapshot.host == host);
        if !damaged.is_empty() {
            let count = show_count(damaged.len() as u64, "snapshot");
            doubts.push(format!(
                "{count} could not be read wholly: versions may be missing. What the catalogue did not learn then, --no-catalogue looks for again"
            ));
        }
        Ok(Found { path, host, versions, doubts, damaged })
    }

    /// Whether a snapshot that could not be read may hold something newer than that version.
    pub fn may_hide_newer(&self, version: &Version<'_>) -> bool {
        let last = version.last;
        self.damaged.iter().any(|named| named.name != last.name && named.snapshot.time >= last.snapshot.time)
    }
}

fn nowhere(path: &[u8]) -> Failure {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    Failure::new(Code::Failed, format!("no snapshot holds {}", escape(path)))
        .with_hint(format!("Look for it: copal find {}", shell::word(name)))
}

/// What a path may stand for: as given, from here, and with symlinks on the way followed.
fn readings(path: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut readings = Vec::new();
    let mut add = |path: &[u8]| {
        if let Some(names) = paths::names(path).filter(|names| !names.is_empty() && !readings.contains(names))
        {
            readings.push(names);
        }
    };
    add(path);
    if let Ok(absolute) = absolute(OsStr::from_bytes(path)) {
        add(&absolute);
        let whole = Path::new(OsStr::from_bytes(&absolute));
        if let (Some(folder), Some(name)) = (whole.parent(), whole.file_name())
            && let Ok(folder) = folder.canonicalize()
        {
            add(folder.join(name).as_os_str().as_bytes());
        }
    }
    readings
}

/// The stored path that a person means.
fn resolve(catalogue: &Catalogue, path: &[u8]) -> Result<PathNumber, Failure> {
    let failed = |error| failure(&Error::Index(error));
    for names in readings(path) {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        if let Some(number) = catalogue.number(&names).map_err(failed)? {
            return Ok(number);
        }
    }
    let Some(names) = paths::names(path).filter(|_| !path.starts_with(b"/")) else {
        return Err(nowhere(path));
    };
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    match &catalogue::ending(catalogue, &names).map_err(|error| failure(&error))?[..] {
        [] => Err(nowhere(path)),
        [one] => Ok(*one),
        several => {
            let mut names = catalogue.names();
            let mut shown = Vec::new();
            for number in several.iter().take(5) {
                shown.push(escape(&names.path(*number).map_err(failed)?).into_owned());
            }
            Err(Failure::usage(format!("{} stored paths end so; give the whole path", several.len()))
                .with_hint(format!("Some of them:\n  {}", shown.join("\n  "))))
        }
    }
}

/// The same by looking into the snapshots, newest first.
fn walk_to(repository: &Repository, snapshots: &[Named], path: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let readings = readings(path);
    for named in snapshots.iter().rev() {
        for names in &readings {
            let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            match repository.find_node(named.snapshot.root, &slices) {
                Ok(Some(_)) => return Ok(names.clone()),
                Ok(None) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(failure(&error)),
            }
        }
    }
    // The end of a path: each snapshot is looked through.
    for named in snapshots.iter().rev() {
        match paths::find(repository, named, path) {
            Err(failure) if failure.code == Code::Failed => {}
            other => return other,
        }
    }
    Err(nowhere(path))
}

/// The history on the host that is meant.
fn choose<'s>(
    context: &Context<'_>,
    mut histories: Vec<History<'s>>,
    path: &[u8],
    host: Option<&[u8]>,
) -> Result<History<'s>, Failure> {
    let own = context.host();
    let wanted = host.unwrap_or(&own);
    if let Some(place) = histories.iter().position(|history| history.host == wanted) {
        return Ok(histories.swap_remove(place));
    }
    let names: Vec<String> = histories.iter().map(|history| escape(&history.host).into_owned()).collect();
    match (host, histories.len()) {
        (_, 0) => Err(nowhere(path)),
        (None, 1) => {
            context.say(&format!("no snapshot of this host holds it; these are of {}", names.join(", ")));
            Ok(histories.swap_remove(0))
        }
        _ => Err(Failure::new(
            Code::Failed,
            format!("no snapshot of host {} holds {}", escape(wanted), escape(path)),
        )
        .with_hint(format!("Snapshots of these hosts do: {}. Choose with --host NAME.", names.join(", ")))),
    }
}

fn print_json(context: &Context<'_>, found: &Found<'_>) -> Result<(), Failure> {
    for (place, version) in found.versions.iter().enumerate() {
        let line = Line {
            path: json::text(&found.path),
            path_hex: json::hex(&found.path),
            hostname: json::text(&found.host),
            version: place + 1,
            r#type: version.facts.kind.name(),
            size: version.facts.size,
            mtime: time::iso(version.facts.mtime),
            first_snapshot: version.first.name.to_string(),
            first_time: time::iso(version.first.snapshot.time),
            last_snapshot: version.last.name.to_string(),
            last_time: time::iso(version.last.snapshot.time),
            snapshots: version.snapshots,
            deleted_by: version.gone.map(|named| named.name.to_string()),
            deleted_time: version.gone.map(|named| time::iso(named.snapshot.time)),
            renamed_from: version.origin.as_ref().map(|origin| json::text(origin).into_owned()),
        };
        context.out.json("version", &line)?;
    }
    Ok(())
}

fn print(context: &Context<'_>, found: &Found<'_>) -> Result<(), Failure> {
    context.out.write(format!("{} on {}\n\n", escape(&found.path), escape(&found.host)))?;
    let mut table = Table::new(&[
        ("", Align::Left),
        ("Changed", Align::Left),
        ("Size", Align::Right),
        ("In snapshots from", Align::Left),
        ("to", Align::Left),
        ("Count", Align::Right),
        ("", Align::Cut),
    ]);
    for (place, version) in found.versions.iter().enumerate() {
        let facts = &version.facts;
        let size = match facts.kind {
            NodeType::File => show_size(facts.size),
            kind => kind.name().to_owned(),
        };
        table.row([
            format!("@{}", place + 1),
            time::show(facts.mtime),
            size,
            time::show(version.first.snapshot.time),
            time::show(version.last.snapshot.time),
            version.snapshots.to_string(),
            version.remarks(),
        ]);
    }
    context.out.write(table.show())?;
    if let Some(origin) = found.versions.last().and_then(|oldest| oldest.origin.as_ref()) {
        context.say(&format!("what it was before: copal versions {}", shell::word(origin)));
    }
    Ok(())
}
