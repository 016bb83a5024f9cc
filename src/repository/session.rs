//! A writer's session: its lease, what it must look at before it commits, and the commit. docs/concurrency.md has the protocol.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::again::{self, again};
use super::{Error, Repository, caught, put_named};
use crate::backend::Kind;
use crate::crypto;
use crate::format::session::{Role, SessionObject, State};
use crate::format::snapshot::Confirmation;
use crate::format::{self};
use crate::locks::lock;
use crate::model::{Id, Id16, Snapshot, Time, clock::Clock};

/// How long a session is trusted without a renewal.
pub const LEASE_SECONDS: u64 = 24 * 3600;
/// Age from which a file on its way into the repository was left by a run that is no more: even one that slept is overtaken by then.
const LEFT_SECONDS: i64 = 2 * LEASE_SECONDS as i64;
/// How often a session renews its lease.
pub const RENEW_SECONDS: i64 = 3600;

/// How often a run looks whether it is time to renew.
const LOOK: Duration = Duration::from_millis(250);

/// One writer at work.
pub struct Session<'r> {
    repository: &'r Repository,
    clock: &'r dyn Clock,
    pub id: Id16,
    role: Role,
    client: Id16,
    host: Vec<u8>,
    parents: Vec<Id>,
    /// When the lease was last renewed, by the storage's clock and by ours.
    renewed: Mutex<(Time, Time)>,
    /// What was put of this session.
    objects: Mutex<Vec<Id>>,
    begun: bool,
}

