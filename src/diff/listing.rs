//! The entries of one folder of one side, in order of their names, with what is not known between them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::files::Names;
use crate::model::Node;
use crate::repository::Error;
use crate::repository::trees::Nodes;

/// Where entries come from.
pub enum Source<'r> {
    /// Nothing is there.
    Nothing,
    Stored(Nodes<'r>),
    Live(Arc<OwnedFd>, Names, usize),
}

/// A folder's entries, one after the other.
pub struct Listing<'r> {
    source: Source<'r>,
    next: Option<Box<Node>>,
    /// Something before `next` could not be read.
    has_gap: bool,
    /// What is not named here may have been here all the same.
    may_lack: bool,
}

/// What a look at the next entry gives.
pub enum Peek {
    Node,
    End,
    /// Part of the list is damaged; look again.
    Damaged(Error),
}

impl<'r> Listing<'r> {
    pub fn new(source: Source<'r>, may_lack: bool) -> Listing<'r> {
        Listing { source, next: None, has_gap: false, may_lack }
    }

    /// Looks at the next entry, where there is one. Errors: those of the repository as a whole.
    pub fn peek(&mut self, live: &dyn Fn(&OwnedFd, &[u8]) -> Option<Node>) -> Result<Peek, Error> {
        if self.next.is_some() {
            return Ok(Peek::Node);
        }
        match &mut self.source {
            Source::Nothing => {}
            Source::Stored(nodes) => match nodes.next() {
                None => {}
                Some(Ok(node)) => self.next = Some(Box::new(node)),
                Some(Err(error)) if error.is_damage() => {
                    self.has_gap = true;
                    return Ok(Peek::Damaged(error));
                }
                Some(Err(error)) => return Err(error),
            },
            Source::Live(folder, names, at) => {
                while self.next.is_none() && *at < names.len() {
                    self.next = live(folder, names.bytes(*at)).map(Box::new);
                    *at += 1;
                }
            }
        }
        Ok(if self.next.is_some() { Peek::Node } else { Peek::End })
    }

    /// The name of the entry that was looked at.
    pub fn name(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|node| node.name.as_slice())
    }

    /// Takes the entry that was looked at.
    pub fn take(&mut self) -> Option<Box<Node>> {
        let taken = self.next.take();
        if taken.is_some() {
            self.has_gap = false;
        }
        taken
    }

    /// Whether a name that comes before the entry that was looked at may be here all the same.
    pub fn may_hold(&self) -> bool {
        self.has_gap || self.may_lack
    }

    /// The folder, when it is one that is there now.
    pub fn handle(&self) -> Option<&Arc<OwnedFd>> {
        match &self.source {
            Source::Live(handle, ..) => Some(handle),
            _ => None,
        }
    }
}
