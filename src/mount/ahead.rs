//! Reading ahead: who reads a file from one place on finds the blocks that come next opened already.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::content::Body;
use super::shelf::Shelf;

/// How far before the reader, bytes: about a block.
const AHEAD: u64 = 1 << 20;
/// Bytes after which it is done again.
const STEP: u64 = 512 << 10;
/// Reads that come so close to where the last one ended go on from it: the kernel asks for several parts at once, in any order.
const NEAR: u64 = 512 << 10;
/// What waits to be read ahead, at most; more is left out.
const WAITING: usize = 4;

/// A file that is open, and how far it was read.
pub struct File {
    pub body: Body,
    next: AtomicU64,
    asked: AtomicU64,
}

impl File {
    pub fn new(body: Body) -> File {
        // Who reads the beginning of a file may well want no more of it.
        File { body, next: AtomicU64::new(0), asked: AtomicU64::new(STEP) }
    }

    /// These bytes were read; what is to be read ahead, if anything.
    fn was_read(&self, offset: u64, length: u64) -> Option<u64> {
        let end = offset.saturating_add(length);
        let before = self.next.swap(end, Ordering::Relaxed);
        if offset.abs_diff(before) > NEAR {
            self.asked.store(0, Ordering::Relaxed);
            return None;
        }
        let place = end.saturating_add(AHEAD);
        let asked = self.asked.load(Ordering::Relaxed);
        if place < asked || place >= self.body.size {
            return None;
        }
        self.asked.store(place.saturating_add(STEP), Ordering::Relaxed);
        Some(place)
    }
}

/// Takes what is to be read ahead.
pub struct Ahead(Sender<(Body, u64)>);

/// Where it comes out.
pub type Wanted = Receiver<(Body, u64)>;

impl Ahead {
    pub fn new() -> (Ahead, Wanted) {
        let (out, wanted) = bounded(WAITING);
        (Ahead(out), wanted)
    }

    /// These bytes of that file were read.
    pub fn after(&self, file: &File, offset: u64, length: u64) {
        if let Some(place) = file.was_read(offset, length) {
            // What there is no room for is read when it is asked for.
            let _ = self.0.try_send((file.body.clone(), place));
        }
    }
}

/// Reads ahead until `ended` is closed.
pub fn read(shelf: &Shelf, wanted: &Wanted, ended: &Receiver<()>) {
    loop {
        select! {
            recv(ended) -> _ => return,
            recv(wanted) -> file => match file {
                Ok((body, place)) => shelf.prepare(&body, place),
                Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, Id, Node, NodeType};

    #[test]
    fn only_who_goes_on_from_where_he_was_is_read_ahead_for() {
        let mut node = Node::new(b"file", NodeType::File);
        node.size = 10 << 20;
        node.content = Content::Page(Id([1; 32]));
        let file = File::new(Body::new(&node));
        let mut asked = Vec::new();
        for offset in (0..node.size).step_by(128 << 10) {
            asked.extend(file.was_read(offset, 128 << 10));
        }
        assert!(asked.len() >= 15 && asked.windows(2).all(|pair| pair[1] - pair[0] >= STEP), "{asked:?}");
        assert!(asked.iter().all(|place| *place < node.size));
        for offset in [5 << 20, 1 << 20, 9 << 20, 3 << 20] {
            assert_eq!(file.was_read(offset, 4096), None, "{offset}");
        }
        let small = File::new(Body::new(&Node { size: 200_000, ..node }));
        assert_eq!(small.was_read(0, 131_072), None);
    }
}