impl<'r> Session<'r> {
    /// Announces a writer that reuses the trees of `parents` without looking at each chunk.
    pub fn begin(
        repository: &'r Repository,
        clock: &'r dyn Clock,
        client: Id16,
        host: &[u8],
        parents: Vec<Id>,
    ) -> Result<Session<'r>, Error> {
        Session::begin_as(Role::Writer, repository, clock, client, host, parents)
    }

    /// Announces someone at work. `parents` are snapshots that must stay meanwhile.
    pub fn begin_as(
        role: Role,
        repository: &'r Repository,
        clock: &'r dyn Clock,
        client: Id16,
        host: &[u8],
        parents: Vec<Id>,
    ) -> Result<Session<'r>, Error> {
        let mut session = Session {
            repository,
            clock,
            id: Id16(crypto::random()?),
            role,
            client,
            host: host.to_vec(),
            parents,
            renewed: Mutex::new((Time::default(), clock.now())),
            objects: Mutex::default(),
            begun: false,
        };
        // The time before is never later than the one that others see.
        let begun = repository.storage_time()?;
        *session.lock() = (begun, clock.now());
        session.put(State::Begin, Some(begun))?;
        session.begun = true;
        // What was listed before others could see this session may be gone by now.
        repository.take_listing();
        if role == Role::Writer {
            // That it can not be put back is no reason not to write: the key slots have it, or this client.
            let _ = repository.put_back_config();
            repository.backend.reserve(true);
        }
        // Where each look has its price, those who remove look alone.
        if role == Role::Pruner || (role == Role::Writer && repository.requests_at_once() <= 1) {
            // What crashes left takes room. That it can not be removed is no reason not to write.
            let _ = repository.backend.remove_leftovers(begun.plus_seconds(-LEFT_SECONDS));
        }
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, (Time, Time)> {
        lock(&self.renewed)
    }

    fn put(&self, state: State, storage_time: Option<Time>) -> Result<(), Error> {
        let object = SessionObject {
            session: self.id,
            state,
            role: self.role,
            lease_seconds: LEASE_SECONDS,
            parents: self.parents.clone(),
            host: self.host.clone(),
            process: u64::from(std::process::id()),
            client: self.client,
            time: self.clock.now(),
            storage_time,
        };
        let bytes = format::session::encode(&self.repository.keys, &object)
            .map_err(|error| Error::format("the session", error))?;
        let name = put_named(&*self.repository.backend, Kind::Sessions, &bytes)?;
        lock(&self.objects).push(name);
        Ok(())
    }

    /// Renews the lease when it is time; cheap otherwise.
    ///
    /// Errors: `Overtaken` when most of the lease was over before: others may count this session as dead already.
    pub fn keep_alive(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut renewed = self.lock();
        if (0..RENEW_SECONDS).contains(&(now.seconds - renewed.1.seconds)) {
            return Ok(());
        }
        // This machine may sleep at any moment, also between looking and renewing.
        let before = self.repository.storage_time()?;
        still_alive(before, renewed.0)?;
        self.put(State::Renew, Some(before))?;
        still_alive(self.repository.storage_time()?, renewed.0)?;
        *renewed = (before, now);
        Ok(())
    }

    /// Renews the lease from time to time until `ended` is closed, whatever else the run waits for. Gives `Overtaken` when that is
    /// too late; a storage that fails for a while only matters then.
    pub fn keep_alive_until(&self, ended: &Receiver<()>) -> Result<(), Error> {
        while !self.clock.wait(ended, LOOK) {
            if let Err(Error::Overtaken) = self.keep_alive() {
                return Err(Error::Overtaken);
            }
        }
        Ok(())
    }

    /// Whether a pruner said that this session must not commit, or somebody took away what storage had of it, which says the same: a
    /// record that can not be read goes without anybody knowing whose it was.
    pub fn is_fenced(&self) -> Result<bool, Error> {
        match self.repository.backend.stat(Kind::Fences, &self.id.to_string()) {
            Ok(_) => return Ok(true),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let objects = lock(&self.objects).clone();
        for name in &objects {
            if !self.repository.backend_has(Kind::Sessions, name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether most of the lease is left, by the storage's clock: this machine may have slept. Gives the storage's time.
    ///
    /// Errors: `Overtaken` when it is not, and others may count this session as dead.
    pub fn check_alive(&self) -> Result<Time, Error> {
        let now = self.repository.storage_time()?;
        still_alive(now, self.lock().0)?;
        Ok(now)
    }

    /// Commits a snapshot: everything it needs must be stored and indexed.
    ///
    /// Errors: `Overtaken` when packs were marked for removal or this session was fenced meanwhile; begin again, looking everything up.
    pub fn commit(&self, snapshot: &Snapshot) -> Result<Id, Error> {
        let repository = self.repository;
        let now = self.check_alive()?;
        if repository.removals_moved()? {
            return Err(Error::Overtaken);
        }
        let bytes = format::snapshot::encode(&repository.keys, snapshot)
            .map_err(|error| Error::format("the new snapshot", error))?;
        let name = put_named(&*repository.backend, Kind::Snapshots, &bytes)?;
        if self.is_fenced()? {
            return Err(Error::Overtaken);
        }
        let confirmation = Confirmation { snapshot: name, session: self.id, time: now };
        let confirmation = format::snapshot::encode_confirmation(&repository.keys, &confirmation)
            .map_err(|error| Error::format("the confirmation", error))?;
        // Once more when that fails: did only the reply get lost, it would count as saved and be told as failed.
        let text = name.to_string();
        again(|| repository.backend.put(Kind::Confirmed, &text, &confirmation))?;
        // The name is no hash: who saw the snapshot may have been faster, and storage leaves what is there.
        let stored =
            || again::get(|| repository.backend.get(Kind::Confirmed, &text), |is| *is == confirmation);
        if !repository.backend.puts_over() && stored().is_ok_and(|is| is != confirmation) {
            let what = "somebody else put it first, so the snapshot does not count as saved";
            return Err(Error::damaged(Kind::Confirmed, &text, what));
        }
        for (kind, bytes) in [(Kind::Snapshots, &bytes), (Kind::Confirmed, &confirmation)] {
            let _ = repository.index.cache_object(kind.number(), &name, bytes);
        }
        Ok(name)
    }
}

impl Drop for Session<'_> {
    /// Says that this writer is gone. Only a courtesy: the lease ends by itself. On a full storage the session goes instead, which says
    /// the same: else whoever is to make room there would wait for it for a day.
    fn drop(&mut self) {
        if !self.begun || std::thread::panicking() {
            return;
        }
        if let Err(error) = self.put(State::End, self.repository.storage_time().ok())
            && error.is_no_space()
        {
            for name in lock(&self.objects).drain(..) {
                let _ = self.repository.backend.remove(Kind::Sessions, &name.to_string());
            }
        }
    }
}

/// Does `work` while everyone is told that somebody reads, where storage takes that: nothing goes meanwhile.
pub fn reading<T>(
    repository: &Repository,
    clock: &dyn Clock,
    host: &[u8],
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let client = repository.client().unwrap_or_default();
    let session = Session::begin_as(Role::Reader, repository, clock, client, host, Vec::new()).ok();
    // A reader whose lease is over reads on: at worst it misses something, and says so.
    kept_alive(session.as_ref(), |_| {}, work)
}

/// Does `work` while the session's lease is renewed beside it; `lost` is told when that is too late.
pub fn kept_alive<T>(
    session: Option<&Session<'_>>,
    lost: impl Fn(Error) + Sync,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let (end, ended) = crossbeam_channel::bounded::<()>(0);
    let lost = &lost;
    std::thread::scope(|scope| {
        let end = end;
        if let Some(session) = session {
            scope.spawn(move || {
                if let Err(error) = caught(|| session.keep_alive_until(&ended)) {
                    lost(error);
                }
            });
        }
        let result = work();
        drop(end);
        result
    })
}

/// Whether the lease, renewed at `renewed`, has enough left to rely on; both by the storage's clock.
fn still_alive(now: Time, renewed: Time) -> Result<(), Error> {
    if now.seconds_since(renewed) > LEASE_SECONDS as f64 * 0.75 { Err(Error::Overtaken) } else { Ok(()) }
}
