//! The objects that lie in folders of the server's, by their kinds.

use super::packet::Listed;
use super::session::Session;
use super::{Sftp, list};
use crate::backend::kind::is_hex;
use crate::backend::ssh::link::Trouble;
use crate::backend::{Entry, Kind};

/// Whether that is the name of an object of that kind, which lies in that folder.
fn is_of(kind: Kind, listed: &Listed, folder: &str) -> bool {
    let name = std::str::from_utf8(&listed.name).unwrap_or_default();
    kind.is_name(name) && kind.folder_of(name) == folder
}

impl Sftp {
    /// The objects of a kind that lie in these folders.
    pub(super) fn entries(
        &self,
        session: &Session,
        kind: Kind,
        folders: &[String],
    ) -> Result<Vec<Entry>, Trouble> {
        let paths: Vec<_> = folders.iter().map(|folder| self.both(folder)).collect();
        let mut found: Vec<Listed> = Vec::new();
        list::folders(session, &paths, &mut |place, listed| {
            if is_of(kind, &listed, &folders[place]) {
                found.push(listed);
            }
        })?;
        self.completed(session, kind, found)
    }

    /// What was listed of a kind, as entries.
    fn completed(&self, session: &Session, kind: Kind, found: Vec<Listed>) -> Result<Vec<Entry>, Trouble> {
        let name_of = |listed: &Listed| String::from_utf8_lossy(&listed.name).into_owned();
        let found = list::complete(session, found, &|listed| self.both(&kind.path_of(&name_of(listed))))?;
        Ok((found.iter())
            .filter_map(|listed| Some(Entry { name: name_of(listed), size: listed.attributes.length()? }))
            .collect())
    }

    /// Those folders below `packs/` that may hold packs.
    pub(super) fn pack_folders(&self, session: &Session) -> Result<Vec<String>, Trouble> {
        let above = Kind::Packs.folder();
        let mut folders = Vec::new();
        list::folders(session, &[self.both(above)], &mut |_, listed| {
            let is_ours = listed.name.len() == 2 && listed.name.iter().copied().all(is_hex);
            if is_ours && listed.attributes.length().is_none() {
                folders.push(format!("{above}/{}", String::from_utf8_lossy(&listed.name)));
            }
        })?;
        Ok(folders)
    }

    /// The objects of several kinds that lie in one folder each, each kind listed after those before it.
    pub(super) fn entries_of_kinds(
        &self,
        session: &Session,
        kinds: &[Kind],
    ) -> Result<Vec<Vec<Entry>>, Trouble> {
        let paths: Vec<_> = kinds.iter().map(|kind| self.both(kind.folder())).collect();
        let mut found: Vec<Vec<Listed>> = vec![Vec::new(); kinds.len()];
        let mut take = |place: usize, listed: Listed| {
            if is_of(kinds[place], &listed, kinds[place].folder()) {
                found[place].push(listed);
            }
        };
        match session.is_ordered() {
            true => list::in_order(session, &paths, &mut take)?,
            false => (0..paths.len()).try_for_each(|place| {
                list::folders(session, &paths[place..=place], &mut |_, listed| take(place, listed))
            })?,
        }
        let found = kinds.iter().zip(found);
        found.map(|(kind, found)| self.completed(session, *kind, found)).collect()
    }
}
