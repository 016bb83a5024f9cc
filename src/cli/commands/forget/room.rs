//! How much room forgetting gives back, and how many have to go until what stays fits.

use serde::Serialize;

use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::signals;
use crate::prune::{self, Freed, Outlook};
use crate::repository::Repository;
use crate::retention::Plan;
use crate::retention::fit::{Limits, fit};
use crate::terminal::size::{show_count, show_size};

/// What prune gives back once the grace is over.
pub struct Room {
    /// Without forgetting anything more.
    before: Freed,
    after: Freed,
    stored: u64,
    limits: Limits,
    /// Bytes by which what stays does not fit.
    too_many: u64,
}

/// The same for programs.
#[derive(Serialize)]
pub struct Line {
    bytes_stored: u64,
    /// Exact, with what is unused already; named as in `prune`.
    bytes_freed_packs: u64,
    bytes_freed_blocks: u64,
    bytes_freed_at_most: u64,
    /// Of that, what is unused already.
    bytes_unused: u64,
    bytes_unused_at_most: u64,
    /// What packs take when it is given back.
    bytes_kept: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_too_many: Option<u64>,
}

fn looked<'r>(
    context: &Context<'_>,
    repository: &'r Repository,
    steps: &[Vec<crate::model::Id>],
) -> Result<Outlook<'r>, Failure> {
    prune::outlook(repository, steps, &context.clock, signals::stop()).map_err(|error| failure(&error))
}

/// What carrying out the plan frees.
pub fn look(context: &Context<'_>, repository: &Repository, plan: &Plan) -> Result<Room, Failure> {
    let outlook = looked(context, repository, &[plan.oldest_first()])?;
    let freed = |gone| outlook.freed(gone).map_err(|error| failure(&error));
    let (before, after) = (freed(0)?, freed(1)?);
    Ok(Room { before, after, stored: outlook.stored(), limits: Limits::default(), too_many: 0 })
}

/// Lets stay what need not go.
pub fn limit(
    context: &Context<'_>,
    repository: &Repository,
    plan: &mut Plan,
    limits: &Limits,
) -> Result<Room, Failure> {
    let space = match limits.free {
        Some(_) => repository.space().map_err(|error| failure(&error))?,
        None => None,
    };
    let names = plan.oldest_first();
    if limits.wanted(0, space).is_none() {
        let message =
            format!("{} does not tell how much room is free; nothing is forgotten", repository.location());
        return Err(Failure::new(Code::Refused, message)
            .with_hint("Say how large it may become instead: --keep-size SIZE"));
    }
    let steps: Vec<_> = names.iter().map(|name| vec![*name]).collect();
    let outlook = looked(context, repository, &steps)?;
    let stored = outlook.stored();
    let fit = fit(&outlook.freed_by_step(), limits.wanted(stored, space).unwrap_or_default());
    plan.keep_others(&names[..fit.gone]);
    let freed = |gone| outlook.freed(gone).map_err(|error| failure(&error));
    Ok(Room { before: freed(0)?, after: freed(fit.gone)?, stored, limits: *limits, too_many: fit.too_many })
}

/// Exact bytes and a bound, in words.
fn show(freed: &Freed) -> String {
    match freed.at_most {
        0 => show_size(freed.exact()),
        most => {
            format!(
                "{}, and at most {} more in blocks partly in use",
                show_size(freed.exact()),
                show_size(most)
            )
        }
    }
}

impl Room {
    /// For programs.
    pub fn line(&self) -> Line {
        Line {
            bytes_stored: self.stored,
            bytes_freed_packs: self.after.packs,
            bytes_freed_blocks: self.after.blocks,
            bytes_freed_at_most: self.after.at_most,
            bytes_unused: self.before.exact(),
            bytes_unused_at_most: self.before.at_most,
            bytes_kept: self.stored.saturating_sub(self.after.exact()),
            bytes_too_many: self.limits.is_given().then_some(self.too_many),
        }
    }

    /// For a person, each line ended.
    pub fn text(&self) -> String {
        let days = show_count((prune::GRACE_SECONDS / 86_400) as u64, "day");
        let kept = show_size(self.stored.saturating_sub(self.after.exact()));
        format!(
            "prune then gives back {}\nwithout it {}\nwhat stays takes {kept}; forgotten snapshots keep their room for {days} (prune --grace)\n",
            show(&self.after),
            show(&self.before),
        )
    }

    /// What is to be said when it does not fit.
    pub fn too_many(&self) -> Option<String> {
        (self.too_many > 0).then(|| {
            format!(
                "it does not fit: {} more would have to go, and what stays is kept by rules or protected",
                show_size(self.too_many)
            )
        })
    }
}
