//! Before a backup: sources that are not what they were, a clock that went wrong, a target that is nearly full. Pure.

use serde::{Deserialize, Serialize};

use super::{Alarm, CLOCK, LOW_SPACE, Limits, Numbers, SOURCE_EMPTY, SOURCE_MISSING, SOURCE_NOT_MOUNTED};
use crate::backend::Space;
use crate::model::Time;
use crate::terminal::escape::escape;
use crate::terminal::size::show_size;
use crate::terminal::time;

/// 2026-01-01: before that there was no copal, so no clock that is right says so.
const BORN: i64 = 1_767_225_600;
/// Runs that say how much one stores, and how many times the most of them must be free.
const RUNS_STORED: usize = 7;
const STORED_TIMES: u64 = 2;

/// What is found at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    Missing,
    /// A folder with nothing in it.
    Empty,
    Something,
    /// It can not be looked at; the backup tells that itself.
    Unknown,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub path: Vec<u8>,
    pub found: Found,
    /// What tells its file system from any other, where that can be told.
    #[serde(default)]
    pub file_system: Option<String>,
    /// As in the list of mounts: `ext4`.
    #[serde(default)]
    pub kind: String,
}

/// What is seen before a run; `gather` asks the system.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub places: Vec<Place>,
    /// Folders that must be mount points, and whether they are.
    pub mounts: Vec<(Vec<u8>, bool)>,
    /// Of the target; none where it does not tell.
    pub space: Option<Space>,
    pub now: Time,
}

/// What is known of the runs before.
#[derive(Clone, Debug, Default)]
pub struct Past<'a> {
    /// The sources as the last run saw them.
    pub places: &'a [Place],
    /// The time of the newest snapshot of this host that was not given by hand.
    pub newest: Option<Time>,
    /// Oldest first.
    pub history: &'a [Numbers],
}

/// What is wrong before a run.
pub fn before(seen: &Seen, past: &Past<'_>, limits: &Limits) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (path, is_mounted) in &seen.mounts {
        if !is_mounted {
            alarms.push(limits.alarm(
                SOURCE_NOT_MOUNTED,
                format!("nothing is mounted at {}", escape(path)),
                "Mount it, and run it again.",
                "To run all the same",
            ));
        }
    }
    for place in &seen.places {
        let last = past.places.iter().find(|last| last.path == place.path);
        alarms.extend(source(place, last, limits));
    }
    alarms.extend(clock(seen.now, past.newest, limits));
    alarms.extend(seen.space.and_then(|space| room(space, past.history, limits)));
    alarms
}

fn source(place: &Place, last: Option<&Place>, limits: &Limits) -> Option<Alarm> {
    let shown = escape(&place.path);
    let plug = "Plug it in or mount it, and run it again.";
    if place.found == Found::Missing {
        return Some(limits.alarm(
            SOURCE_MISSING,
            format!("the source {shown} is not there"),
            "Plug it in or mount it, or take it out of what is backed up.",
            "To run all the same",
        ));
    }
    let last = last?;
    if let (Some(now), Some(then)) = (&place.file_system, &last.file_system)
        && now != then
    {
        let kinds = match place.kind == last.kind {
            true => format!("both {}", place.kind),
            false => format!("{} now, {} then", place.kind, last.kind),
        };
        let empty = if place.found == Found::Empty { ", and empty" } else { "" };
        return Some(limits.alarm(
            SOURCE_NOT_MOUNTED,
            format!("the source {shown} is on another file system than the last time ({kinds}){empty}"),
            plug,
            "If it has moved for good",
        ));
    }
    (place.found == Found::Empty && last.found == Found::Something).then(|| {
        limits.alarm(
            SOURCE_EMPTY,
            format!("the source {shown} is empty, and was not the last time"),
            plug,
            "If it was emptied on purpose",
        )
    })
}

fn clock(now: Time, newest: Option<Time>, limits: &Limits) -> Option<Alarm> {
    let set = "Set the clock right.";
    if now.seconds < BORN {
        let what = format!("the clock says {}, when there was no copal yet", time::show(now));
        return Some(limits.alarm(CLOCK, what, set, "To run all the same"));
    }
    let newest = newest.filter(|newest| now.plus_seconds(limits.clock_seconds) < *newest)?;
    let what = format!(
        "the clock says {}, but the newest snapshot of this host is of {}",
        time::show(now),
        time::show(newest)
    );
    Some(limits.alarm(CLOCK, what, set, "If it is right, and was wrong when that snapshot was made"))
}

