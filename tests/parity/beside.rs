//! Who reads while another puts packs back. The moment is made by hand: it is too short for luck.

use std::sync::Mutex;

use copal::backend::{Entry, Error as StorageError};
use copal::model::Time;

use super::*;

/// Storage on which others do something just before it is asked for recovery data.
struct Beside {
    inner: Memory,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Backend for Beside {
    through! { location put get get_range list remove time create }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, StorageError> {
        if kind == Kind::Parity
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then();
        }
        self.inner.stat(kind, name)
    }
}

/// Reads all, while another puts the pack back after it was met damaged and before its recovery data is looked for.
fn is_put_back_meanwhile(place: &Place) {
    let (other, met) = (place.copy(), std::sync::Arc::new(AtomicBool::new(false)));
    let (memory, tells) = (other.memory.clone(), met.clone());
    let heal = move || {
        assert_eq!(other.repair(&Wanted::All).unwrap().healed.len(), 1);
        tells.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let storage = Beside { inner: memory, then: Mutex::new(Some(Box::new(heal))) };
    let reader = place.open_on(storage, None).unwrap();
    reader.sync().unwrap();
    assert_whole(&reader);
    assert!(met.load(std::sync::atomic::Ordering::SeqCst));
    assert!(reader.mended_packs().is_empty(), "it was whole when it was read");
}

#[test]
fn a_lost_pack_that_is_put_back_while_somebody_reads_is_read() {
    let place = Place::with_parity(1000);
    let (name, _) = place.pack();
    place.memory.remove(Kind::Packs, &name.to_string()).unwrap();
    is_put_back_meanwhile(&place);
}

#[test]
fn a_damaged_pack_that_is_put_back_while_somebody_reads_is_read() {
    let place = Place::with_parity(1000);
    let (name, _) = place.pack();
    place.damage(&name, |bytes| bytes.fill(1));
    is_put_back_meanwhile(&place);
}
