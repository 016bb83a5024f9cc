//! Which file systems hold the sources, and which of them are frozen; what lies below on others is read as it is, or frozen too.

use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};
use super::record::Record;
use super::{Frozen, Kind, Point};
use crate::terminal::escape::escape;

/// How much a snapshot is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Where it can be had.
    Any,
    /// Of the file system of every source, by that kind.
    Only(Kind),
}

/// What is to be frozen.
pub struct Request<'a> {
    pub demand: Demand,
    pub sources: &'a [PathBuf],
    pub mounts: &'a [Mount],
    /// Whether anything below a folder may be wanted.
    pub is_wanted: &'a dyn Fn(&Path) -> bool,
    /// Other file systems below a source are not part of it.
    pub one_file_system: bool,
    /// Where it is written down what was made.
    pub records: &'a Path,
}

/// Work that is going on.
struct Freezing<'a> {
    request: &'a Request<'a>,
    frozen: Frozen,
    /// Folders that are in none of the snapshots above them, with what they are mounted by.
    left_out: Vec<(Mount, PathBuf)>,
}

/// Whether that is a snapshot of this run or another one: `.copal-`, an id, a number.
fn is_of_a_run(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts: Vec<&str> = name.split('-').collect();
    matches!(parts[..], [".copal", id, number] if id.len() == 16
        && id.bytes().chain(number.bytes()).all(|byte| byte.is_ascii_hexdigit()))
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// Freezes. Errors: words, when what was demanded can not be had; then nothing of it is left.
pub fn freeze(request: &Request<'_>) -> Result<Frozen, String> {
    let frozen = Frozen { points: Vec::new(), told: Vec::new(), record: None };
    let mut work = Freezing { request, frozen, left_out: Vec::new() };
    let mut met = std::collections::HashSet::new();
    for source in request.sources {
        let mount = mounts::of(request.mounts, source);
        match mount
            .ok_or_else(|| "nothing says what is mounted there".to_owned())
            .and_then(|mount| work.one(mount, source))
        {
            Ok(()) => {}
            Err(why) => match request.demand {
                // Once for each file system.
                Demand::Any => {
                    if !met.insert(mount.map(|mount| &mount.point)) {
                        continue;
                    }
                    let shown = shown(source);
                    let told =
                        format!("no snapshot of the file system of {shown}: {why}; it is read as it is");
                    work.frozen.told.push(told);
                }
                Demand::Only(kind) => {
                    return Err(format!(
                        "no {} snapshot of the file system of {}: {why}",
                        kind.name(),
                        shown(source)
                    ));
                }
            },
        }
    }
    work.below();
    Ok(work.frozen)
}

impl Freezing<'_> {
    /// Makes a snapshot that holds that path, unless there is one.
    fn one(&mut self, mount: &Mount, path: &Path) -> Result<(), String> {
        let kind = Kind::of(mount)
            .ok_or_else(|| format!("{} on {} makes none", mount.kind, shown(&mount.source)))?;
        if let Demand::Only(wanted) = self.request.demand
            && wanted != kind
        {
            return Err(format!("it is of the kind {}", kind.name()));
        }
        let root = kind.maker().root(mount, path)?;
        if self.frozen.points.iter().any(|point| point.path == root) {
            return Ok(());
        }
        let record = match &mut self.frozen.record {
            Some(record) => record,
            None => {
                let begun = Record::begin(self.request.records);
                self.frozen.record.insert(begun.map_err(|error| {
                    format!("it can not be written down in {}: {error}", shown(self.request.records))
                })?)
            }
        };
        let (name, place) = record.next();
        let made = kind.maker().name(mount, &root, &name, &place)?;
        record.add(made.clone()).map_err(|error| format!("it can not be written down: {error}"))?;
        let left_out = kind.maker().left_out(&root)?;
        let folder = kind.maker().make(mount, &root, &made)?;
        self.left_out.extend(left_out.into_iter().map(|path| (mount.clone(), path)));
        self.frozen.points.push(Point { path: root, folder, is_frozen: true });
        Ok(())
    }

    /// What lies below a source and in no snapshot: other mounts, and subvolumes.
    fn below(&mut self) {
        let request = self.request;
        let is_met = |path: &Path| {
            request.sources.iter().any(|source| path.starts_with(source)) && (request.is_wanted)(path)
        };
        for mount in request.mounts.iter().filter(|mount| is_met(&mount.point)) {
            self.another(mount, &mount.point);
        }
        // Each may have more below it.
        while let Some((mount, path)) = self.left_out.pop() {
            if is_met(&path) && !is_of_a_run(&path) {
                self.another(&mount, &path);
            }
        }
    }

    /// Another file system below a source: frozen where that can be had, else read as it is, which must be said of the place, since the
    /// snapshot around it has only an empty folder there.
    fn another(&mut self, mount: &Mount, path: &Path) {
        if self.frozen.points.iter().any(|point| point.path == path) {
            return;
        }
        if !path.exists() {
            return;
        }
        if !path.is_dir() {
            let told = format!("what is mounted over the file {} is not saved, but that file", shown(path));
            self.frozen.told.push(told);
            return;
        }
        let is_tried = !self.request.one_file_system && Kind::of(mount).is_some();
        let made = if is_tried { self.one(mount, path) } else { Err(String::new()) };
        if made.is_ok() && self.frozen.points.iter().any(|point| point.path == path) {
            return;
        }
        if let (true, Err(why)) = (is_tried, made) {
            self.frozen.told.push(format!("no snapshot of {}: {why}; it is read as it is", shown(path)));
        }
        self.frozen.points.push(Point {
            path: path.to_path_buf(),
            folder: path.to_path_buf(),
            is_frozen: false,
        });
    }
}
