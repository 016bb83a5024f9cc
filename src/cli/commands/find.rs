//! `copal find`: paths by name, over all snapshots.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::catalogue::{self, Match, Timelines, Wanted};
use crate::cli::arguments::Find;
use crate::cli::catalogue::filled;
use crate::cli::context::{Context, absolute, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{select, signals};
use crate::index::catalogue::Catalogue;
use crate::model::NodeType;
use crate::model::clock::Clock;
use crate::patterns::{Finder, has_capitals};
use crate::repository::Error;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::time;

#[derive(Serialize)]
struct Line<'a> {
    path: std::borrow::Cow<'a, str>,
    /// The path's bytes, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    hostname: std::borrow::Cow<'a, str>,
    r#type: &'a str,
    size: u64,
    mtime: String,
    first_snapshot: String,
    first_time: String,
    last_snapshot: String,
    last_time: String,
    /// Contents that it had.
    versions: u64,
    deleted: bool,
}

/// Finds paths.
pub fn run(context: &Context<'_>, find: &Find) -> Result<Code, Failure> {
    let mut finders = Vec::new();
    for pattern in &find.patterns {
        let pattern = pattern.as_bytes();
        let any_case = find.ignore_case || !find.case_sensitive && !has_capitals(pattern);
        finders.push(Finder::new(pattern, any_case).map_err(|error| Failure::usage(error.to_string()))?);
    }
    let moment = |text: &Option<String>| {
        let parse = |text: &String| time::parse(text, context.clock.now()).map(|moment| moment.start);
        text.as_ref().map(parse).transpose().map_err(|error| Failure::usage(error.to_string()))
    };
    let wanted = Wanted {
        host: find.host.as_ref().map(|host| host.as_bytes().to_vec()),
        below: find.path.as_ref().map(|path| absolute(path)).transpose()?.filter(|path| path != b"/"),
        kind: find.kind.map(|kind| kind.node_type()),
        larger: find.larger,
        smaller: find.smaller,
        newer: moment(&find.newer)?,
        older: moment(&find.older)?,
        deleted: find.deleted,
    };
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    if let Some(host) = &wanted.host
        && !all.confirmed.iter().any(|named| named.snapshot.host == *host)
    {
        return Err(Failure::new(Code::Failed, format!("no snapshot of host {}", escape(host))));
    }
    let Some(catalogue) = filled(context, &repository, &all.confirmed, true)? else {
        return Err(Failure::new(Code::Failed, "no catalogue of paths"));
    };
    print(context, &all.confirmed, &catalogue, &finders, &wanted)
}

fn print(
    context: &Context<'_>,
    snapshots: &[Named],
    catalogue: &Catalogue,
    finders: &[Finder],
    wanted: &Wanted,
) -> Result<Code, Failure> {
    let timelines = Timelines::new(snapshots, Some(catalogue)).map_err(|error| failure(&error))?;
    let several_hosts = timelines.hosts.len() > 1;
    let mut count = 0u64;
    let mut broken = None;
    let mut each = |found: Match<'_>| -> Result<(), Error> {
        count += 1;
        let shown = match context.global.json {
            true => show_json(context, &found),
            false => show(context, &found, several_hosts),
        };
        shown.map_err(|failure| {
            broken = Some(failure);
            Error::Stopped
        })
    };
    let outcome = catalogue::find(catalogue, &timelines, finders, wanted, signals::stop(), &mut each);
    if let Some(failure) = broken {
        return Err(failure);
    }
    outcome.map_err(|error| failure(&error))?;
    if timelines.unknown() > 0 {
        context.warn(&format!(
            "{} of the oldest snapshots are not in the catalogue, which is full",
            timelines.unknown()
        ));
    }
    let partial = timelines.partial().count() as u64;
    if partial > 0 {
        context.warn(&format!(
            "{} could not be read wholly: paths may be missing. What the catalogue did not learn then, --no-catalogue looks for again",
            show_count(partial, "snapshot")
        ));
    }
    if count == 0 {
        context.say("nothing found");
    }
    Ok(Code::Done)
}

fn show(context: &Context<'_>, found: &Match<'_>, several_hosts: bool) -> Result<(), Failure> {
    let size = match found.facts.kind {
        NodeType::File => show_size(found.facts.size),
        kind => kind.name().to_owned(),
    };
    let mut line = format!(
        "{}  {}  {size:>10}  {}",
        time::show(found.first.snapshot.time),
        time::show(found.last.snapshot.time),
        escape(&found.path)
    );
    if several_hosts {
        line.push_str(&format!("  on {}", escape(&found.host)));
    }
    if found.is_deleted {
        line.push_str("  (deleted)");
    }
    line.push('\n');
    Ok(context.out.write(line)?)
}

fn show_json(context: &Context<'_>, found: &Match<'_>) -> Result<(), Failure> {
    let line = Line {
        path: json::text(&found.path),
        path_hex: json::hex(&found.path),
        hostname: json::text(&found.host),
        r#type: found.facts.kind.name(),
        size: found.facts.size,
        mtime: time::iso(found.facts.mtime),
        first_snapshot: found.first.name.to_string(),
        first_time: time::iso(found.first.snapshot.time),
        last_snapshot: found.last.name.to_string(),
        last_time: time::iso(found.last.snapshot.time),
        versions: found.versions,
        deleted: found.is_deleted,
    };
    Ok(context.out.json("match", &line)?)
}
