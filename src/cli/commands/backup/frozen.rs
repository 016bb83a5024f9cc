//! `--fs-snapshot`: the file systems of the sources are frozen, and read in the place of the live ones.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::backup::{Options, StandIn};
use crate::cli::arguments::{Backup, FsSnapshot};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::listener::Show;
use crate::freeze::{self, Demand, Frozen, Kind, Request, mounts};
use crate::model::clock::Clock;
use crate::progress::{Event, Listener};
use crate::terminal::size::show_count;

/// Removes what killed runs left, whatever is asked for now.
pub fn clean(context: &Context<'_>) {
    let Ok(state) = context.defaults.state_folder() else { return };
    let (removed, problems) = freeze::clean(&freeze::folder_of(&state));
    if removed > 0 {
        context.say(&format!(
            "removed what a killed run left: {}",
            show_count(removed as u64, "file-system snapshot")
        ));
    }
    problems.iter().for_each(|problem| context.warn(problem));
}

/// Freezes what was asked for, and has the backup read it.
pub fn freeze(
    context: &Context<'_>,
    wanted: &Backup,
    options: &mut Options,
    show: &Show<'_>,
) -> Result<Option<Frozen>, Failure> {
    let demand = match wanted.fs_snapshot {
        FsSnapshot::Off => return Ok(None),
        FsSnapshot::Auto => Demand::Any,
        FsSnapshot::Btrfs => Demand::Only(Kind::Btrfs),
        FsSnapshot::Lvm => Demand::Only(Kind::Lvm),
        FsSnapshot::Zfs => Demand::Only(Kind::Zfs),
    };
    if options.dry_run {
        show.event(Event::Note("a dry run: no snapshot of a file system is made"));
        return Ok(None);
    }
    let as_of = context.clock.now();
    let sources: Vec<PathBuf> =
        options.sources.iter().map(|source| PathBuf::from(OsString::from_vec(source.clone()))).collect();
    let list = match (context.environment)("COPAL_TEST_MOUNTS") {
        Some(file) => std::fs::read(file).map(|list| mounts::read(&list)),
        None => mounts::around(&sources),
    };
    let list = list.map_err(|error| Failure::new(Code::Failed, format!("the list of mounts: {error}")))?;
    let records = freeze::folder_of(&context.defaults.state_folder()?);
    let excludes = &options.excludes;
    let request = Request {
        demand,
        sources: &sources,
        mounts: &list,
        is_wanted: &|path| !excludes.excluded(path.as_os_str().as_bytes(), true),
        one_file_system: options.one_file_system,
        records: &records,
    };
    let frozen = freeze::freeze(&request).map_err(|why| {
        Failure::new(Code::Failed, why)
            .with_hint("Nothing was saved. --fs-snapshot auto goes on without where none can be had.")
    })?;
    frozen.told.iter().for_each(|line| show.event(Event::Note(line)));
    for point in &frozen.points {
        let path = point.path.as_os_str().as_bytes().to_vec();
        options.stand_ins.push(StandIn {
            path,
            folder: point.folder.clone(),
            as_of: point.is_frozen.then_some(as_of),
        });
    }
    options.own = own(&options.own, &frozen, &records);
    Ok(Some(frozen))
}

/// What is copal's own: also as it is seen in the snapshots, and what is mounted for it.
fn own(own: &HashSet<(u64, u64)>, frozen: &Frozen, records: &Path) -> HashSet<(u64, u64)> {
    let mut all = own.clone();
    let about = |path: &Path| std::fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    all.extend(about(records));
    for point in frozen.points.iter().filter(|point| point.is_frozen) {
        if let (Some(live), Some(now)) = (about(&point.path), about(&point.folder)) {
            let inside: Vec<_> = all.iter().filter(|(device, _)| *device == live.0).collect();
            let inside: Vec<_> = inside.into_iter().map(|(_, inode)| (now.0, *inode)).collect();
            all.extend(inside);
        }
    }
    all
}

/// Gives the snapshots up.
pub fn release(context: &Context<'_>, frozen: Option<Frozen>) {
    for problem in frozen.map(Frozen::release).unwrap_or_default() {
        context.warn(&format!("{problem}; the next backup tries again"));
    }
}
