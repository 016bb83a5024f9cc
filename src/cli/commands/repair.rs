//! `copal repair`: says what is damaged and what is lost of it, asks where something goes, and repairs.

mod index;
mod packs;
mod records;
mod snapshots;

use serde::Serialize;

use crate::cli::arguments::{Repair, RepairCommand, RepairHow};
use crate::cli::ask::ask;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::cli::signals;
use crate::repair::{Options, Tools};
use crate::repository::{Error, Repository, store};

/// Repairs what was asked for.
pub fn run(context: &Context<'_>, wanted: &Repair) -> Result<Code, Failure> {
    match &wanted.command {
        RepairCommand::Records(wanted) => records::run(context, wanted),
        RepairCommand::Index(wanted) => index::run(context, wanted),
        RepairCommand::Packs(wanted) => packs::run(context, wanted),
        RepairCommand::Snapshots(wanted) => snapshots::run(context, wanted),
    }
}

/// Shows plans, and asks whether to go on.
struct Asking<'a, 'e> {
    context: &'a Context<'e>,
    how: &'a RepairHow,
    show: &'a Show<'a>,
    /// Why it did not go on.
    failure: Option<Failure>,
}

impl Asking<'_, '_> {
    /// Shows a plan, to a person or to a program. Whether to go on: a person is asked where something goes for good.
    fn agree(&mut self, text: &str, plan: &impl Serialize, is_empty: bool, takes_away: bool) -> bool {
        // What is lost of what, path by path, comes first.
        self.show.finish();
        let context = self.context;
        let shown = match (context.global.json, context.global.quiet) {
            (true, _) => context.out.json("plan", plan),
            (false, true) => Ok(()),
            (false, false) if is_empty => context.out.write(format!("{text}nothing to do\n")),
            (false, false) => context.out.write(text),
        };
        if let Err(error) = shown {
            self.failure = Some(error.into());
            return false;
        }
        if is_empty || self.how.dry_run || !takes_away || self.how.yes {
            return true;
        }
        self.failure = match ask(context, "What can not be read is removed. Go on?") {
            Some(true) => None,
            Some(false) => Some(Failure::new(Code::Refused, "nothing was done")),
            None => Some(
                Failure::new(Code::Refused, "what can not be read would be removed: nothing was done")
                    .with_hint("Look at it with --dry-run. If that is meant: --yes"),
            ),
        };
        self.failure.is_none()
    }
}

/// Does a repair with everything that it needs.
fn with<T>(
    context: &Context<'_>,
    repository: &Repository,
    how: &RepairHow,
    work: impl FnOnce(Tools<'_>, &mut Asking<'_, '_>) -> Result<T, Error>,
) -> Result<T, Failure> {
    let show = Show::new(context)?;
    let options = Options {
        dry_run: how.dry_run,
        memory: context.global.memory.unwrap_or(store::MEMORY),
        host: context.host(),
        ..Options::default()
    };
    let tools = Tools {
        repository,
        options: &options,
        clock: &context.clock,
        listener: &show,
        stop: signals::stop(),
    };
    let mut asking = Asking { context, how, show: &show, failure: None };
    let result = work(tools, &mut asking);
    match (asking.failure, result) {
        (Some(failure), _) => Err(failure),
        (None, result) => result.map_err(|error| {
            show.finish();
            explained(&error)
        }),
    }
}

/// What an error means here, and what to do first.
fn explained(error: &Error) -> Failure {
    let failure = failure(error);
    match error {
        Error::Damaged { object, .. } if object.starts_with("index/") => {
            failure.with_hint("Repair the index first: copal repair index")
        }
        Error::Damaged { object, .. } if object.starts_with("damage/") => {
            failure.with_hint("It may name damaged packs. First: copal repair packs --read-data")
        }
        _ => failure,
    }
}

/// How a repair ends after which something is missing all the same.
fn incomplete(message: String, hint: &str) -> Failure {
    Failure::new(Code::Incomplete, message).with_hint(hint)
}

/// The first of these names, and how many more there are.
fn some(names: &[crate::model::Id]) -> String {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}
