//! A writer's session: its lease, what it must look at before it commits, and the commit. docs/concurrency.md has the protocol.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Error, Repository, put_named};
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
    client: Id16,
    host: Vec<u8>,
    parents: Vec<Id>,
    /// When the lease was last renewed, by the storage's clock and by ours.
    renewed: Mutex<(Time, Time)>,
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
        let mut session = Session {
            repository,
            clock,
            id: Id16(crypto::random()?),
            client,
            host: host.to_vec(),
            parents,
            renewed: Mutex::new((Time::default(), clock.now())),
            begun: false,
        };
        // The time before is never later than the one that others see.
        *session.lock() = (repository.storage_time()?, clock.now());
        session.put(State::Begin)?;
        session.begun = true;
        // What crashes left takes room. That it can not be removed is no reason not to write.
        let before = session.lock().0.plus_seconds(-LEFT_SECONDS);
        let _ = repository.backend.remove_leftovers(before);
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, (Time, Time)> {
        lock(&self.renewed)
    }

    fn put(&self, state: State) -> Result<(), Error> {
        let object = SessionObject {
            session: self.id,
            state,
            role: Role::Writer,
            lease_seconds: LEASE_SECONDS,
            parents: self.parents.clone(),
            host: self.host.clone(),
            process: u64::from(std::process::id()),
            client: self.client,
            time: self.clock.now(),
        };
        let bytes = format::session::encode(&self.repository.keys, &object)
            .map_err(|error| Error::format("the session", error))?;
        put_named(&*self.repository.backend, Kind::Sessions, &bytes)?;
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
        self.put(State::Renew)?;
        still_alive(self.repository.storage_time()?, renewed.0)?;
        *renewed = (before, now);
        Ok(())
    }

    /// Renews the lease from time to time until `ended` is closed, whatever else the run waits for. Gives `Overtaken` when that is
    /// too late; a storage that fails for a while only matters then.
    pub fn keep_alive_until(&self, ended: &Receiver<()>) -> Result<(), Error> {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
            if let Err(Error::Overtaken) = self.keep_alive() {
                return Err(Error::Overtaken);
            }
        }
        Ok(())
    }

    fn fenced(&self) -> Result<bool, Error> {
        match self.repository.backend.stat(Kind::Fences, &self.id.to_string()) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits a snapshot: everything it needs must be stored and indexed.
    ///
    /// Errors: `Overtaken` when packs were marked for removal or this session was fenced meanwhile; begin again, looking everything up.
    pub fn commit(&self, snapshot: &Snapshot) -> Result<Id, Error> {
        let repository = self.repository;
        // By the storage's clock: this machine may have slept.
        let now = repository.storage_time()?;
        still_alive(now, self.lock().0)?;
        if repository.removals_moved()? {
            return Err(Error::Overtaken);
        }
        let bytes = format::snapshot::encode(&repository.keys, snapshot)
            .map_err(|error| Error::format("the new snapshot", error))?;
        let name = put_named(&*repository.backend, Kind::Snapshots, &bytes)?;
        if self.fenced()? {
            return Err(Error::Overtaken);
        }
        let confirmation = Confirmation { snapshot: name, session: self.id, time: now };
        let confirmation = format::snapshot::encode_confirmation(&repository.keys, &confirmation)
            .map_err(|error| Error::format("the confirmation", error))?;
        repository.backend.put(Kind::Confirmed, &name.to_string(), &confirmation)?;
        let _ = repository.index.cache_object(Kind::Snapshots.number(), &name, &bytes);
        Ok(name)
    }
}

impl Drop for Session<'_> {
    /// Says that this writer is gone. Only a courtesy: the lease ends by itself.
    fn drop(&mut self) {
        if self.begun && !std::thread::panicking() {
            let _ = self.put(State::End);
        }
    }
}

/// Whether the lease, renewed at `renewed`, has enough left to rely on; both by the storage's clock.
fn still_alive(now: Time, renewed: Time) -> Result<(), Error> {
    if now.seconds_since(renewed) > LEASE_SECONDS as f64 * 0.75 { Err(Error::Overtaken) } else { Ok(()) }
}
