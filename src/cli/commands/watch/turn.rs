//! One backup of a watch: the repository is opened for it and closed again, and what goes wrong is sorted by whether it may pass.

use std::time::{Duration, Instant};

use super::thin::TAG;
use crate::backup::exclude::Excludes;
use crate::backup::touched::Touched;
use crate::backup::{self, Options, Outcome};
use crate::cli::arguments::{Backup, Watch};
use crate::cli::commands::backup::options;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{self, Code, Failure};
use crate::cli::listener::Show;
use crate::cli::{catalogue, signals};
use crate::repository::{Error, Repository};

/// Why there was no backup.
pub enum Trouble {
    /// It may be possible later.
    Passing(String),
    /// It is not, or the watch is to end.
    Final(Failure),
}

/// What all backups of a watch have in common.
pub struct Turn<'w> {
    pub wanted: &'w Watch,
    pub backup: Backup,
    sources: Vec<Vec<u8>>,
    /// As they were at the start: what is watched goes by them.
    excludes: Excludes,
}

impl<'w> Turn<'w> {
    pub fn new(wanted: &'w Watch, sources: Vec<Vec<u8>>, excludes: Excludes) -> Turn<'w> {
        let mut backup = wanted.backup.clone();
        backup.skip_if_unchanged = true;
        if !backup.tag.iter().any(|tag| tag == TAG) {
            backup.tag.push(TAG.to_owned());
        }
        Turn { wanted, backup, sources, excludes }
    }

    /// Backs up what was touched. The repository is given back to be used once more, and closed when it is dropped.
    pub fn back_up(
        &self,
        context: &Context<'_>,
        touched: &Touched,
    ) -> Result<(Repository, Outcome, Duration), Trouble> {
        if self.sources.iter().all(|source| backup::source_problem(source).is_some()) {
            return Err(Trouble::Passing("none of the sources is there".to_owned()));
        }
        let began = Instant::now();
        let opened = context.open_to_add_synced().map_err(|failure| sort(context, failure))?;
        let mut repository = opened.0;
        let own = super::own(context);
        let options =
            options(context, &self.backup, &repository, self.sources.clone(), own, self.excludes.clone());
        let options = options.map_err(Trouble::Final)?;
        let show = Show::without_bar(context).map_err(Trouble::Final)?;
        let tell_files = context.global.verbose > 0;
        let options = Options { tell_files, touched: Some(touched.clone()), ..options };
        let back_up = |repository: &Repository| {
            backup::backup(repository, &options, &context.clock, &show, signals::stop())
        };
        let mut outcome = back_up(&repository);
        if let Err(Error::Index(error)) = &outcome {
            // What was stored so far is found again.
            let without = context.without_cache(repository, error);
            repository = without.map_err(|failure| sort(context, failure))?.0;
            outcome = back_up(&repository);
        }
        show.finish();
        let outcome = outcome.map_err(|error| match error {
            Error::Overtaken => Trouble::Passing(error.to_string()),
            error => sort(context, failure(&error)),
        })?;
        let took = began.elapsed();
        if let Some(name) = &outcome.name {
            catalogue::keep_up(context, &repository, name, &outcome.snapshot);
        }
        Ok((repository, outcome, took))
    }
}

/// Whether a failure may pass. What storage that is away says is not believed to be damage.
fn sort(context: &Context<'_>, failure: Failure) -> Trouble {
    if signals::code().is_some() || exit::panic_place().is_some() {
        return Trouble::Final(failure);
    }
    match failure.code {
        Code::NoRepository | Code::Busy => Trouble::Passing(failure.message),
        Code::Failed => {
            if failure.of_cache {
                context.put_cache_aside(&failure.message);
            }
            Trouble::Passing(failure.message)
        }
        Code::Damaged => match context.backend().map(|backend| backend.exists_repository()) {
            Ok(Ok(true)) => Trouble::Final(failure),
            _ => Trouble::Passing(failure.message),
        },
        _ => Trouble::Final(failure),
    }
}
