//! The inodes that the kernel holds. One is entered when the kernel is told of it, and goes when the kernel forgets it: what is held here
//! follows what is held there. When there are too many, the kernel is asked to forget some.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::identity::{Key, TOP};
use super::made::Made;
use super::view::Shown;
use crate::locks::lock;
use crate::model::Id;

/// A snapshot's root, by one of the ways that lead there.
pub struct Root {
    pub shown: Arc<Shown>,
    pub key: Key,
    /// The way there from the mount point.
    pub way: Vec<u8>,
}

/// A folder of a snapshot.
pub struct Folder {
    pub root: Arc<Root>,
    pub key: Key,
    /// Its first page.
    pub tree: Id,
    pub number: u64,
    /// The inode of the folder it lies in.
    pub above: u64,
}

/// What an inode is.
#[derive(Clone)]
pub enum Item {
    Made(Arc<dyn Made>),
    /// A symlink that is made, to that.
    Link(Arc<[u8]>),
    Root(Arc<Folder>),
    Saved(Saved),
    /// A version of a file that can not be given.
    Broken,
}

/// An entry of a folder of a snapshot. Of a file with several names, the one that was met first.
#[derive(Clone)]
pub struct Saved {
    pub folder: Arc<Folder>,
    pub name: Arc<[u8]>,
    /// What is needed to look into it, of a folder.
    pub own: Option<Arc<Folder>>,
    /// It has no extended attributes: known without looking, since each is asked for again and again.
    pub is_plain: bool,
}

impl Folder {
    /// Whether the kernel has it as a folder in which its entries lie; else it stands for where a version lies in its snapshot.
    fn is_shown(&self) -> bool {
        self.number != self.above
    }
}

struct Held {
    /// Tells apart keys that begin alike.
    rest: u64,
    /// How often the kernel was told of it, less what it forgot.
    told: u64,
    /// How many were entered before it.
    turn: u64,
    /// How often it is open.
    open: u32,
    item: Item,
}

#[derive(Default)]
struct Table {
    held: HashMap<u64, Held>,
    /// How many were entered until now.
    entered: u64,
    /// How many had been when it was last said that there are too many.
    told_at: u64,
}

/// The inodes that the kernel holds.
pub struct Inodes {
    table: Mutex<Table>,
    /// How many there may be before the kernel is asked to forget some.
    most: usize,
    crowded: Sender<()>,
}

/// Part of the most that is made free at a time.
const SHARE_SPARED: usize = 4;
/// Folders above each other that are gone through for a path, which is only shown.
const DEPTH_SHOWN: usize = 4096;

impl Inodes {
    /// With the top alone in it. Whoever has the other end is told when there are more than `most`, and asks the kernel to forget those
    /// of `oldest`.
    pub fn new(top: Arc<dyn Made>, most: usize) -> (Inodes, Receiver<()>) {
        let top = Held { rest: 0, told: 1, turn: 0, open: 0, item: Item::Made(top) };
        let table = Table { held: HashMap::from([(TOP, top)]), ..Table::default() };
        let (crowded, told) = bounded(1);
        (Inodes { table: Mutex::new(table), most, crowded }, told)
    }

    /// Enters what has that key, once more if it is there; gives its number. `make` is only asked when it is new.
    pub fn enter(&self, key: &Key, make: impl FnOnce(u64) -> Item) -> u64 {
        let mut table = lock(&self.table);
        let rest = key.rest();
        let mut turn = 0;
        loop {
            let number = key.number(turn);
            let entered = table.entered;
            match table.held.entry(number) {
                Slot::Occupied(mut slot) if slot.get().rest == rest => {
                    slot.get_mut().told += 1;
                    return number;
                }
                // Another one of that number: never mind how unlikely, it must not be taken for it.
                Slot::Occupied(_) => turn += 1,
                Slot::Vacant(slot) => {
                    slot.insert(Held { rest, told: 1, turn: entered, open: 0, item: make(number) });
                    table.entered += 1;
                    // Once in a while: what is asked of the kernel takes a moment, and some of it may be in use.
                    if table.held.len() > self.most
                        && table.entered - table.told_at > (self.most / SHARE_SPARED) as u64
                    {
                        table.told_at = table.entered;
                        let _ = self.crowded.try_send(());
                    }
                    return number;
                }
            }
        }
    }

