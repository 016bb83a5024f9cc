//! What a mount is told of all versions of all paths: answers of the catalogue.

use std::sync::Arc;
use std::time::Instant;

use super::catalogue::{folder, unread};
use super::context::{Context, eprint_line};
use super::exit::Failure;
use super::signals;
use crate::catalogue::{self, Filling, Telling, Timelines};
use crate::index::catalogue::{Catalogue, PathNumber, ROOT};
use crate::model::{Node, NodeType};
use crate::mount::{Of, Past, Version};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};

/// A catalogue, and whether nothing is to be said.
struct Known(Catalogue, bool);

/// One who knows, when a catalogue is wanted and can be had. It is filled when it is first asked.
pub fn known(context: &Context<'_>, repository: &Repository) -> Result<Option<Arc<dyn Past>>, Failure> {
    let Some(folder) = folder(context)? else { return Ok(None) };
    let is_quiet = context.global.quiet || context.global.json;
    match Catalogue::open(&folder, &repository.id(), true) {
        Ok(catalogue) => Ok(catalogue.map(|catalogue| Arc::new(Known(catalogue, is_quiet)) as Arc<dyn Past>)),
        Err(error) => {
            context.warn(&format!("working without the catalogue of paths: {error}"));
            Ok(None)
        }
    }
}

impl Known {
    fn number(&self, names: &[Vec<u8>]) -> Result<Option<PathNumber>, Error> {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        Ok(self.0.number(&names)?)
    }
}

impl Past for Known {
    fn fill(&self, repository: &Repository, snapshots: &[Named]) -> Result<(), Error> {
        let mut telling = Telling::new(Instant::now());
        let say = |line: Option<String>| {
            if let Some(line) = line.filter(|_| !self.1) {
                eprint_line(&line);
            }
        };
        let mut each = |filling: Filling| say(telling.step(&filling, Instant::now()));
        let filled = catalogue::fill(repository, &self.0, snapshots, signals::stop(), &mut each)?;
        say(telling.end());
        if let Some(text) = unread(&filled).filter(|_| !self.1) {
            eprint_line(&format!("copal: warning: {text}"));
        }
        Ok(())
    }

    fn below(&self, of: &Of<'_>, after: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let Some(folder) = self.number(of.names)? else { return Ok(Vec::new()) };
        catalogue::below(&self.0, &Timelines::new(of.snapshots, Some(&self.0))?, of.host, folder, after)
    }

    fn is_held(&self, of: &Of<'_>) -> Result<bool, Error> {
        let Some(path) = self.number(of.names)? else { return Ok(false) };
        catalogue::is_held(&self.0, &Timelines::new(of.snapshots, Some(&self.0))?, of.host, path)
    }

    fn versions(&self, of: &Of<'_>) -> Result<Vec<Version>, Error> {
        let Some(path) = self.number(of.names)?.filter(|path| *path != ROOT) else { return Ok(Vec::new()) };
        let timelines = Timelines::new(of.snapshots, Some(&self.0))?;
        let histories = catalogue::history(&self.0, &timelines, path, false)?;
        let own = histories.into_iter().filter(|history| history.host == of.host);
        let files = own.flat_map(|history| history.versions).filter(|v| v.facts.kind == NodeType::File);
        Ok(files
            .map(|version| Version {
                first: version.first.name,
                last: version.last.name,
                content: version.facts.content,
            })
            .collect())
    }

    fn content(&self, node: &Node) -> i64 {
        catalogue::content_of(node)
    }
}
