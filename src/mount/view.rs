//! Which snapshots are shown, and under which names: the time at which each was made, with the beginning of its id where two would be
//! called the same.

use std::collections::{BTreeMap, HashMap};

use crate::format::limits::NAME_MAX;
use crate::model::{Id, Time};
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::time;

/// A snapshot as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub name: Id,
    /// Its folder's name.
    pub label: Vec<u8>,
    /// The first page of its root.
    pub tree: Id,
    pub time: Time,
    /// A repair wrote it, and marked in it what is lost.
    pub is_repaired: bool,
}

/// All snapshots that are shown, oldest first.
#[derive(Debug, Default)]
pub struct View {
    pub snapshots: Vec<std::sync::Arc<Shown>>,
    /// The same as they were read.
    pub list: Vec<Named>,
    /// Places of the snapshots of each host, under a name that a folder can have.
    pub hosts: BTreeMap<Vec<u8>, Vec<usize>>,
    pub tags: BTreeMap<Vec<u8>, Vec<usize>>,
    /// The newest snapshot of the host that is meant.
    pub latest: Option<usize>,
}

/// A snapshot's time as a name.
pub fn label(time: Time) -> String {
    time::show(time).replace(' ', "T").replace(':', "-")
}

/// A text as the name of a folder: what no name can be is written as `%` and two digits. None when it is too long for one.
fn folder_name(text: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    for byte in text {
        match byte {
            b'/' => name.extend(b"%2F"),
            0 => name.extend(b"%00"),
            byte => name.push(*byte),
        }
    }
    match name.as_slice() {
        b"" => name = b"%".to_vec(),
        b"." => name = b"%2E".to_vec(),
        b".." => name = b"%2E%2E".to_vec(),
        _ => {}
    }
    (name.len() <= NAME_MAX).then_some(name)
}

impl View {
    /// What is shown of these snapshots; `host` is the one whose newest is `latest`.
    pub fn new(all: &Snapshots, host: &[u8], is_own: bool) -> View {
        View::of(&all.confirmed, host, is_own)
    }

    fn of(list: &[Named], host: &[u8], is_own: bool) -> View {
        let mut view = View { list: list.to_vec(), ..View::default() };
        let mut labels: HashMap<String, usize> = HashMap::new();
        for named in list {
            *labels.entry(label(named.snapshot.time)).or_default() += 1;
        }
        let mut shorts: HashMap<(String, String), usize> = HashMap::new();
        for named in list {
            *shorts.entry((label(named.snapshot.time), named.name.short())).or_default() += 1;
        }
        for (place, named) in list.iter().enumerate() {
            let (mut label, short) = (label(named.snapshot.time), named.name.short());
            if labels.get(&label).is_some_and(|count| *count > 1) {
                let alike = shorts.get(&(label.clone(), short.clone())).is_some_and(|count| *count > 1);
                label = format!("{label}-{}", if alike { named.name.to_string() } else { short });
            }
            let shown = Shown {
                name: named.name,
                label: label.into_bytes(),
                tree: named.snapshot.root,
                time: named.snapshot.time,
                is_repaired: named.snapshot.stands_for.is_some(),
            };
            view.snapshots.push(shown.into());
            if let Some(name) = folder_name(&named.snapshot.host) {
                view.hosts.entry(name).or_default().push(place);
            }
            for tag in &named.standing.tags {
                if let Some(name) = folder_name(tag.as_bytes()) {
                    let places = view.tags.entry(name).or_default();
                    if places.last() != Some(&place) {
                        places.push(place);
                    }
                }
            }
        }
        view.latest = list.iter().rposition(|named| named.snapshot.host == host);
        // A new machine in the place of the one that is gone, as everywhere.
        if view.latest.is_none() && is_own && view.hosts.len() == 1 {
            view.latest = list.len().checked_sub(1);
        }
        view
    }

    /// The newest of these snapshots.
    pub fn newest(&self, places: &[usize]) -> Option<&Shown> {
        places.last().and_then(|place| self.snapshots.get(*place)).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Snapshot;
    use crate::repository::notes::Standing;

    fn named(id: u8, seconds: i64, host: &str, tags: &[&str]) -> Named {
        let standing =
            Standing { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Standing::default() };
        let snapshot =
            Snapshot { time: Time::new(seconds, 5), host: host.as_bytes().to_vec(), ..Snapshot::default() };
        Named { name: Id([id; 32]), snapshot, confirmed: None, standing }
    }

    fn labels(view: &View, places: &[usize]) -> Vec<String> {
        let label = |place: &usize| String::from_utf8(view.snapshots[*place].label.clone()).unwrap();
        places.iter().map(label).collect()
    }

    #[test]
    fn names_are_times_and_ids_tell_apart_what_would_be_called_the_same() {
        let list = [
            named(0x11, 1_000_000_000, "a", &["x", "y/z"]),
            named(0x22, 1_000_000_000, "b", &["x"]),
            named(0x33, 1_000_000_001, "a", &[]),
        ];
        let view = View::of(&list, b"a", true);
        let first = label(Time::new(1_000_000_000, 0));
        assert_eq!(first.len(), "2026-11-03T14-05-09".len());
        assert!(!first.contains([' ', ':', '/']), "{first}");
        let expected =
            [format!("{first}-11111111"), format!("{first}-22222222"), label(Time::new(1_000_000_001, 0))];
        assert_eq!(labels(&view, &[0, 1, 2]), expected);
        assert_eq!(view.hosts.keys().map(Vec::as_slice).collect::<Vec<_>>(), [&b"a"[..], b"b"]);
        assert_eq!(view.hosts[&b"a"[..]], [0, 2]);
        assert_eq!(view.tags[&b"x"[..]], [0, 1]);
        assert_eq!(view.tags[&b"y%2Fz"[..]], [0]);
        assert_eq!(view.latest, Some(2));
        assert_eq!(View::of(&list, b"b", true).latest, Some(1));
        assert_eq!(View::of(&list, b"c", true).latest, None);
    }

    #[test]
    fn two_snapshots_that_only_a_whole_id_tells_apart_have_whole_ids() {
        let mut list = [named(0x11, 5, "a", &[]), named(0x11, 5, "a", &[])];
        list[1].name.0[31] = 0;
        let view = View::of(&list, b"a", true);
        let labels = labels(&view, &[0, 1]);
        assert!(labels[0].ends_with(&list[0].name.to_string()) && labels[0] != labels[1], "{labels:?}");
    }

    #[test]
    fn a_host_that_has_none_takes_the_newest_of_the_only_one_that_has_unless_it_was_asked_for() {
        let list = [named(1, 5, "gone", &[]), named(2, 6, "gone", &[])];
        assert_eq!(View::of(&list, b"new", true).latest, Some(1));
        assert_eq!(View::of(&list, b"new", false).latest, None);
        assert_eq!(View::of(&[], b"new", true).latest, None);
    }

    #[test]
    fn what_no_folder_can_be_called_is_written_otherwise() {
        for (text, name) in
            [("", "%"), (".", "%2E"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("...", "..."), ("a b", "a b")]
        {
            assert_eq!(folder_name(text.as_bytes()).unwrap(), name.as_bytes(), "{text}");
        }
        assert_eq!(folder_name(&[b'x'; NAME_MAX + 1]), None);
        assert_eq!(folder_name(&[0xff, b'\n']).unwrap(), [0xff, b'\n']);
    }
}
