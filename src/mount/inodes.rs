//! The inodes that the kernel holds. One is entered when the kernel is told of it, and goes when the kernel forgets it: what is held here
//! follows what is held there.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex};

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

struct Held {
    /// Tells apart keys that begin alike.
    rest: u64,
    /// How often the kernel was told of it, less what it forgot.
    told: u64,
    item: Item,
}

/// The inodes that the kernel holds.
pub struct Inodes(Mutex<HashMap<u64, Held>>);

/// Folders above each other that are gone through for a path, which is only shown.
const DEPTH_SHOWN: usize = 4096;

impl Inodes {
    pub fn new(top: Arc<dyn Made>) -> Inodes {
        let top = Held { rest: 0, told: 1, item: Item::Made(top) };
        Inodes(Mutex::new(HashMap::from([(TOP, top)])))
    }

    /// Enters what has that key, once more if it is there; gives its number. `make` is only asked when it is new.
    pub fn enter(&self, key: &Key, make: impl FnOnce(u64) -> Item) -> u64 {
        let mut held = lock(&self.0);
        let rest = key.rest();
        let mut turn = 0;
        loop {
            let number = key.number(turn);
            match held.entry(number) {
                Slot::Occupied(mut slot) if slot.get().rest == rest => {
                    slot.get_mut().told += 1;
                    return number;
                }
                // Another one of that number: never mind how unlikely, it must not be taken for it.
                Slot::Occupied(_) => turn += 1,
                Slot::Vacant(slot) => {
                    slot.insert(Held { rest, told: 1, item: make(number) });
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
        let mut held = lock(&self.0);
        let Slot::Occupied(mut slot) = held.entry(number) else { return };
        slot.get_mut().told = slot.get().told.saturating_sub(times);
        let is_gone = slot.get().told == 0;
        // What it held goes when nobody waits for the lock.
        let gone = is_gone.then(|| slot.remove());
        if held.len() < held.capacity() / 8 {
            let room = held.len() * 2;
            held.shrink_to(room);
        }
        drop(held);
        drop(gone);
    }

    /// What that inode is.
    pub fn get(&self, number: u64) -> Option<Item> {
        lock(&self.0).get(&number).map(|held| held.item.clone())
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// The path of an inode below the mount point, as far as it is known.
    pub fn path(&self, number: u64) -> Vec<u8> {
        let held = lock(&self.0);
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
        Inodes::new(Arc::new(Top(None)))
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

    #[test]
    fn paths_lead_from_the_mount_point() {
        let inodes = inodes();
        let shown = Shown {
            name: Id([1; 32]),
            label: b"then".to_vec(),
            tree: Id([2; 32]),
            time: Time::default(),
            is_repaired: false,
        };
        let key = Key::root(&Key::made(b"snapshots"), &shown.name);
        let root = Arc::new(Root { shown: Arc::new(shown), key, way: b"snapshots/then".to_vec() });
        let top = |number| Folder { root: root.clone(), key, tree: Id([2; 32]), number, above: TOP };
        let root_number = inodes.enter(&key, |number| Item::Root(Arc::new(top(number))));
        let Some(Item::Root(folder)) = inodes.get(root_number) else { panic!() };
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