    /// The kernel forgets it that many times.
    pub fn forget(&self, number: u64, times: u64) {
        if number == TOP {
            return;
        }
        let mut table = lock(&self.table);
        let held = &mut table.held;
        let Slot::Occupied(mut slot) = held.entry(number) else { return };
        slot.get_mut().told = slot.get().told.saturating_sub(times);
        let is_gone = slot.get().told == 0;
        // What it held goes when nobody waits for the lock.
        let gone = is_gone.then(|| slot.remove());
        if held.len() < held.capacity() / 8 {
            let room = held.len() * 2;
            held.shrink_to(room);
        }
        drop(table);
        drop(gone);
    }

    /// It is opened once more, or once less.
    pub fn is_opened(&self, number: u64, is_open: bool) {
        if let Some(held) = lock(&self.table).held.get_mut(&number) {
            held.open = if is_open { held.open.saturating_add(1) } else { held.open.saturating_sub(1) };
        }
    }

    /// Folder and name of those that were entered first, of what is no folder and not open: so many that, when the kernel forgets them,
    /// there is room again. Folders stay: somebody may stand in one.
    pub fn oldest(&self) -> Vec<(u64, Arc<[u8]>)> {
        let table = lock(&self.table);
        let spared = self.most - self.most / SHARE_SPARED;
        let count = table.held.len().saturating_sub(spared);
        let candidates = table.held.values().filter_map(|held| match &held.item {
            Item::Saved(saved) if saved.own.is_none() && saved.folder.is_shown() && held.open == 0 => {
                Some((held.turn, saved))
            }
            _ => None,
        });
        let mut candidates: Vec<_> = candidates.collect();
        if count < candidates.len() {
            candidates.select_nth_unstable_by_key(count, |(turn, _)| *turn);
            candidates.truncate(count);
        }
        candidates.into_iter().map(|(_, saved)| (saved.folder.number, saved.name.clone())).collect()
    }

    /// What that inode is.
    pub fn get(&self, number: u64) -> Option<Item> {
        lock(&self.table).held.get(&number).map(|held| held.item.clone())
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        lock(&self.table).held.len()
    }

