//! `copal import`: snapshots of other programs.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::arguments::{Choice, Import, ImportBorg, ImportCommand, ImportHow, ImportRestic};
use crate::cli::context::{Context, absolute, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::import::borg::Borg;
use crate::import::restic::Restic;
use crate::import::{self, Imported, Listed, Origin, Outcome, Program};
use crate::terminal::escape::escape;
use crate::terminal::size::{show_count, show_size};
use crate::terminal::{json, time};

/// Fewest digits that count as an id's beginning.
const ID_LEAST: usize = 4;

#[derive(Serialize)]
struct ImportedLine<'a> {
    /// In the other program's repository.
    from_snapshot_id: &'a str,
    from_name: &'a str,
    /// None in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    time: String,
    hostname: String,
    paths: Vec<String>,
    tags: &'a [String],
    total_files: u64,
    total_bytes: u64,
    /// Plain bytes that were not there.
    bytes_new: u64,
    bytes_stored: u64,
    incomplete: bool,
}

#[derive(Serialize)]
struct ProblemLine<'a> {
    from_snapshot_id: &'a str,
    from_name: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Summary {
    imported: u64,
    present: u64,
    failed: u64,
    incomplete: u64,
    bytes_new: u64,
    bytes_stored: u64,
    total_duration: f64,
    dry_run: bool,
}

/// Imports.
pub fn run(context: &Context<'_>, wanted: &Import) -> Result<Code, Failure> {
    match &wanted.command {
        ImportCommand::Restic(wanted) => from_restic(context, wanted),
        ImportCommand::Borg(wanted) => from_borg(context, wanted),
    }
}

fn from_restic(context: &Context<'_>, wanted: &ImportRestic) -> Result<Code, Failure> {
    let origin =
        Restic(program(context, &wanted.how, "restic", &["RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE"])?);
    import(context, &origin, &wanted.snapshots, Some(&wanted.choice), &wanted.how)
}

fn from_borg(context: &Context<'_>, wanted: &ImportBorg) -> Result<Code, Failure> {
    let program = program(context, &wanted.how, "borg", &["BORG_REPO"])?;
    let below = wanted.below.as_bytes();
    if !below.starts_with(b"/") || below.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err(Failure::usage("--below needs an absolute path without .."));
    }
    let origin = Borg { program, below: below.to_vec() };
    import(context, &origin, &wanted.snapshots, None, &wanted.how)
}

fn program(
    context: &Context<'_>,
    how: &ImportHow,
    name: &str,
    variables: &[&str],
) -> Result<Program, Failure> {
    if how.from_repo.is_none() && variables.iter().all(|name| (context.environment)(name).is_none()) {
        return Err(Failure::usage(format!(
            "say where to import from: --from-repo REPOSITORY, or {}",
            variables[0]
        )));
    }
    Ok(Program {
        path: how.program.clone().unwrap_or_else(|| name.into()),
        options: how.program_option.clone(),
        repository: how.from_repo.clone(),
    })
}

fn import(
    context: &Context<'_>,
    origin: &dyn Origin,
    texts: &[String],
    choice: Option<&Choice>,
    how: &ImportHow,
) -> Result<Code, Failure> {
    let stop = signals::stop();
    let began = std::time::Instant::now();
    let (to, _) = context.open_to_read()?;
    let listed = origin.list(stop).map_err(|error| match error {
        import::Error::Target(error) => failure(&error),
        error => {
            let failure = Failure::new(Code::Failed, error.to_string());
            match failure.message.contains("pass") {
                true => failure.with_hint(origin.hint()),
                false => failure,
            }
        }
    })?;
    let is_empty = listed.is_empty();
    let chosen = chosen(listed, texts, choice, how)?;
    if chosen.is_empty() {
        let what = if is_empty { "has no snapshots there" } else { "has no snapshot like that" };
        return Err(Failure::new(Code::Failed, format!("{} {what}", origin.program())));
    }
    let options = context.writing(how.compression, how.dry_run);
    let show = Show::new(context)?;
    let mut written = Ok(());
    let mut told = |imported: &Imported| {
        if written.is_ok() {
            written = tell(context, imported);
        }
    };
    let outcome = import::import(
        &to,
        origin,
        &chosen,
        &options,
        &context.clock,
        &context.host(),
        &show,
        stop,
        &mut told,
    );
    show.finish();
    let outcome = outcome.map_err(|error| failure(&error))?;
    written?;
    summarise(context, &outcome, how.dry_run, began.elapsed().as_secs_f64())?;
    conclude(context, origin, &outcome)
}

