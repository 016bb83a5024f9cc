//! Everybody's sessions as storage has them: who may still be at work. docs/concurrency.md has the protocol.

use std::collections::HashMap;

use super::session::LEASE_SECONDS;
use super::{Error, Repository, get_named, list_names};
use crate::backend::Kind;
use crate::crypto::FULL;
use crate::format::header;
use crate::format::session::{self, Role, SessionObject, State};
use crate::model::{Id, Id16, Time};

/// Longest lease that is believed, seconds.
const LEASE_MOST: u64 = 7 * LEASE_SECONDS;
/// How far a client's clock is trusted that did not write down the storage's time, seconds.
const SKEW_SECONDS: i64 = 7 * 24 * 3600;

/// How long after its lease a session that never ended is still reckoned with, seconds: whoever slept for three days is awake by then, or
/// never wakes up.
pub const ASLEEP_SECONDS: i64 = 4 * LEASE_SECONDS as i64;

/// Someone who is at work, or was.
#[derive(Clone, Debug)]
pub struct Peer {
    pub id: Id16,
    pub role: Role,
    /// Whose session it is: the number of a writer, or 0.
    pub writer: u32,
    pub client: Id16,
    pub host: Vec<u8>,
    /// Its process on that host.
    pub process: u64,
    /// Snapshots that must stay as long as this session may commit.
    pub parents: Vec<Id>,
    /// Just before it began: by the client's clock, and by the storage's where that was written down.
    pub begun: Time,
    pub begun_stored: Option<Time>,
    /// When its lease ends, by the storage's clock.
    pub lease_end: Time,
    /// It said that it is over.
    pub is_ended: bool,
    /// Just before it said so, by the storage's clock.
    pub ended_stored: Option<Time>,
    /// Its objects in storage.
    pub objects: Vec<Id>,
}

impl Peer {
    fn new(writer: u32, object: &SessionObject) -> Peer {
        Peer {
            id: object.session,
            role: object.role,
            writer,
            client: object.client,
            host: object.host.clone(),
            process: object.process,
            parents: Vec::new(),
            begun: object.time,
            begun_stored: object.storage_time,
            lease_end: Time::default(),
            is_ended: false,
            ended_stored: None,
            objects: Vec::new(),
        }
    }

    fn add(&mut self, name: Id, object: &SessionObject) {
        // The end last: they are removed in this order, and without the end it would look as if it were at work.
        match object.state {
            State::End => self.objects.push(name),
            _ => self.objects.insert(0, name),
        }
        self.parents.extend(&object.parents);
        self.begun = self.begun.min(object.time);
        self.begun_stored = self.begun_stored.into_iter().chain(object.storage_time).min();
        let from = object.storage_time.unwrap_or_else(|| object.time.plus_seconds(SKEW_SECONDS));
        let lease = object.lease_seconds.min(LEASE_MOST) as i64;
        self.lease_end = self.lease_end.max(from.plus_seconds(lease));
        if object.state == State::End {
            self.is_ended = true;
            self.ended_stored = object.storage_time;
        }
    }

    /// Whether it may still be at work. Who only adds is not believed that storage told it a time to come, and so is at work for ever.
    pub fn is_alive(&self, now: Time) -> bool {
        let most = now.plus_seconds(LEASE_MOST as i64 + SKEW_SECONDS);
        !self.is_ended && now < self.lease_end && (self.writer == FULL || self.lease_end < most)
    }

    /// From when on it is at work no more, even if it fell asleep just before its lease ended; none when it is over already.
    pub fn stirs_until(&self) -> Option<Time> {
        (!self.is_ended).then(|| self.lease_end.plus_seconds(ASLEEP_SECONDS))
    }
}

impl Repository {
    /// All sessions that storage knows.
    ///
    /// Errors: also when one can not be read, since then it is not known who is at work.
    pub fn sessions(&self) -> Result<Vec<Peer>, Error> {
        let (peers, problems) = self.sessions_readable()?;
        problems.into_iter().next().map_or(Ok(peers), |(_, error)| Err(error))
    }

    /// The same as far as they can be read, and the names of the others, with what is wrong with each.
    pub fn sessions_readable(&self) -> Result<(Vec<Peer>, Vec<(Id, Error)>), Error> {
        let mut problems = Vec::new();
        let mut peers: HashMap<(u32, Id16), Peer> = HashMap::new();
        for name in list_names(&*self.backend, Kind::Sessions)? {
            let object = get_named(&*self.backend, Kind::Sessions, &name).and_then(|object| {
                let writer = header::writer(&object);
                session::decode(&self.keys, &object)
                    .map(|object| (writer, object))
                    .map_err(|error| Error::decode(Kind::Sessions, &name.to_string(), error))
            });
            match object {
                Ok((writer, object)) => peers
                    .entry((writer, object.session))
                    .or_insert_with(|| Peer::new(writer, &object))
                    .add(name, &object),
                // Another pruner swept it.
                Err(error) if error.is_damage() && !self.backend_has(Kind::Sessions, &name)? => {}
                Err(error) if error.is_damage() => problems.push((name, error)),
                Err(error) => return Err(error),
            }
        }
        let mut peers: Vec<Peer> = peers.into_values().collect();
        peers.sort_by_key(|peer| (peer.begun_stored, peer.id.0));
        Ok((peers, problems))
    }

    /// Ids of the sessions that must not commit.
    pub fn fences(&self) -> Result<Vec<Id16>, Error> {
        let mut fences = Vec::new();
        self.backend.list(Kind::Fences, &mut |entry| fences.extend(Id16::parse(&entry.name)))?;
        Ok(fences)
    }
}