fn room(space: Space, history: &[Numbers], limits: &Limits) -> Option<Alarm> {
    let floor = limits.free.min((space.total as f64 * limits.free_share) as u64);
    let recent = &history[history.len().saturating_sub(RUNS_STORED)..];
    let most = recent.iter().filter(|run| !run.is_first()).map(|run| run.bytes_stored).max().unwrap_or(0);
    let needed = most.saturating_mul(STORED_TIMES);
    if space.free >= floor && space.free >= needed {
        return None;
    }
    let why = match space.free < floor {
        true => format!("less than {}", show_size(floor)),
        false => format!("and a run stored up to {} lately", show_size(most)),
    };
    Some(limits.alarm(
        LOW_SPACE,
        format!("{} are free where the repository is, {why}", show_size(space.free)),
        "Make room: copal forget with a policy, then copal prune.",
        "To run all the same",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time { seconds: BORN + 1_000_000, nanos: 0 };

    fn place(path: &str, found: Found, file_system: Option<&str>) -> Place {
        let file_system = file_system.map(str::to_owned);
        Place { path: path.into(), found, file_system, kind: "ext4".to_owned() }
    }

    fn codes(seen: &Seen, past: &Past<'_>) -> Vec<&'static str> {
        before(seen, past, &Limits::default()).iter().map(|alarm| alarm.code).collect()
    }

    fn of_places(now: Place, last: Option<Place>) -> Vec<&'static str> {
        let seen = Seen { places: vec![now], now: NOW, ..Seen::default() };
        let last: Vec<Place> = last.into_iter().collect();
        codes(&seen, &Past { places: &last, ..Past::default() })
    }

    #[test]
    fn a_source_must_be_there_and_as_full_and_where_it_was() {
        use Found::{Empty, Missing, Something, Unknown};
        let [a, b] = [Some("a"), Some("b")];
        let was = |found, system| Some(place("/s", found, system));
        assert_eq!(of_places(place("/s", Missing, None), None), [SOURCE_MISSING]);
        assert_eq!(of_places(place("/s", Missing, None), was(Something, a)), [SOURCE_MISSING]);
        assert!(of_places(place("/s", Empty, a), None).is_empty());
        assert!(of_places(place("/s", Empty, a), was(Empty, a)).is_empty());
        assert_eq!(of_places(place("/s", Empty, a), was(Something, a)), [SOURCE_EMPTY]);
        assert_eq!(of_places(place("/s", Empty, b), was(Something, a)), [SOURCE_NOT_MOUNTED]);
        assert_eq!(of_places(place("/s", Something, b), was(Something, a)), [SOURCE_NOT_MOUNTED]);
        assert!(of_places(place("/s", Something, None), was(Something, a)).is_empty());
        assert!(of_places(place("/s", Something, b), was(Something, None)).is_empty());
        assert!(of_places(place("/s", Unknown, None), was(Something, a)).is_empty());
        assert!(of_places(place("/s", Empty, b), Some(place("/t", Something, a))).is_empty());
        let mounts = vec![(b"/mnt/a".to_vec(), true), (b"/mnt/b\n".to_vec(), false)];
        let alarms =
            before(&Seen { mounts, now: NOW, ..Seen::default() }, &Past::default(), &Limits::default());
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].what, "nothing is mounted at /mnt/b\\n");
        assert_eq!(
            alarms[0].next,
            "Mount it, and run it again. To run all the same: copal run --accept source-not-mounted"
        );
    }

    #[test]
    fn a_clock_before_the_newest_snapshot_or_before_copal_is_wrong() {
        let at = |now, newest: Option<i64>| {
            let newest = newest.map(|seconds| NOW.plus_seconds(seconds));
            codes(&Seen { now, ..Seen::default() }, &Past { newest, ..Past::default() })
        };
        assert!(at(NOW, None).is_empty());
        assert!(at(NOW, Some(-400 * 86_400)).is_empty());
        assert!(at(NOW, Some(300)).is_empty());
        assert_eq!(at(NOW, Some(301)), [CLOCK]);
        assert_eq!(at(Time::new(BORN - 1, 0), None), [CLOCK]);
        assert!(at(Time::new(BORN, 0), None).is_empty());
    }

    #[test]
    fn little_room_is_told_by_a_floor_and_by_what_runs_store() {
        const GIB: u64 = 1 << 30;
        let stored =
            |bytes_stored| Numbers { files: 100, files_changed: 1, bytes_stored, ..Numbers::default() };
        let of = |total, free, history: &[Numbers]| {
            let seen = Seen { space: Some(Space { total, free }), now: NOW, ..Seen::default() };
            codes(&seen, &Past { history, ..Past::default() })
        };
        assert!(of(1000 * GIB, GIB, &[]).is_empty());
        assert_eq!(of(1000 * GIB, GIB - 1, &[]), [LOW_SPACE]);
        assert!(of(10 * GIB, GIB / 5, &[]).is_empty());
        assert_eq!(of(10 * GIB, GIB / 5 - 1, &[]), [LOW_SPACE]);
        assert_eq!(of(1000 * GIB, 3 * GIB, &[stored(2 * GIB), stored(GIB)]), [LOW_SPACE]);
        assert!(of(1000 * GIB, 4 * GIB, &[stored(2 * GIB), stored(GIB)]).is_empty());
        // The first run stored everything; and what was long ago does not count.
        let first = Numbers { files: 100, files_new: 100, bytes_stored: 500 * GIB, ..Numbers::default() };
        assert!(of(1000 * GIB, 4 * GIB, &[first, stored(GIB)]).is_empty());
        let long_ago: Vec<Numbers> = std::iter::once(stored(100 * GIB)).chain([stored(1); 7]).collect();
        assert!(of(1000 * GIB, 4 * GIB, &long_ago).is_empty());
    }
}
