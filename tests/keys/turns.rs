//! Two that remove each other's key, one operation of the storage at a time, in every order and cut off anywhere.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::*;

/// Who may do the next operation.
#[derive(Default)]
struct State {
    /// Whether nobody waits for anybody.
    is_free: bool,
    /// Whose turn it is, bit by bit; when no bits are left, the first one's until it is done.
    order: u32,
    bits: u32,
    is_done: [bool; 2],
    /// Operations that each may still do: then it is cut off.
    left: [usize; 2],
    /// Whether each has removed a slot.
    has_removed: [bool; 2],
}

impl State {
    fn next(&self) -> Option<usize> {
        let next = (self.order & 1) as usize;
        match self.bits > 0 && !self.is_done[next] {
            true => Some(next),
            false => (0..2).find(|who| !self.is_done[*who]),
        }
    }

    /// Bits of one that is done say nothing.
    fn pass_over_done(&mut self) {
        while self.bits > 0 && self.is_done[(self.order & 1) as usize] {
            self.order >>= 1;
            self.bits -= 1;
        }
    }
}

#[derive(Default)]
struct Turns {
    state: Mutex<State>,
    moved: Condvar,
    memory: Mutex<Memory>,
}

impl Turns {
    /// Waits for that one's turn. While what is given lives, nobody else does anything.
    fn turn(&self, who: usize) -> Result<MutexGuard<'_, State>, StorageError> {
        let state = self.state.lock().unwrap();
        let is_others = |state: &mut State| !state.is_free && state.next().is_some_and(|next| next != who);
        let mut state = self.moved.wait_while(state, is_others).unwrap();
        if !state.is_free {
            state.order >>= 1;
            state.bits = state.bits.saturating_sub(1);
            state.pass_over_done();
            self.moved.notify_all();
            if state.left[who] == 0 {
                let text = "cut off".to_owned();
                let source = std::io::Error::other(text.clone());
                return Err(StorageError::Io { object: text, operation: "reach", source });
            }
            state.left[who] -= 1;
        }
        Ok(state)
    }

    fn end(&self, who: usize) {
        let mut state = self.state.lock().unwrap();
        state.is_done[who] = true;
        state.pass_over_done();
        self.moved.notify_all();
    }
}

/// What one of the two works on.
struct One {
    who: usize,
    turns: Arc<Turns>,
    /// Whether reading a slot is an operation for which a turn is needed.
    is_fine: bool,
}

impl One {
    fn memory(&self) -> Memory {
        self.turns.memory.lock().unwrap().clone()
    }
}

impl Backend for One {
    fn location(&self) -> String {
        "here".to_owned()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let _turn = self.turns.turn(self.who)?;
        self.memory().put(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
        let _turn = if self.is_fine { Some(self.turns.turn(self.who)?) } else { None };
        self.memory().get(kind, name)
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        self.memory().get_range(kind, name, offset, length)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), StorageError> {
        let _turn = self.turns.turn(self.who)?;
        self.memory().list(kind, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        self.memory().stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), StorageError> {
        let mut state = self.turns.turn(self.who)?;
        state.has_removed[self.who] = true;
        self.memory().remove(kind, name)
    }
    fn time(&self) -> Result<Time, StorageError> {
        self.memory().time()
    }
    fn create(&self) -> Result<(), StorageError> {
        self.memory().create()
    }
}

/// Two that have opened a repository, each by its own key.
struct Two {
    start: Memory,
    slots: [Id; 2],
    turns: Arc<Turns>,
    opened: [Repository; 2],
}

/// What came of it.
struct Met {
    left: Vec<Id>,
    was_removed: [bool; 2],
    has_removed: [bool; 2],
}

impl Two {
    fn new(is_fine: bool) -> Two {
        let (start, slots) = two_keys();
        let turns = Arc::new(Turns::default());
        turns.state.lock().unwrap().is_free = true;
        *turns.memory.lock().unwrap() = start.copy();
        let opened =
            [0, 1].map(|who| open(One { who, turns: turns.clone(), is_fine }, who as u8 + 1).unwrap());
        Two { start, slots, turns, opened }
    }

    /// Each removes the other's key, in that order of their operations, and does no more than so many.
    fn meet(&self, order: u32, bits: u32, left: [usize; 2]) -> Met {
        *self.turns.memory.lock().unwrap() = self.start.copy();
        *self.turns.state.lock().unwrap() = State { order, bits, left, ..State::default() };
        let removing = |who: usize| {
            let removed = self.opened[who].remove_key(&self.slots[1 - who], &SystemClock, b"host");
            self.turns.end(who);
            removed.is_ok()
        };
        let was_removed = std::thread::scope(|scope| {
            let other = scope.spawn(|| removing(1));
            [removing(0), other.join().unwrap()]
        });
        let mut left = Vec::new();
        let memory = self.turns.memory.lock().unwrap().clone();
        memory.list(Kind::Keys, &mut |entry| left.push(Id::parse(&entry.name).unwrap())).unwrap();
        let has_removed = self.turns.state.lock().unwrap().has_removed;
        Met { left, was_removed, has_removed }
    }
}

/// Every order of so many operations of each.
fn orders(each: u32) -> impl Iterator<Item = u32> {
    (0..1 << (2 * each)).filter(move |order: &u32| order.count_ones() == each)
}

#[test]
fn in_every_order_of_two_that_remove_each_others_key_one_is_left() {
    let two = Two::new(true);
    let mut removed = 0;
    for order in orders(7) {
        let met = two.meet(order, 14, [usize::MAX; 2]);
        assert!(!met.left.is_empty(), "{order:b}: no key is left");
        for who in [0, 1] {
            let is_gone = !met.left.contains(&two.slots[1 - who]);
            assert_eq!(met.was_removed[who], is_gone, "{order:b}: what {who} was told");
            removed += usize::from(is_gone);
        }
    }
    assert!(removed > 0, "each was in the other's way in every order");
}

#[test]
fn wherever_two_that_remove_each_others_key_are_cut_off_one_is_left() {
    let two = Two::new(false);
    let (mut cut_off_behind, mut removed) = (0, 0);
    for order in orders(5) {
        for left in (0..8).flat_map(|first| (0..8).map(move |second| [first, second])) {
            let met = two.meet(order, 10, left);
            assert!(!met.left.is_empty(), "{order:b} {left:?}: no key is left");
            for who in [0, 1] {
                removed += usize::from(met.was_removed[who]);
                cut_off_behind += usize::from(met.has_removed[who] && !met.was_removed[who]);
            }
        }
    }
    assert!(removed > 0 && cut_off_behind > 0, "{removed} {cut_off_behind}");
}
