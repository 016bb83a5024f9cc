//! Pages of names: which path has which number. A page holds the names of `PER_PAGE` numbers that follow each other, each with the number
//! of its parent.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::{Catalogue, PathNumber, ROOT};
use crate::index::Error;
use crate::locks::lock;

/// Paths of a page.
pub(super) const PER_PAGE: u32 = 1024;
/// Pages and folders' paths that `Names` keeps.
const KEPT: usize = 256;

/// Appends an entry: its parent, the length of its name, the name.
pub(super) fn append(page: &mut Vec<u8>, parent: PathNumber, name: &[u8]) {
    page.extend_from_slice(&parent.to_le_bytes());
    page.extend_from_slice(&(name.len() as u32).to_le_bytes());
    page.extend_from_slice(name);
}

/// The entries of a page.
pub(super) struct Entries<'p>(pub &'p [u8]);

impl<'p> Iterator for Entries<'p> {
    type Item = (PathNumber, &'p [u8]);

    fn next(&mut self) -> Option<(PathNumber, &'p [u8])> {
        let (parent, rest) = self.0.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some((u32::from_le_bytes(*parent), name))
    }
}

pub(super) fn page(connection: &Connection, number: u32) -> Result<Option<Vec<u8>>, Error> {
    let mut query = connection.prepare_cached("SELECT names FROM pages WHERE id = ?1")?;
    Ok(query.query_row([number], |row| row.get(0)).optional()?)
}

/// Makes paths of numbers, remembering what it looked up last.
pub struct Names<'c> {
    catalogue: &'c Catalogue,
    pages: HashMap<u32, Vec<(PathNumber, Vec<u8>)>>,
    folders: HashMap<PathNumber, Vec<u8>>,
}

impl Names<'_> {
    /// The path of that number, from the root, each name after a slash; the root's is empty.
    pub fn path(&mut self, path: PathNumber) -> Result<Vec<u8>, Error> {
        let (mut above, mut names) = (path, Vec::new());
        while above != ROOT {
            if above != path
                && let Some(known) = self.folders.get(&above)
            {
                names.push(known.clone());
                break;
            }
            let (parent, name) = self.entry(above)?;
            // Parents are numbered before what lies in them: no circle.
            if parent >= above {
                return Err(Error::Damaged("a path's parent comes after it".to_owned()));
            }
            names.push([b"/", name.as_slice()].concat());
            above = parent;
        }
        names.reverse();
        if let Some((_, folder)) = names.split_last()
            && !folder.is_empty()
            && path != ROOT
        {
            let parent = self.entry(path)?.0;
            if self.folders.len() >= KEPT * 16 {
                self.folders.clear();
            }
            self.folders.insert(parent, folder.concat());
        }
        Ok(names.concat())
    }

    /// Its parent and its name.
    pub fn entry(&mut self, path: PathNumber) -> Result<(PathNumber, Vec<u8>), Error> {
        let missing = || Error::Damaged(format!("path {path} has no name"));
        let index = path.checked_sub(1).ok_or_else(missing)?;
        let number = index / PER_PAGE;
        if !self.pages.contains_key(&number) {
            if self.pages.len() >= KEPT {
                self.pages.clear();
            }
            let bytes = page(&lock(&self.catalogue.connection), number)?.ok_or_else(missing)?;
            let entries = Entries(&bytes).map(|(parent, name)| (parent, name.to_vec())).collect();
            self.pages.insert(number, entries);
        }
        let entry = self.pages.get(&number).and_then(|page| page.get((index % PER_PAGE) as usize));
        entry.cloned().ok_or_else(missing)
    }
}

impl Catalogue {
    /// For making paths of numbers.
    pub fn names(&self) -> Names<'_> {
        Names { catalogue: self, pages: HashMap::new(), folders: HashMap::new() }
    }

    /// The number of the path of these names.
    pub fn number(&self, names: &[&[u8]]) -> Result<Option<PathNumber>, Error> {
        let connection = lock(&self.connection);
        let mut query = connection.prepare_cached("SELECT id FROM paths WHERE parent = ?1 AND name = ?2")?;
        let mut path = ROOT;
        for name in names {
            match query.query_row((path, name), |row| row.get(0)).optional()? {
                Some(found) => path = found,
                None => return Ok(None),
            }
        }
        Ok(Some(path))
    }

    /// The numbers of all paths whose last name is one that `matches`, in order.
    pub fn search(&self, mut matches: impl FnMut(&[u8]) -> bool) -> Result<Vec<PathNumber>, Error> {
        let connection = lock(&self.connection);
        let mut query = connection.prepare_cached("SELECT id, names FROM pages ORDER BY id")?;
        let mut rows = query.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let first = row.get::<_, u32>(0)? * PER_PAGE + 1;
            let page = row.get_ref(1)?.as_blob().map_err(|error| Error::Damaged(error.to_string()))?;
            for (number, (_, name)) in (first..).zip(Entries(page)) {
                if matches(name) {
                    found.push(number);
                }
            }
        }
        Ok(found)
    }
}
