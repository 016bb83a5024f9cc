//! The catalogue of paths as commands use it: opened, filled as far as it lacks snapshots, and done without where it can not be had.

use std::path::PathBuf;

use super::context::{Context, failure};
use super::exit::Failure;
use super::signals;
use crate::catalogue::{self, Filled, Filling};
use crate::index::catalogue::Catalogue;
use crate::model::{Id, Snapshot};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};
use crate::terminal::size::show_count;

/// Snapshots that are added without a word about it.
const QUIETLY: usize = 3;

/// Where the catalogue lies; none when none is wanted, or there is no cache.
pub fn folder(context: &Context<'_>) -> Result<Option<PathBuf>, Failure> {
    Ok(context.cache_folder()?.filter(|_| !context.global.no_catalogue))
}

/// The catalogue with all of these snapshots in it. None when none is wanted, or it can not be had, which is told; `needed` then gives
/// one in memory.
pub fn filled(
    context: &Context<'_>,
    repository: &Repository,
    snapshots: &[Named],
    needed: bool,
) -> Result<Option<Catalogue>, Failure> {
    let folder = folder(context)?;
    let mut catalogue = match &folder {
        Some(folder) => match Catalogue::open(folder, &repository.id(), true) {
            Ok(catalogue) => catalogue,
            Err(error) => {
                context.warn(&format!("working without the catalogue of paths: {error}"));
                None
            }
        },
        None => None,
    };
    if let Some(opened) = catalogue.take() {
        match fill(context, repository, &opened, snapshots) {
            Ok(()) => return Ok(Some(opened)),
            Err(Error::Index(error)) if error.is_passing() => {
                context.warn(&format!("working without the catalogue of paths: {error}"));
            }
            Err(Error::Index(error)) => {
                drop(opened);
                context.warn(&format!("the catalogue of paths is made anew: {error}"));
                let Some(folder) = &folder else { return Ok(None) };
                let anew = Catalogue::remove(folder, &repository.id())
                    .and_then(|()| Catalogue::open(folder, &repository.id(), true));
                if let Ok(Some(anew)) = anew {
                    fill(context, repository, &anew, snapshots).map_err(|error| failure(&error))?;
                    return Ok(Some(anew));
                }
            }
            Err(error) => return Err(failure(&error)),
        }
    }
    if !needed {
        return Ok(None);
    }
    let memory = Catalogue::in_memory(&repository.id()).map_err(|error| failure(&Error::Index(error)))?;
    fill(context, repository, &memory, snapshots).map_err(|error| failure(&error))?;
    Ok(Some(memory))
}

fn fill(
    context: &Context<'_>,
    repository: &Repository,
    catalogue: &Catalogue,
    snapshots: &[Named],
) -> Result<(), Error> {
    let mut told = false;
    let mut each = |filling: Filling| {
        let left = filling.all - filling.done;
        if left > QUIETLY && !told {
            context.say(&format!(
                "taking {} into the catalogue of paths; the next time this is done",
                show_count(left as u64, "snapshot")
            ));
            told = true;
        }
    };
    let filled = catalogue::fill(repository, catalogue, snapshots, signals::stop(), &mut each)?;
    if let Some(text) = unread(&filled) {
        context.warn(&text);
    }
    Ok(())
}

/// What is to be said of folders that could not be read, when there were any.
pub fn unread(filled: &Filled) -> Option<String> {
    (filled.unread > 0).then(|| {
        format!(
            "{} could not be read: what was in there is not known. See what is hit: copal check",
            show_count(filled.unread, "folder")
        )
    })
}

/// Adds a snapshot that was just made, where the catalogue is in use and has the one before it. Nothing depends on it.
pub fn keep_up(context: &Context<'_>, repository: &Repository, name: &Id, snapshot: &Snapshot) {
    let Ok(Some(folder)) = folder(context) else { return };
    if let Ok(Some(catalogue)) = Catalogue::open(&folder, &repository.id(), false) {
        // What fails here is done, or told, by whoever asks.
        let _ = catalogue::keep_up(repository, &catalogue, (name, snapshot), signals::stop());
    }
}

/// Bytes of the catalogue, when there is one.
pub fn bytes(context: &Context<'_>, repository: &Repository) -> Option<u64> {
    let folder = context.cache_folder().ok()??;
    Catalogue::open(&folder, &repository.id(), false).ok()??.bytes().ok()
}
