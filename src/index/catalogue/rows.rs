//! Reading what is known of paths.

use rusqlite::{Connection, Row as SqlRow};

use super::{Catalogue, Child, Facts, OPEN, PathNumber, Row, kind_of};
use crate::index::Error;
use crate::locks::lock;
use crate::model::Time;

fn row_of(row: &SqlRow<'_>) -> Result<Row, Error> {
    Ok(Row {
        lane: row.get(0)?,
        first: row.get(1)?,
        last: row.get(2)?,
        facts: Facts {
            kind: kind_of(row.get(3)?)?,
            size: row.get::<_, i64>(4)? as u64,
            mtime: Time { seconds: row.get(5)?, nanos: row.get(6)? },
            content: row.get(7)?,
            node: row.get(8)?,
        },
        origin: row.get(9)?,
    })
}

impl Catalogue {
    /// All rows of a path: by lane, oldest first.
    pub fn rows(&self, path: PathNumber) -> Result<Vec<Row>, Error> {
        let connection = lock(&self.connection);
        let mut query = connection.prepare_cached(
            "SELECT lane, first, last, kind, size, seconds, nanos, content, node, origin FROM versions WHERE path = ?1
             ORDER BY lane, last",
        )?;
        let mut rows = query.query([path])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(row_of(row)?);
        }
        Ok(found)
    }

    /// The names that were ever known in a folder behind `after`, in order, at most so many, each with the number of its path.
    pub fn below(
        &self,
        folder: PathNumber,
        after: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, PathNumber)>, Error> {
        let connection = lock(&self.connection);
        let mut query = connection.prepare_cached(
            "SELECT name, id FROM paths WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
        )?;
        let rows = query.query_map((folder, after, most as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row| Ok(row?)).collect()
    }
}

/// What is in a folder now, in order of the names.
pub(super) fn children(connection: &Connection, lane: i64, folder: PathNumber) -> Result<Vec<Child>, Error> {
    let mut query = connection.prepare_cached(
        "SELECT paths.name, paths.id, versions.kind, versions.size, versions.content, versions.node
         FROM paths CROSS JOIN versions ON versions.path = paths.id AND versions.lane = ?2 AND versions.last = ?3
         WHERE paths.parent = ?1 ORDER BY paths.name",
    )?;
    let mut rows = query.query((folder, lane, OPEN))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Child {
            name: row.get(0)?,
            path: row.get(1)?,
            kind: kind_of(row.get(2)?)?,
            size: row.get::<_, i64>(3)? as u64,
            content: row.get(4)?,
            node: row.get(5)?,
        });
    }
    Ok(found)
}