    /// The path of an inode below the mount point, as far as it is known.
    pub fn path(&self, number: u64) -> Vec<u8> {
        let held = &lock(&self.table).held;
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut next = number;
        while names.len() < DEPTH_SHOWN {
            match held.get(&next).map(|held| &held.item) {
                Some(Item::Saved(saved)) => {
                    names.push(saved.name.to_vec());
                    if saved.folder.key == saved.folder.root.key {
                        names.push(saved.folder.root.way.clone());
                        break;
                    }
                    next = saved.folder.number;
                }
                Some(Item::Root(folder)) => {
                    names.push(folder.root.way.clone());
                    break;
                }
                Some(Item::Made(made)) => {
                    names.push(made.id());
                    break;
                }
                Some(Item::Link(_) | Item::Broken) => break,
                // Of a file with several names, the folder of the one that was met first may be forgotten.
                None => {
                    names.push(b"...".to_vec());
                    break;
                }
            }
        }
        names.reverse();
        names.join(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Node, NodeType, Time};
    use crate::mount::made::Top;

    fn inodes() -> Inodes {
        Inodes::new(Arc::new(Top(None)), 1000).0
    }

    fn link(to: &[u8]) -> Item {
        Item::Link(to.into())
    }

    #[test]
    fn what_is_forgotten_as_often_as_it_was_told_of_is_gone() {
        let inodes = inodes();
        let key = Key::made(b"x");
        let number = inodes.enter(&key, |_| link(b"first"));
        assert_eq!(inodes.enter(&key, |_| panic!("it is known")), number);
        inodes.forget(number, 1);
        assert!(inodes.get(number).is_some());
        inodes.forget(number, 1);
        assert!(inodes.get(number).is_none());
        assert_eq!(inodes.enter(&key, |_| link(b"again")), number, "the same number as ever");
        inodes.forget(number, u64::MAX);
        inodes.forget(number, 1);
        inodes.forget(TOP, u64::MAX);
        assert_eq!(inodes.count(), 1, "the top is never forgotten");
    }

    #[test]
    fn keys_of_one_number_are_told_apart() {
        let inodes = inodes();
        let (first, second) = (Key::alike(7, 1), Key::alike(7, 2));
        assert_eq!(first.number(0), second.number(0));
        let one = inodes.enter(&first, |_| link(b"one"));
        let two = inodes.enter(&second, |_| link(b"two"));
        assert_ne!(one, two);
        assert_eq!(inodes.enter(&second, |_| panic!("it is known")), two);
        assert!(matches!(inodes.get(one), Some(Item::Link(to)) if *to == *b"one"));
        assert!(matches!(inodes.get(two), Some(Item::Link(to)) if *to == *b"two"));
    }

    /// A snapshot's root.
    fn top(inodes: &Inodes) -> (Arc<Root>, Arc<Folder>) {
        let shown = Shown {
            name: Id([1; 32]),
            label: b"then".to_vec(),
            tree: Id([2; 32]),
            time: Time::default(),
            is_repaired: false,
        };
        let key = Key::root(&Key::made(b"snapshots"), &shown.name);
        let root = Arc::new(Root { shown: Arc::new(shown), key, way: b"snapshots/then".to_vec() });
        let number = inodes.enter(&key, |number| {
            Item::Root(Arc::new(Folder { root: root.clone(), key, tree: Id([2; 32]), number, above: TOP }))
        });
        let Some(Item::Root(folder)) = inodes.get(number) else { panic!() };
        (root, folder)
    }

    #[test]
    fn more_than_there_may_be_are_those_that_were_entered_first() {
        let (inodes, crowded) = Inodes::new(Arc::new(Top(None)), 100);
        let (root, folder) = top(&inodes);
        let enter = |name: &str, is_folder: bool| {
            let key = Key::entry(&root.key, &folder.key, &Node::new(name.as_bytes(), NodeType::File));
            inodes.enter(&key, |number| {
                let own = Folder { root: root.clone(), key, tree: Id([3; 32]), number, above: folder.number };
                let (folder, name) = (folder.clone(), name.as_bytes().into());
                Item::Saved(Saved { folder, name, own: is_folder.then(|| own.into()), is_plain: true })
            })
        };
        let name = |number: usize| format!("{number:03}");
        let numbers: Vec<u64> = (0..98).map(|number| enter(&name(number), number == 1)).collect();
        assert!(crowded.try_recv().is_err(), "there are as many as there may be");
        inodes.is_opened(numbers[3], true);
        enter("one more", false);
        crowded.try_recv().unwrap();
        let oldest = inodes.oldest();
        let wanted: Vec<String> = [0, 2].into_iter().chain(4..).map(name).take(26).collect();
        let mut given: Vec<String> =
            oldest.iter().map(|(_, name)| String::from_utf8(name.to_vec()).unwrap()).collect();
        given.sort();
        assert_eq!(given, wanted, "neither the folder nor what is open, nor the newest");
        assert!(oldest.iter().all(|(above, _)| *above == folder.number));
        // The kernel forgets none of them: it is not asked again for each that comes.
        for number in 0..20 {
            enter(&format!("new {number}"), false);
        }
        assert!(crowded.try_recv().is_err());
        for number in 20..40 {
            enter(&format!("new {number}"), false);
        }
        crowded.try_recv().unwrap();
        inodes.is_opened(numbers[3], false);
        assert!(inodes.oldest().iter().any(|(_, name)| **name == *b"003"));
        numbers.iter().for_each(|number| inodes.forget(*number, 1));
        assert!(inodes.oldest().is_empty());
    }

    #[test]
    fn paths_lead_from_the_mount_point() {
        let inodes = inodes();
        let (root, folder) = top(&inodes);
        let root_number = folder.number;
        let enter = |folder: &Arc<Folder>, name: &[u8]| {
            let key = Key::entry(&root.key, &folder.key, &Node::new(name, NodeType::Directory));
            let number = inodes.enter(&key, |number| {
                let own = Folder { root: root.clone(), key, tree: Id([3; 32]), number, above: folder.number };
                let (folder, name) = (folder.clone(), name.into());
                Item::Saved(Saved { folder, name, own: Some(Arc::new(own)), is_plain: true })
            });
            let Some(Item::Saved(Saved { own: Some(own), .. })) = inodes.get(number) else { panic!() };
            own
        };
        let home = enter(&folder, b"home");
        let ann = enter(&home, b"ann");
        let path = |number| String::from_utf8(inodes.path(number)).unwrap();
        assert_eq!(path(ann.number), "snapshots/then/home/ann");
        assert_eq!(path(home.number), "snapshots/then/home");
        assert_eq!(path(root_number), "snapshots/then");
        inodes.forget(home.number, 1);
        assert_eq!(path(ann.number), ".../ann");
    }
}
