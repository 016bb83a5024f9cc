//! What is wrong: told, and held back until it is known whether it matters.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Check, Finding, Report, packs};
use crate::index::PackInfo;
use crate::locks::lock;
use crate::model::Id;
use crate::progress::Event;
use crate::repository::Error;
use crate::repository::parity::Recovered;

impl Check<'_> {
    pub(super) fn find(&self, kind: &'static str, object: String, what: String) {
        self.found(Finding { kind, object, what, is_of_later_version: false });
    }

    /// What an error tells: damage, or something of a later version.
    pub(super) fn find_error(&self, kind: &'static str, object: String, error: &Error) {
        let is_of_later_version = error.is_of_later_version();
        self.found(Finding { kind, object, what: error.to_string(), is_of_later_version });
    }

    pub(super) fn found(&self, finding: Finding) {
        let Finding { kind, object, what, is_of_later_version } = &finding;
        self.listener.event(Event::Problem {
            path: None,
            what: &format!("{kind} {object}: {what}"),
            code: if *is_of_later_version { "unsupported" } else { "damaged" },
            during: "check",
        });
        lock(&self.findings).push(finding);
    }

    /// Something is wrong with a pack.
    pub(super) fn find_pack(&self, pack: Id, what: String) {
        let finding = Finding { kind: "pack", object: pack.to_string(), what, is_of_later_version: false };
        let (found, mut all) = ((pack, finding), lock(&self.pack_findings));
        // Whoever reads packs and whoever walks snapshots may meet it at the same time.
        if !all.contains(&found) {
            all.push(found);
        }
    }

    /// Tells what is wrong with packs, and counts those that were found before and from which nothing is needed any more. What is below
    /// damage is not known, so where there is any, all of them may be needed.
    pub(super) fn tell_packs(&self, report: &mut Report) {
        let all = lock(&self.findings).iter().any(|finding| !finding.is_of_later_version);
        let known = self.repository.known_damaged();
        let needed = std::mem::take(&mut *lock(&self.needed_packs));
        let mut unneeded = HashSet::new();
        for (pack, finding) in std::mem::take(&mut *lock(&self.pack_findings)) {
            if all || needed.contains(&pack) || !known.contains(&pack) {
                self.found(finding);
            } else {
                unneeded.insert(pack);
            }
        }
        report.unneeded_packs = unneeded.len() as u64;
    }

    pub(super) fn bad_pack(&self, name: Id) {
        lock(&self.bad_packs).insert(name);
    }

    /// A pack that is not what its name says. Whether its recovery data brings it back is told along.
    pub(super) fn find_bad_pack(&self, name: Id, what: String) -> Result<(), Error> {
        self.bad_pack(name);
        let is_on = self.repository.config.parity_per_mille > 0;
        let what = match self.with_parity.contains(&name) {
            true => {
                match self.recovered(name)? {
                    // It is the index that says otherwise, or the storage gives it now or to others.
                    None | Some(Recovered::Whole(_)) => what,
                    Some(other) => format!("{what}; {}", other.words()),
                }
            }
            false if is_on => format!("{what}; {}", Recovered::Without.words()),
            false => what,
        };
        self.find_pack(name, what);
        Ok(())
    }

    /// What recovery data makes of a pack, which is remembered; none when this user may not read it.
    fn recovered(&self, name: Id) -> Result<Option<Recovered>, Error> {
        let recovered = match self.repository.recover(&name) {
            Err(error) if error.is_forbidden() => None,
            other => Some(other?),
        };
        let is_mendable = matches!(recovered, Some(Recovered::Mended(_)));
        lock(&self.mendable).insert(name, is_mendable);
        Ok(recovered)
    }

    /// Whether recovery data brings back a pack that is called damaged. One that was not looked at before is told of then.
    pub(super) fn is_mendable(&self, name: &Id) -> Result<bool, Error> {
        if !self.with_parity.contains(name) {
            return Ok(false);
        }
        if let Some(known) = lock(&self.mendable).get(name) {
            return Ok(*known);
        }
        let recovered = self.recovered(*name)?;
        if let Some(mended @ Recovered::Mended(_)) = recovered {
            self.bad_pack(*name);
            self.find_pack(*name, format!("{}; {}", packs::SPOILED, mended.words()));
            return Ok(true);
        }
        Ok(false)
    }

    pub(super) fn unread_pack(&self, name: Id, forbidden: bool) {
        lock(&self.unread).insert(name, forbidden);
    }

    /// Tells of what was wrong only once.
    pub(super) fn note_passed(&self, pack: &Id, what: &str) {
        let text = format!(
            "pack {}: {what}; read again it is as it was stored, so the storage or the way to it is not to be trusted",
            pack.short()
        );
        self.listener.event(Event::Note(&text));
    }

    /// Packs that are to be written down as damaged. One that may not be read by this user is not, nor one that could not be read for a
    /// while: a record of damage stays, and who reads it stores all of that again.
    pub(super) fn damaged_packs(&self, all: &[Arc<PackInfo>]) -> Result<Vec<Id>, Error> {
        let unread = std::mem::take(&mut *lock(&self.unread));
        for pack in all {
            match unread.get(&pack.name) {
                None => continue,
                Some(true) => {}
                Some(false) if self.is_sound_now(pack)? => {
                    self.note_passed(&pack.name, "it could not be read for a while");
                }
                Some(false) => continue,
            }
            lock(&self.bad_packs).remove(&pack.name);
        }
        let mut names: Vec<Id> = lock(&self.bad_packs).iter().copied().collect();
        names.sort_unstable();
        Ok(names)
    }
}
