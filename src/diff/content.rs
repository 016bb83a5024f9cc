//! Whether two files hold the same, as far as that can be told.

use std::os::fd::AsFd;

use super::compare::has_gap;
use super::live::{self, Held};
use super::walk::Walk;
use crate::model::{Content, Node, SegmentKind};
use crate::repository::Error;

const LOST_CONTENT: &str = "part of its content is lost, as a repair marked it";

impl Walk<'_> {
    /// Whether the contents of two files differ, or why that can not be told.
    pub fn content_differs(&mut self, before: &Node, after: &Node) -> Result<Result<bool, String>, Error> {
        if before.size != after.size {
            return Ok(Ok(true));
        }
        if self.base.is_some() {
            if before.mtime == after.mtime && !self.options.content {
                return Ok(Ok(false));
            }
            let held = self.holds(&self.path, &before.content, before.size);
            return match held {
                Ok(Held::Same) => Ok(Ok(false)),
                Ok(Held::Other) => Ok(Ok(true)),
                Ok(Held::Lost) => Ok(Err(LOST_CONTENT.to_owned())),
                Ok(Held::Unread(why)) => {
                    self.met.unread += 1;
                    Ok(Err(why))
                }
                Err(error) if error.is_damage() => Ok(Err(self.damage(&error))),
                Err(error) => Err(error),
            };
        }
        if before.content == after.content {
            return Ok(Ok(false));
        }
        for node in [before, after] {
            match self.lost(node) {
                Ok(false) => {}
                Ok(true) => return Ok(Err(LOST_CONTENT.to_owned())),
                Err(error) if error.is_damage() => return Ok(Err(self.damage(&error))),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(true))
    }

    /// Whether the file that is there at a path holds a stored content.
    pub fn holds(&self, path: &[u8], content: &Content, size: u64) -> Result<Held, Error> {
        let Some(base) = &self.base else { return Ok(Held::Other) };
        let whole = [&base.name, path].concat();
        live::holds(self.repository, base.folder.as_fd(), &whole, content, size)
    }

    /// Whether part of a file's content is marked as lost.
    fn lost(&self, node: &Node) -> Result<bool, Error> {
        if !self.repaired {
            return Ok(has_gap(&node.content));
        }
        let mut lost = false;
        self.repository.segments(&node.content, node.size, &mut |segment| {
            lost |= segment.kind == SegmentKind::Gap;
            Ok(())
        })?;
        Ok(lost)
    }
}

/// Files that are there may be the same when size and time are: what they hold is looked at then.
pub fn live_key(node: &Node) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&node.size.to_le_bytes());
    let time = (node.mtime.seconds as u64).rotate_left(30) ^ u64::from(node.mtime.nanos);
    key[8..].copy_from_slice(&time.to_le_bytes());
    key
}

/// Why an entry is unreadable.
pub fn why_unreadable(node: &Node) -> String {
    match node.has_lost_entries() {
        true => "it is lost, as a repair marked it".to_owned(),
        false => node.error.map_or("could not be read", |error| error.words()).to_owned(),
    }
}
