//! Notes on snapshots: all of them read and resolved, and new ones written. docs/format.md, section 8.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::snapshots::Origin;
use super::{Error, Repository, get_named, list_names, put_named};
use crate::backend::Kind;
use crate::format::note::{self, Group, Link, Note, Verb};
use crate::model::{Id, Snapshot, Time};

/// Under which the number of this client's last note is remembered.
const SEQUENCE_FACT: &str = "note sequence";

/// All notes of a repository, by snapshot.
#[derive(Debug, Default)]
pub struct Notes {
    of: HashMap<Id, Vec<(Id, Note)>>,
    /// Notes that can not be read, and whether that is because only a later version knows what they say.
    pub unreadable: Vec<(Id, bool)>,
}

/// What notes make of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub tags: Vec<String>,
    pub description: String,
    pub protected: bool,
    /// When it was forgotten, as the note says; never of a protected one.
    pub forgotten: Option<Time>,
    /// Only its protection keeps it from being forgotten.
    pub held: bool,
    /// A note says that it was removed for good.
    pub removed: bool,
}

impl Notes {
    /// Whether every note could be read, so that what they say is known.
    pub fn is_whole(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// An error unless every note could be read: one that could not may protect a snapshot.
    pub fn check_known(&self) -> Result<(), Error> {
        let Some((name, unsupported)) = self.unreadable.first() else { return Ok(()) };
        let what = "it can not be read, so which snapshots are protected is not known: nothing is forgotten";
        let name = name.to_string();
        Err(match unsupported {
            true => Error::Unsupported { object: format!("notes/{name}"), what: what.to_owned() },
            false => Error::damaged(Kind::Notes, &name, what),
        })
    }

    pub(super) fn add(&mut self, name: Id, note: Note) {
        self.of.entry(note.snapshot).or_default().push((name, note));
    }

    /// Every note of a snapshot, with its name.
    pub fn of(&self, snapshot: &Id) -> &[(Id, Note)] {
        self.of.get(snapshot).map_or(&[], Vec::as_slice)
    }

    /// The notes of a group that no other of that group has read.
    fn left(&self, snapshot: &Id, group: Group) -> Vec<&Note> {
        let all = || self.of(snapshot).iter().filter(|(_, note)| note.verb.group() == group);
        let superseded: HashSet<Id> = all().flat_map(|(_, note)| note.read.iter().copied()).collect();
        all().filter(|(name, _)| !superseded.contains(name)).map(|(_, note)| note).collect()
    }

    /// Tags that stand as added, and those that stand as removed. Each tag is a group by itself: a note that has read another takes its
    /// place for the tags that both name.
    fn tags(&self, snapshot: &Id) -> (BTreeSet<&str>, HashSet<&str>) {
        let all = || self.of(snapshot).iter().filter(|(_, note)| note.verb.group() == Group::Tags);
        let mut superseded: HashSet<(Id, &str)> = HashSet::new();
        for (_, note) in all() {
            for read in &note.read {
                superseded.extend(note.texts.iter().map(|tag| (*read, tag.as_str())));
            }
        }
        let (mut added, mut removed) = (BTreeSet::new(), HashSet::new());
        for (name, note) in all() {
            for tag in
                note.texts.iter().map(String::as_str).filter(|tag| !superseded.contains(&(*name, *tag)))
            {
                match note.verb {
                    Verb::AddTags => drop(added.insert(tag)),
                    _ => drop(removed.insert(tag)),
                }
            }
        }
        (added, removed)
    }

    /// What all notes together make of a snapshot: of those that no other has read, the safe one counts.
    pub fn standing(&self, name: &Id, snapshot: &Snapshot) -> Standing {
        let (added, removed) = self.tags(name);
        let mut tags: Vec<String> = (snapshot.tags.iter())
            .filter(|tag| added.contains(tag.as_str()) || !removed.contains(tag.as_str()))
            .cloned()
            .collect();
        for tag in added {
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        let protected = self.left(name, Group::Protection).iter().any(|note| note.verb == Verb::Protect);
        let forgetting = self.left(name, Group::Forgetting);
        let forgotten = match forgetting.iter().any(|note| note.verb == Verb::Undelete) {
            true => None,
            false => forgetting.iter().map(|note| note.time).max(),
        };
        let described = self.left(name, Group::Description);
        let description = described.iter().filter_map(|note| note.texts.first()).min();
        Standing {
            tags,
            description: description.unwrap_or(&snapshot.description).clone(),
            protected,
            // Two clients may have said both at once.
            forgotten: forgotten.filter(|_| !protected),
            held: forgotten.is_some() && protected,
            removed: self.is_removed(name),
        }
    }

    /// Whether a note says that a snapshot was removed for good.
    pub fn is_removed(&self, snapshot: &Id) -> bool {
        self.of(snapshot).iter().any(|(_, note)| note.verb == Verb::Removed)
    }

    /// Removed snapshots of which other notes are still there.
    pub fn left_of_removed(&self) -> Vec<Id> {
        let left = self.of.iter().filter(|(name, notes)| notes.len() > 1 && self.is_removed(name));
        left.map(|(name, _)| *name).collect()
    }

    /// Where removed snapshots stood in the chains of their clients.
    pub fn removed_links(&self) -> impl Iterator<Item = (Id, Link)> {
        let all = self.of.values().flatten().map(|(_, note)| note);
        all.filter(|note| note.verb == Verb::Removed).map(|note| (note.snapshot, note.link))
    }

    /// Names of the notes that a new one takes the place of.
    fn read_by(&self, snapshot: &Id, verb: Verb, texts: &[String]) -> Vec<Id> {
        let same = |note: &Note| {
            note.verb.group() == verb.group()
                && (verb.group() != Group::Tags || note.texts.iter().any(|tag| texts.contains(tag)))
        };
        let mut names: Vec<Id> =
            self.of(snapshot).iter().filter(|(_, note)| same(note)).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }
}

impl Repository {
    /// Loads every note. What can not be read is told among `problems`, and passed over.
    pub fn notes(&self, from: Origin, problems: &mut Vec<Error>) -> Result<Notes, Error> {
        self.notes_named(&list_names(&*self.backend, Kind::Notes)?, from, problems)
    }

    /// The same, of those that were just listed.
    pub(super) fn notes_named(
        &self,
        listed: &[Id],
        from: Origin,
        problems: &mut Vec<Error>,
    ) -> Result<Notes, Error> {
        let mut notes = Notes::default();
        for name in listed.iter().copied() {
            match self.load_note(&name, from) {
                Ok(note) => notes.add(name, note),
                // Removed meanwhile, with its snapshot.
                Err(error) if error.is_damage() && !self.backend_has(Kind::Notes, &name)? => {}
                Err(error) if error.is_damage() => {
                    let unsupported = matches!(error, Error::Unsupported { .. });
                    notes.unreadable.push((name, unsupported));
                    problems.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(notes)
    }

    pub(super) fn load_note(&self, name: &Id, from: Origin) -> Result<Note, Error> {
        let object = self.small_object(Kind::Notes, name, from)?;
        note::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Notes, &name.to_string(), error))
    }

    /// A small object that is named by its hash, from the cache where it has it.
    pub(super) fn small_object(&self, kind: Kind, name: &Id, from: Origin) -> Result<Vec<u8>, Error> {
        let number = kind.number();
        let cached =
            if from == Origin::Cache { self.index.cached_object(number, name).ok().flatten() } else { None };
        if let Some(object) = cached.filter(|object| crate::crypto::object_name(object) == *name) {
            return Ok(object);
        }
        let object = get_named(&*self.backend, kind, name)?;
        let _ = self.index.cache_object(number, name, &object);
        Ok(object)
    }

    /// Writes a note on a snapshot, which takes the place of those of the same kind that were loaded, and adds it to them.
    /// `time` is the storage's; `texts` are tags or a description.
    ///
    /// Anything may be noted of any snapshot; whether it should be is for the caller to judge.
    pub fn put_note(
        &self,
        notes: &mut Notes,
        snapshot: &Id,
        verb: Verb,
        texts: &[String],
        time: Time,
    ) -> Result<Id, Error> {
        self.put_note_linked(notes, snapshot, verb, texts, time, Link::default())
    }

    /// Writes the note that stays of a snapshot that is removed for good.
    pub fn put_removed(&self, notes: &mut Notes, snapshot: &Id, link: Link, time: Time) -> Result<Id, Error> {
        self.put_note_linked(notes, snapshot, Verb::Removed, &[], time, link)
    }

    /// Removes a forgotten snapshot for good: a note of it stays.
    pub fn remove_snapshot(&self, name: &Id, link: Link) -> Result<(), Error> {
        let mut notes = self.notes(Origin::Cache, &mut Vec::new())?;
        if !notes.is_removed(name) {
            self.put_removed(&mut notes, name, link, self.storage_time()?)?;
        }
        self.remove_rest(name)
    }

    /// Removes what is left of a snapshot that a note says is removed.
    pub fn remove_rest(&self, name: &Id) -> Result<(), Error> {
        let notes = self.notes(Origin::Cache, &mut Vec::new())?;
        let kept = |note: &Note| note.verb == Verb::Removed;
        let others =
            notes.of(name).iter().filter(|(_, note)| !kept(note)).map(|(other, _)| (Kind::Notes, *other));
        for (kind, object) in [(Kind::Confirmed, *name), (Kind::Snapshots, *name)].into_iter().chain(others) {
            self.remove_object(kind, &object)?;
            let _ = self.index.drop_cached_objects(kind.number(), &[object]);
        }
        Ok(())
    }

    fn put_note_linked(
        &self,
        notes: &mut Notes,
        snapshot: &Id,
        verb: Verb,
        texts: &[String],
        time: Time,
        link: Link,
    ) -> Result<Id, Error> {
        let client = self.client()?;
        let remembered = self.index.fact(SEQUENCE_FACT).ok().flatten();
        let remembered = remembered.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let own = notes.of.values().flatten().filter(|(_, note)| note.client == client);
        let highest = own.map(|(_, note)| note.sequence).max().unwrap_or(0);
        let sequence = highest.max(remembered).saturating_add(1);
        let read = notes.read_by(snapshot, verb, texts);
        let note =
            Note { snapshot: *snapshot, verb, texts: texts.to_vec(), time, client, sequence, link, read };
        let object = note::encode(&self.keys, &note).map_err(|error| Error::format("the new note", error))?;
        let name = put_named(&*self.backend, Kind::Notes, &object)?;
        // The cache is only a help.
        let _ = self.index.set_fact(SEQUENCE_FACT, &sequence.to_le_bytes());
        let _ = self.index.cache_object(Kind::Notes.number(), &name, &object);
        notes.add(name, note);
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id([number; 32])
    }

    /// Notes on snapshot 0: name, verb, texts, names read.
    fn standing(notes: &[(u8, Verb, &[&str], &[u8])]) -> Standing {
        let mut all = Notes::default();
        for (name, verb, texts, read) in notes {
            let note = Note {
                snapshot: id(0),
                verb: *verb,
                texts: texts.iter().map(|text| (*text).to_owned()).collect(),
                time: Time::new(i64::from(*name), 0),
                client: Default::default(),
                sequence: 0,
                link: Link::default(),
                read: read.iter().map(|name| id(*name)).collect(),
            };
            all.add(id(*name), note);
        }
        let tags = vec!["own".to_owned(), "other".to_owned()];
        let snapshot = Snapshot { tags, description: "first".to_owned(), ..Snapshot::default() };
        all.standing(&id(0), &snapshot)
    }

    #[test]
    fn the_last_word_counts_whatever_the_time_and_the_safe_one_of_two() {
        use Verb::{Forget, Protect, Undelete, Unprotect};
        let forgotten = |notes: &[(u8, Verb, &[&str], &[u8])]| standing(notes).forgotten;
        assert_eq!(forgotten(&[]), None);
        assert_eq!(forgotten(&[(5, Forget, &[], &[])]), Some(Time::new(5, 0)));
        assert_eq!(forgotten(&[(5, Forget, &[], &[]), (4, Undelete, &[], &[5])]), None);
        let again = [(5, Forget, &[][..], &[][..]), (4, Undelete, &[], &[5]), (3, Forget, &[], &[4, 5])];
        assert_eq!(forgotten(&again), Some(Time::new(3, 0)));
        // Neither has read the other.
        assert_eq!(forgotten(&[(5, Forget, &[], &[1]), (4, Undelete, &[], &[1])]), None);
        assert_eq!(forgotten(&[(5, Forget, &[], &[]), (6, Forget, &[], &[])]), Some(Time::new(6, 0)));
        // One of another group does not take its place, whatever it has read.
        assert_eq!(forgotten(&[(5, Forget, &[], &[]), (4, Unprotect, &[], &[5])]), Some(Time::new(5, 0)));
        let both = standing(&[(5, Forget, &[], &[]), (6, Protect, &[], &[])]);
        assert!(both.protected && both.held && both.forgotten.is_none());
        let ended = standing(&[(6, Protect, &[], &[]), (7, Unprotect, &[], &[6])]);
        assert!(!ended.protected && !ended.held);
        assert!(standing(&[(6, Protect, &[], &[]), (7, Unprotect, &[], &[])]).protected);
        assert!(standing(&[(8, Verb::Removed, &[], &[])]).removed);
    }

    #[test]
    fn each_tag_is_a_matter_of_its_own() {
        use Verb::{AddTags, RemoveTags};
        assert_eq!(standing(&[(1, AddTags, &["b", "a", "own"], &[])]).tags, ["own", "other", "a", "b"]);
        assert_eq!(standing(&[(1, RemoveTags, &["own", "x"], &[])]).tags, ["other"]);
        // The second has read the first, and speaks of one of its tags.
        let notes = [(1, AddTags, &["a", "b"][..], &[][..]), (2, RemoveTags, &["a"], &[1])];
        assert_eq!(standing(&notes).tags, ["own", "other", "b"]);
        let unread = [(1, AddTags, &["own"][..], &[][..]), (2, RemoveTags, &["own"], &[])];
        assert_eq!(standing(&unread).tags, ["own", "other"]);
    }

    fn one(
        name: u8,
        text: &'static [&'static str],
        read: &'static [u8],
    ) -> (u8, Verb, &'static [&'static str], &'static [u8]) {
        (name, Verb::Describe, text, read)
    }

    #[test]
    fn of_two_descriptions_the_first_in_order_counts() {
        assert_eq!(standing(&[]).description, "first");
        assert_eq!(standing(&[one(1, &["b"], &[]), one(2, &["a"], &[])]).description, "a");
        assert_eq!(standing(&[one(1, &["a"], &[]), one(2, &["b"], &[1])]).description, "b");
        assert_eq!(standing(&[one(1, &[""], &[])]).description, "");
    }
}
