//! `copal protect` and `copal unprotect`: whether snapshots may be forgotten.

use std::os::unix::ffi::OsStrExt;

use super::tag::{Changed, Summary};
use crate::cli::arguments::{Protect, Unprotect};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::select;
use crate::format::note::Verb;
use crate::repository::Error;
use crate::terminal::size::show_count;

/// Protects snapshots.
pub fn protect(context: &Context<'_>, wanted: &Protect) -> Result<Code, Failure> {
    run(context, &wanted.snapshots, wanted.host.as_ref().map(|host| host.as_bytes()), true)
}

/// Takes the protection away.
pub fn unprotect(context: &Context<'_>, wanted: &Unprotect) -> Result<Code, Failure> {
    run(context, &wanted.snapshots, wanted.host.as_ref().map(|host| host.as_bytes()), false)
}

fn run(
    context: &Context<'_>,
    snapshots: &[String],
    host: Option<&[u8]>,
    protect: bool,
) -> Result<Code, Failure> {
    let repository = context.open()?;
    let mut all = select::load(context, &repository)?;
    let chosen = select::find_all(context, &all, snapshots, host)?;
    if let Some(named) = chosen.iter().find(|named| named.standing.forgotten.is_some()) {
        let short = named.name.short();
        return Err(Failure::new(Code::Failed, format!("snapshot {short} is forgotten"))
            .with_hint(format!("Have it back first: copal undelete {short}")));
    }
    let time = repository.storage_time().map_err(|error| failure(&error))?;
    let (mut done, mut same, mut failed) = (Vec::new(), 0, Vec::new());
    for named in &chosen {
        if named.standing.protected == protect {
            same += 1;
            continue;
        }
        let mut noted = Ok(named.name);
        // It was forgotten and protected at the same time: it must not vanish with its protection.
        if named.standing.held {
            noted = repository.put_note(&mut all.notes, &named.name, Verb::Undelete, &[], time);
        }
        let verb = if protect { Verb::Protect } else { Verb::Unprotect };
        let noted: Result<_, Error> =
            noted.and_then(|_| repository.put_note(&mut all.notes, &named.name, verb, &[], time));
        match noted {
            Ok(_) => done.push(named.name),
            Err(error) => failed.push((named.name, error)),
        }
    }
    if context.global.json {
        for name in &done {
            let changed = Changed { snapshot_id: name.to_string(), tags: None, protected: Some(protect) };
            context.out.json("changed", &changed)?;
        }
        context.out.json("summary", &Summary { changed_snapshots: done.len() as u64 })?;
    } else if !context.global.quiet {
        let verb = if protect { "protected" } else { "took the protection away from" };
        context.out.write(format!("{verb} {}\n", show_count(done.len() as u64, "snapshot")))?;
        if same > 0 {
            let what = if protect { "already protected" } else { "not protected" };
            context.say(&format!("{}: {what}", show_count(same, "snapshot")));
        }
    }
    select::noted(context, done.len(), &failed)
}
