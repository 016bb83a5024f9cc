//! Reading objects: as many pieces on their way as the window allows, so that a distant server is as fast as its line.

use std::collections::VecDeque;

use super::Pending;
use super::request::{READ, Request};
use super::session::{Open, Session, WINDOW};
use crate::backend::ssh::link::Trouble;
use crate::backend::{Error, room};

/// Opens the object at a path, and looks at it in the same round trip. Only a regular file is an object.
pub fn open(session: &Session, path: &str, object: &str) -> Result<Open, Trouble> {
    let look = session.send(Request::Look(path))?;
    let open = session.send(Request::Open { path, flags: READ, mode: None })?;
    let seen = session.attributes(look)?;
    // Taken in any case, so that nothing stays open.
    let opened = session.handle(open)?.map(|handle| session.opened(handle, 0));
    let attributes = seen.map_err(|status| status.sort(object.to_owned(), "look at"))?;
    let size = attributes.length().ok_or_else(|| Error::NotFound { object: object.to_owned() })?;
    let mut opened = opened.map_err(|status| status.sort(object.to_owned(), "open"))?;
    opened.size = size;
    Ok(opened)
}

/// Exactly these bytes of an open object.
pub fn range(
    session: &Session,
    open: &Open,
    object: &str,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, Trouble> {
    let wanted = length as u64;
    let short = |got: u64| Error::Short { object: object.to_owned(), offset, wanted, got };
    if offset.checked_add(wanted).is_none_or(|end| end > open.size) {
        return Err(short(open.size.saturating_sub(offset)).into());
    }
    let mut bytes = room(object, wanted)?;
    bytes.resize(length, 0);
    let most = session.read_piece();
    // Pieces in the order in which they were asked for: where each goes, and how long it is.
    let mut asked: VecDeque<(usize, usize, Pending)> = VecDeque::new();
    let ask = |place: usize, count: usize| {
        let offset = offset + place as u64;
        // A piece is shorter than a packet.
        let length = u32::try_from(count).unwrap_or(u32::MAX);
        session.send(Request::Read { handle: &open.handle, offset, length })
    };
    let mut next = 0;
    loop {
        while next < length && (asked.len() + 1) * most <= WINDOW.max(most) {
            let count = most.min(length - next);
            asked.push_back((next, count, ask(next, count)?));
            next += count;
        }
        let Some((place, count, pending)) = asked.pop_front() else { return Ok(bytes) };
        match session.data(pending, count)? {
            Ok(Some(piece)) => {
                bytes[place..place + piece.len()].copy_from_slice(&piece);
                if piece.len() < count {
                    // A server may give less than was asked for; the rest is asked for at once.
                    let (place, count) = (place + piece.len(), count - piece.len());
                    asked.push_front((place, count, ask(place, count)?));
                }
            }
            Ok(None) => return Err(short(place as u64).into()),
            Err(status) => return Err(status.sort(object.to_owned(), "read").into()),
        }
    }
}
