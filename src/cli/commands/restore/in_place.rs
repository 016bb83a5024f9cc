//! Restoring to where it was: what is there and differs is overwritten only when somebody says so.

use super::{Work, overwrite};
use crate::cli::arguments::Restore;
use crate::cli::ask::ask;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::repository::Repository;
use crate::restore::{Options, Overwrite, conflicts};

/// What happens to what is there: as the options say, else as a person at the terminal says, before anything is written.
///
/// Errors: a refusal, when something differs and nobody says what to do with it.
pub fn settle(
    context: &Context<'_>,
    repository: &Repository,
    wanted: &Restore,
    jobs: &[Work],
    options: &dyn Fn(&Work) -> Options,
) -> Result<Overwrite, Failure> {
    if wanted.overwrite.is_some() {
        return Ok(overwrite(wanted.overwrite));
    }
    if wanted.dry_run {
        return Ok(Overwrite::IfChanged);
    }
    let mut found = Vec::new();
    for work in jobs {
        let show = Show::new(context)?;
        let met = conflicts(repository, &work.named, &options(work), &show, signals::stop());
        show.finish();
        found.extend(met.map_err(|error| failure(&error))?);
    }
    if found.is_empty() {
        return Ok(Overwrite::IfChanged);
    }
    let found = found.join("\n");
    let question =
        "Put the snapshot's in its place? What is there stays beside it, under a name with its time.";
    match ask(context, &format!("{found}\n{question}")) {
        Some(true) => Ok(Overwrite::IfChanged),
        Some(false) => Err(Failure::new(Code::Refused, "nothing was done")),
        None => Err(Failure::new(Code::Refused, format!("{}; nothing was written", found.replace('\n', "; "))).with_hint(
            "Say what to do with what is there: --overwrite if-changed (it is kept beside, under a name with its time).\n\
             Or restore elsewhere: --target FOLDER.",
        )),
    }
}
