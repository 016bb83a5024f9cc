//! Listing folders: many at a time, each some pieces ahead.

use std::collections::VecDeque;

use super::Pending;
use super::packet::Listed;
use super::request::Request;
use super::session::{Open, Session};
use crate::backend::ssh::link::Trouble;

/// Pieces of a folder that are asked for at once at first: what there is, and that this was all.
const AHEAD_FIRST: usize = 2;
/// And once it turns out to be large.
const AHEAD_MOST: usize = 16;

/// Entries that are looked at at once.
const LOOKS_MOST: usize = 64;

/// A folder that is being read.
struct Reading {
    open: Open,
    asked: VecDeque<Pending>,
}

impl Reading {
    fn ask(&mut self, session: &Session, ahead: usize) -> Result<(), Trouble> {
        while self.asked.len() < ahead {
            self.asked.push_back(session.send(Request::ReadFolder(&self.open.handle))?);
        }
        Ok(())
    }

    /// Reads to the end; from so many pieces on it asks for many at once. Gives the number of pieces.
    fn finish(
        &mut self,
        session: &Session,
        many_from: usize,
        object: &str,
        each: &mut dyn FnMut(Listed),
    ) -> Result<usize, Trouble> {
        let mut pieces = 0;
        while let Some(pending) = self.asked.pop_front() {
            match session.names(pending)? {
                Ok(Some(names)) => {
                    pieces += 1;
                    if pieces >= many_from {
                        self.ask(session, AHEAD_MOST)?;
                    }
                    names.into_iter().for_each(&mut *each);
                }
                Ok(None) => break,
                Err(status) => return Err(status.sort(object.to_owned(), "list").into()),
            }
        }
        Ok(pieces)
    }
}

/// What lies in these folders, each given by its path on the server and what messages call it: calls `each` with the folder's place in the list.
/// A missing folder is empty, and so is a file under a folder's name.
pub fn folders(
    session: &Session,
    paths: &[(String, String)],
    each: &mut dyn FnMut(usize, Listed),
) -> Result<(), Trouble> {
    let most = session.folders_most();
    for (batch, some) in paths.chunks(most).enumerate() {
        let opening: Vec<Pending> =
            some.iter().map(|(path, _)| session.send(Request::OpenFolder(path))).collect::<Result<_, _>>()?;
        let mut readings = Vec::new();
        let mut failed = None;
        for (place, pending) in opening.into_iter().enumerate() {
            match session.handle(pending)? {
                Ok(handle) => {
                    let mut reading = Reading { open: session.opened(handle, 0), asked: VecDeque::new() };
                    reading.ask(session, AHEAD_FIRST)?;
                    readings.push((place, reading));
                }
                Err(status) if status.is_missing() => {}
                Err(status) => failed = failed.or(Some((place, status))),
            }
        }
        if let Some((place, status)) = failed {
            return Err(status.sort(some[place].1.clone(), "list").into());
        }
        for (place, mut reading) in readings {
            let mut each = |listed| each(batch * most + place, listed);
            reading.finish(session, 1, &some[place].1, &mut each)?;
        }
    }
    Ok(())
}

/// The same one folder after the other: each is opened when all of those before it was read, and asked for before that is known to be so. Only for
/// servers that do what they are asked in that order.
pub fn in_order(
    session: &Session,
    paths: &[(String, String)],
    each: &mut dyn FnMut(usize, Listed),
) -> Result<(), Trouble> {
    let open = |(path, _): &(String, String)| session.send(Request::OpenFolder(path));
    let mut opening = None;
    for (place, both) in paths.iter().enumerate() {
        let opened = opening.take().map_or_else(|| open(both), Ok)?;
        let handle = match session.handle(opened)? {
            Ok(handle) => handle,
            Err(status) if status.is_missing() => continue,
            Err(status) => return Err(status.sort(both.1.clone(), "list").into()),
        };
        let mut reading = Reading { open: session.opened(handle, 0), asked: VecDeque::new() };
        reading.ask(session, AHEAD_FIRST)?;
        let next = paths.get(place + 1).map(open).transpose()?;
        let pieces = reading.finish(session, AHEAD_FIRST, &both.1, &mut |listed| each(place, listed))?;
        match next {
            Some(next) if pieces < AHEAD_FIRST => opening = Some(next),
            // It was opened before the rest of this one was read: that does not count.
            Some(next) => drop(session.handle(next)?.map(|handle| session.opened(handle, 0))),
            None => {}
        }
    }
    Ok(())
}

/// Asks for the attributes of what was listed without them; what vanished meanwhile goes. `path_of` gives a path on the server, and what messages
/// call it.
pub fn complete(
    session: &Session,
    listed: Vec<Listed>,
    path_of: &dyn Fn(&Listed) -> (String, String),
) -> Result<Vec<Listed>, Trouble> {
    let mut whole = Vec::with_capacity(listed.len());
    let mut asked: VecDeque<(Listed, String, Pending)> = VecDeque::new();
    let look = |asked: &mut VecDeque<(Listed, String, Pending)>, whole: &mut Vec<Listed>| {
        let Some((one, object, pending)) = asked.pop_front() else { return Ok(()) };
        match session.attributes(pending)? {
            Ok(attributes) => whole.push(Listed { attributes, ..one }),
            Err(status) if status.is_missing() => {}
            Err(status) => return Err(Trouble::from(status.sort(object, "look at"))),
        }
        Ok(())
    };
    for one in listed {
        if one.attributes.is_whole() {
            whole.push(one);
            continue;
        }
        if asked.len() >= LOOKS_MOST {
            look(&mut asked, &mut whole)?;
        }
        let (path, object) = path_of(&one);
        let pending = session.send(Request::Look(&path))?;
        asked.push_back((one, object, pending));
    }
    while !asked.is_empty() {
        look(&mut asked, &mut whole)?;
    }
    Ok(whole)
}
