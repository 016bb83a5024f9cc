//! Storage that can not read an object for a while, which it can again before anything is taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use copal::backend::{Backend, Entry, Error as StorageError, Kind};
use copal::format::note::Verb;
use copal::format::session::Damage;
use copal::model::Time;
use copal::repair::{self, Wanted};

use crate::common::noise;
use crate::place::Place;
use crate::timed::Timed;

/// One object can not be read while `fails` says so.
struct Unsteady {
    inner: Timed,
    kind: Kind,
    name: String,
    fails: Arc<AtomicBool>,
    /// It says that this is forbidden.
    is_forbidden: bool,
}

impl Backend for Unsteady {
    through! { location put get_range list stat remove time create }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, StorageError> {
        if self.fails.load(Ordering::SeqCst) && (kind, name) == (self.kind, self.name.as_str()) {
            if self.is_forbidden {
                return Err(StorageError::Denied {
                    object: name.to_owned(),
                    reason: "permission denied".to_owned(),
                });
            }
            let source = std::io::Error::other("a bad moment");
            return Err(StorageError::Io { object: name.to_owned(), operation: "read", source });
        }
        self.inner.get(kind, name)
    }
}

/// One object of each kind that a repair removes when it can not be read.
fn victims() -> (Place, Vec<(Kind, String)>) {
    let place = Place::new(16 << 10);
    place.write("file", noise(1, 50_000));
    let first = place.back_up();
    place.write("file", noise(2, 50_000));
    place.back_up();
    let note = place.note(&first, Verb::Protect);
    place.open().put_damage(&Damage { packs: Vec::new(), lost: Some(first), time: Time::default() }).unwrap();
    let index = place.names(Kind::Index).remove(0);
    let damage = place.names(Kind::Damage).remove(0);
    let victims = vec![
        (Kind::Snapshots, first.to_string()),
        (Kind::Notes, note.to_string()),
        (Kind::Index, index),
        (Kind::Damage, damage),
    ];
    (place, victims)
}

#[test]
fn what_can_be_read_again_when_it_comes_to_it_stays() {
    let (place, victims) = victims();
    for (kind, name) in victims {
        let fails = Arc::new(AtomicBool::new(true));
        let storage = Unsteady {
            inner: place.storage.clone(),
            kind,
            name: name.clone(),
            fails: fails.clone(),
            is_forbidden: false,
        };
        let repository = place.open_on(storage);
        let mut was_to_go = false;
        // It is over when the plan is there.
        let mut seen = |takes_away: bool| {
            was_to_go = takes_away;
            fails.store(false, Ordering::SeqCst);
            true
        };
        place.with_tools(&repository, |tools| match kind {
            Kind::Index => {
                repair::index(tools, false, &mut |plan| seen(plan.takes_away())).unwrap();
            }
            Kind::Damage => {
                repair::packs(tools, &[], false, &mut |plan| seen(plan.takes_away())).unwrap();
            }
            _ => {
                let wanted = Wanted::default();
                repair::snapshots(tools, &wanted, &mut |plan| seen(plan.takes_away())).unwrap();
            }
        });
        assert!(was_to_go, "{kind:?}: the moment was not met");
        assert!(place.names(kind).contains(&name), "{kind:?}: what can be read was removed");
    }
    place.is_sound();
}

#[test]
fn what_this_user_may_not_read_stays() {
    let (place, victims) = victims();
    for (kind, name) in victims {
        let fails = Arc::new(AtomicBool::new(true));
        let storage =
            Unsteady { inner: place.storage.clone(), kind, name: name.clone(), fails, is_forbidden: true };
        let repository = place.open_on(storage);
        let result = place.with_tools(&repository, |tools| match kind {
            Kind::Index => repair::index(tools, false, &mut |_| true).map(drop),
            Kind::Damage => repair::packs(tools, &[], false, &mut |_| true).map(drop),
            _ => repair::snapshots(tools, &Wanted::default(), &mut |_| true).map(drop),
        });
        assert!(
            place.names(kind).contains(&name),
            "{kind:?}: nothing is known to be wrong with it, and it was removed"
        );
        let error = result.expect_err("it is not known what it says");
        assert!(error.to_string().contains(&name), "{kind:?}: {error}");
    }
    place.is_sound();
}
