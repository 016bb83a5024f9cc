//! `copal check`: is everything there, and does it still read as it was written?

use serde::Serialize;

use crate::check::{self, Reading};
use crate::cli::arguments::{Check, Subset};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::repository::session;
use crate::terminal::size::{agree, show_count, show_size};

#[derive(Serialize)]
struct FindingLine<'a> {
    kind: &'a str,
    object: &'a str,
    what: &'a str,
}

#[derive(Serialize)]
struct Summary {
    snapshots: u64,
    trees: u64,
    files: u64,
    packs: u64,
    packs_read: u64,
    bytes_read: u64,
    leftover_packs: u64,
    packs_without_parity: u64,
    /// Damaged or missing, and nothing is needed of them any more.
    unneeded_packs: u64,
    /// Files and folders of which a repair marked something as lost.
    marked_as_lost: u64,
    num_errors: u64,
}

/// Checks the repository.
pub fn run(context: &Context<'_>, wanted: &Check) -> Result<Code, Failure> {
    let reading = match (wanted.read_data, &wanted.read_data_subset, wanted.budget) {
        (true, ..) => Reading::Everything,
        (_, Some(Subset::Part { number, of }), _) => Reading::Part(u64::from(*number), u64::from(*of)),
        (_, Some(Subset::Percent(percent)), _) => Reading::Share(percent / 100.0),
        (_, Some(Subset::Size(size)), _) => Reading::Bytes(*size),
        (_, _, Some(budget)) => Reading::Time(budget),
        _ => Reading::Nothing,
    };
    let stop = signals::stop();
    let (repository, synced) = context.open_synced()?;
    let show = Show::new(context)?;
    let report = session::reading(&repository, &context.clock, &context.host(), || {
        check::check(&repository, &synced, reading, &context.clock, &show, stop)
    });
    show.finish();
    let report = report.map_err(|error| failure(&error))?;
    if context.global.json {
        for finding in &report.findings {
            let line = FindingLine { kind: finding.kind, object: &finding.object, what: &finding.what };
            context.out.json("finding", &line)?;
        }
        let summary = Summary {
            snapshots: report.snapshots,
            trees: report.trees,
            files: report.files,
            packs: report.packs,
            packs_read: report.packs_read,
            bytes_read: report.bytes_read,
            leftover_packs: report.leftover_packs,
            packs_without_parity: report.packs_without_parity,
            unneeded_packs: report.unneeded_packs,
            marked_as_lost: report.marked,
            num_errors: report.findings.len() as u64,
        };
        context.out.json("summary", &summary)?;
    } else {
        for finding in &report.findings {
            context.out.write(format!("{:<9} {}: {}\n", finding.kind, finding.object, finding.what))?;
        }
        let read = match reading {
            Reading::Nothing => "; contents not read (--read-data reads them)".to_owned(),
            _ if report.packs_read == 0 && report.packs > 0 => "; no pack fell to this part".to_owned(),
            _ => {
                format!("; {} read, {}", show_count(report.packs_read, "pack"), show_size(report.bytes_read))
            }
        };
        context.out.write(format!(
            "{}, {}{read}\n",
            show_count(report.snapshots, "snapshot"),
            show_count(report.packs, "pack")
        ))?;
        if report.leftover_packs > 0 {
            context.out.write(format!(
                "{} {} left over from interrupted backups: harmless\n",
                show_count(report.leftover_packs, "pack"),
                agree(report.leftover_packs, "is", "are")
            ))?;
        }
        if report.unnamed_packs > 0 {
            context.out.write(format!(
                "{} {} named by no index object; the next backup names {} again\n",
                show_count(report.unnamed_packs, "pack"),
                agree(report.unnamed_packs, "is", "are"),
                agree(report.unnamed_packs, "it", "them")
            ))?;
        }
        if report.packs_without_parity > 0 {
            context.out.write(format!(
                "{} {} no recovery data yet: copal parity add\n",
                show_count(report.packs_without_parity, "pack"),
                agree(report.packs_without_parity, "has", "have")
            ))?;
        }
        if report.unneeded_packs > 0 {
            context.out.write(format!(
                "{} {} damaged or missing, and nothing is needed of {} any more: prune clears that away\n",
                show_count(report.unneeded_packs, "pack"),
                agree(report.unneeded_packs, "is", "are"),
                agree(report.unneeded_packs, "it", "them")
            ))?;
        }
        if report.marked > 0 {
            context.out.write(format!(
                "of {} something is marked as lost by an earlier repair\n",
                show_count(report.marked, "entry")
            ))?;
        }
        if report.unconfirmed > 0 {
            context.out.write(format!(
                "{} {} never completed: harmless\n",
                show_count(report.unconfirmed, "snapshot"),
                agree(report.unconfirmed, "was", "were")
            ))?;
        }
    }
    if report.findings.is_empty() {
        if !context.global.json {
            context.out.write("no errors were found\n")?;
        }
        return Ok(Code::Done);
    }
    if report.findings.iter().all(|finding| finding.is_of_later_version) {
        let count = show_count(report.findings.len() as u64, "thing");
        return Err(Failure::new(
            Code::Incomplete,
            format!("no damage, but {count} of a later version of copal, which this one can not check"),
        )
        .with_hint("Check with a newer copal. What is not of that version can be restored as ever."));
    }
    // Recovery data is not what was saved: without it everything can be restored.
    let of_parity = |finding: &&check::Finding| finding.kind == "parity";
    let parity = report.findings.iter().filter(of_parity).count() as u64;
    if report.findings.iter().all(|finding| finding.is_of_later_version || of_parity(&finding)) {
        return Err(Failure::new(
            Code::Incomplete,
            format!(
                "no damage to what was saved, but to the recovery data of {}",
                show_count(parity, "pack")
            ),
        )
        .with_hint("The disk may be failing. Make it anew: copal parity repair --read-data"));
    }
    let errors = report.findings.len() as u64;
    let all_of = |kind: &str| report.findings.iter().all(|finding| finding.kind == kind);
    let hint = match () {
        () if all_of("index") => "Packs say themselves what they hold. Name them again: copal repair index",
        () if all_of("removal") => "Nothing that was saved is hit. Mend it: copal repair records",
        () => {
            "Files still on this machine heal it: run the backup again; then see copal repair. What is not hit can be restored as ever."
        }
    };
    Err(Failure::new(
        Code::Damaged,
        format!("{} {} found", show_count(errors, "error"), agree(errors, "was", "were")),
    )
    .with_hint(hint))
}