/// Those that are meant: of all that fit the options, the named ones.
fn chosen(
    mut listed: Vec<Listed>,
    texts: &[String],
    choice: Option<&Choice>,
    how: &ImportHow,
) -> Result<Vec<Listed>, Failure> {
    let mut paths = Vec::new();
    for path in choice.iter().flat_map(|choice| &choice.path) {
        paths.push((path.as_bytes(), absolute(path)?));
    }
    listed.retain(|listed| {
        let sources = |path: &[u8]| listed.sources.iter().flatten().any(|source| source == path);
        let tags = choice.map_or(&[][..], |choice| &choice.tag);
        (how.host.is_empty() || how.host.iter().any(|host| host.as_bytes() == listed.host))
            && (tags.is_empty() || tags.iter().any(|tags| tags.are_in(&listed.tags)))
            && paths.iter().all(|(typed, whole)| sources(typed) || sources(whole))
    });
    if texts.is_empty() {
        return Ok(listed);
    }
    listed.sort_by_key(|listed| listed.time);
    let mut found: Vec<Listed> = Vec::new();
    for text in texts {
        let by_name = |listed: &&Listed| listed.name == *text;
        let by_id = |listed: &&Listed| text.len() >= ID_LEAST && listed.id.starts_with(text.as_str());
        let mut matching: Vec<&Listed> = listed.iter().filter(by_name).collect();
        if matching.is_empty() {
            matching = listed.iter().filter(by_id).collect();
        }
        if matching.is_empty() && text == "latest" {
            matching = listed.last().into_iter().collect();
        }
        match matching[..] {
            [one] if found.iter().any(|other| other.mark == one.mark) => {}
            [one] => found.push(one.clone()),
            [] => return Err(Failure::new(Code::Failed, format!("no snapshot {}", escape(text.as_bytes())))),
            _ => {
                let text = escape(text.as_bytes());
                return Err(Failure::usage(format!("{text} is the beginning of several snapshots")));
            }
        }
    }
    Ok(found)
}

fn tell(context: &Context<'_>, imported: &Imported) -> Result<(), Failure> {
    let Imported { of, snapshot, name } = imported;
    if context.global.json {
        let line = ImportedLine {
            from_snapshot_id: &of.id,
            from_name: &of.name,
            snapshot_id: name.map(|name| name.to_string()),
            time: time::iso(snapshot.time),
            hostname: json::text(&snapshot.host).into_owned(),
            paths: snapshot.sources.iter().map(|path| json::text(path).into_owned()).collect(),
            tags: &snapshot.tags,
            total_files: snapshot.summary.files,
            total_bytes: snapshot.summary.bytes,
            bytes_new: snapshot.summary.bytes_new,
            bytes_stored: snapshot.summary.bytes_stored,
            incomplete: snapshot.incomplete,
        };
        return Ok(context.out.json("imported", &line)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let sources: Vec<_> = snapshot.sources.iter().map(|path| escape(path)).collect();
    let what =
        [escape(of.name.as_bytes()), "of".into(), time::show(snapshot.time).into(), escape(&snapshot.host)];
    let what: Vec<_> = what.into_iter().chain(sources).filter(|word| !word.is_empty()).collect();
    let what = what.join(" ");
    let Some(name) = name else {
        context.out.write(format!("{what}: would be imported\n"))?;
        return Ok(());
    };
    let summary = &snapshot.summary;
    context.out.write(format!(
        "{what}: imported as {}, {}, {}, {} new\n",
        name.short(),
        show_count(summary.files, "file"),
        show_size(summary.bytes),
        show_size(summary.bytes_new),
    ))?;
    Ok(())
}

fn summarise(context: &Context<'_>, outcome: &Outcome, dry_run: bool, seconds: f64) -> Result<(), Failure> {
    let total = |of: fn(&Imported) -> u64| outcome.imported.iter().map(of).sum::<u64>();
    let summary = Summary {
        imported: outcome.imported.len() as u64,
        present: outcome.present.len() as u64,
        failed: outcome.failed.len() as u64,
        incomplete: total(|imported| u64::from(imported.snapshot.incomplete)),
        bytes_new: total(|imported| imported.snapshot.summary.bytes_new),
        bytes_stored: total(|imported| imported.snapshot.summary.bytes_stored),
        total_duration: seconds,
        dry_run,
    };
    if context.global.json {
        return Ok(context.out.json("summary", &summary)?);
    }
    if context.global.quiet {
        return Ok(());
    }
    let count = show_count(summary.imported, "snapshot");
    let mut text = match dry_run {
        true => format!("{count} would be imported"),
        false => format!("{count} imported, {} added", show_size(summary.bytes_stored)),
    };
    if summary.present > 0 {
        text.push_str(&format!("; {} there already", summary.present));
    }
    context.out.write(format!("{text}\n"))?;
    Ok(())
}

/// Names what was not imported, and says how the run ends.
fn conclude(context: &Context<'_>, origin: &dyn Origin, outcome: &Outcome) -> Result<Code, Failure> {
    for (of, error) in &outcome.failed {
        if context.global.json {
            let line = ProblemLine { from_snapshot_id: &of.id, from_name: &of.name, message: error };
            context.out.json("error", &line)?;
        } else {
            context.warn(&format!(
                "{} {} was not imported: {error}",
                origin.program(),
                escape(of.name.as_bytes())
            ));
        }
    }
    let is_some = !outcome.imported.is_empty() || !outcome.present.is_empty();
    Ok(match (outcome.failed.is_empty(), is_some) {
        (true, _) if outcome.imported.iter().all(|imported| !imported.snapshot.incomplete) => Code::Done,
        (false, false) => Code::Failed,
        _ => Code::Incomplete,
    })
}
