//! Folders opened and listed.

use std::sync::{Arc, Mutex};

use fuser::Errno;

use super::answers::{Answer, Answers};
use super::inodes::{Folder, Item, Saved};
use super::listing::{Cursor, Listed, Opened, Trouble};
use super::made::Made;
use super::sink::Sink;
use super::told::Hit;
use crate::locks::lock;
use crate::repository::Error;

/// Entries that every folder has, and no node stands for.
const DOTS: [&[u8]; 2] = [b".", b".."];

impl Answers {
    /// Opens a folder; also says whether it is saved.
    pub fn open_folder(&self, number: u64) -> Answer<(u64, bool)> {
        self.answer(number, || {
            Ok(match self.item(number) {
                Err(error) => Err(error),
                Ok(Item::Made(made)) => {
                    let listed = Listed { before: 0, entries: made.entries(&self.shelf.view())? };
                    Ok((self.folders.open(Opened::Made(made, Mutex::new(listed))), false))
                }
                Ok(Item::Root(folder)) => {
                    let cursor = Box::new(Mutex::new(Cursor::new(&folder, false)));
                    Ok((self.folders.open(Opened::Saved(folder, cursor)), true))
                }
                Ok(Item::Saved(Saved { own: Some(own), folder, name, is_plain })) => {
                    // Only what a repair wrote says that something is missing.
                    let saved = Saved { own: None, folder, name, is_plain };
                    let is_short = own.root.shown.is_repaired && self.node(&saved)?.has_lost_entries();
                    let cursor = Box::new(Mutex::new(Cursor::new(&own, is_short)));
                    Ok((self.folders.open(Opened::Saved(own, cursor)), true))
                }
                Ok(Item::Saved(saved)) => Err(self.not_a_folder(number, &saved)?),
                Ok(Item::Link(_) | Item::Broken) => Err(Errno::ENOTDIR),
            })
        })
    }

    /// Gives entries of an open folder from number `offset` on, as many as there is room for.
    pub fn list(&self, number: u64, handle: u64, offset: u64, sink: &mut dyn Sink) -> Answer<()> {
        self.answer(number, || {
            let Some(opened) = self.folders.get(handle) else { return Ok(Err(Errno::EBADF)) };
            let above = self.above(number);
            for (place, name) in DOTS.iter().enumerate().skip(offset as usize) {
                let attr = self.made_attributes(if place == 0 { number } else { above });
                if !sink.take(name, place as u64 + 1, &attr, true) {
                    return Ok(Ok(()));
                }
            }
            let first = DOTS.len() as u64;
            let has_given = offset < first;
            let offset = offset.max(first);
            match &*opened {
                Opened::Made(made, listed) => {
                    self.list_made((number, &**made), &mut lock(listed), offset - first, sink)?;
                    Ok(Ok(()))
                }
                Opened::Saved(folder, cursor) => {
                    let mut cursor = lock(cursor);
                    self.list_saved((number, has_given), folder, &mut cursor, offset - first, sink)
                }
            }
        })
    }

    fn list_made(
        &self,
        above: (u64, &dyn Made),
        listed: &mut Listed,
        from: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let (number, made) = above;
        let mut place = from;
        while let Some((name, entry)) = listed.at(place, made, &self.shelf)? {
            let attr = self.enter_made((number, made), name, entry, sink.is_held());
            place += 1;
            if !sink.take(name, DOTS.len() as u64 + place, &attr, false) {
                if sink.is_held() {
                    self.inodes.forget(attr.ino.0, 1);
                }
                break;
            }
        }
        Ok(())
    }

    fn list_saved(
        &self,
        (number, mut has_given): (u64, bool),
        folder: &Arc<Folder>,
        cursor: &mut Cursor,
        from: u64,
        sink: &mut dyn Sink,
    ) -> Result<Answer<()>, Error> {
        cursor.go_to(from, folder, &self.shelf)?;
        let mut next = DOTS.len() as u64 + from;
        while let Some(node) = cursor.take(folder, &self.shelf)? {
            let attr = self.enter(folder, &node, sink.is_held());
            next += 1;
            if !sink.take(&node.name, next, &attr, true) {
                if sink.is_held() {
                    self.inodes.forget(attr.ino.0, 1);
                }
                cursor.put_back(node);
                return Ok(Ok(()));
            }
            has_given = true;
        }
        match cursor.trouble() {
            None => Ok(Ok(())),
            // First what there is, then, when more is asked for, that it is not all.
            Some(trouble) => {
                let path = self.inodes.path(number);
                match trouble {
                    Trouble::Error(error) => self.shelf.told.error(path, error),
                    Trouble::Lost => {
                        let what = "some entries are lost, as a repair marked it".to_owned();
                        self.shelf.told.tell(Hit { path, what, code: "lost" });
                    }
                }
                Ok(if has_given { Ok(()) } else { Err(Errno::EIO) })
            }
        }
    }
}
