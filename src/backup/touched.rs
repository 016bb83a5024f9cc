//! Hints of whoever watched the sources: the folders in which something may have happened since the backup before. What is in none of them is
//! taken over without looking; what is in doubt is walked. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sources::components;

/// Folders that are told apart; with more everything is walked, which costs less then.
const PLACES_MOST: usize = 50_000;
/// Names of a path that are told apart: a folder further down stands for all below it.
const DEPTH_MOST: usize = 256;

/// Folders in which something may have happened, with all folders above them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    top: Arc<Place>,
    places: usize,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// And in everything below it.
    whole: bool,
    below: BTreeMap<Vec<u8>, Arc<Place>>,
}

/// What is known of a folder before it is looked at.
#[derive(Clone, Debug)]
pub enum Hint {
    /// Nothing: it is walked with all that is below.
    Walk,
    /// Something happened in it, or below.
    Look(Arc<Place>),
    /// Nothing happened in it or below.
    Leave,
}

impl Hint {
    /// What is known of a folder in it.
    pub fn below(&self, name: &[u8]) -> Hint {
        match self {
            Hint::Walk => Hint::Walk,
            Hint::Leave => Hint::Leave,
            Hint::Look(place) => place.below.get(name).map_or(Hint::Leave, Hint::of),
        }
    }

    fn of(place: &Arc<Place>) -> Hint {
        if place.whole { Hint::Walk } else { Hint::Look(place.clone()) }
    }
}

impl Touched {
    /// Everything may have changed: a walk.
    pub fn everything() -> Touched {
        Touched { top: Arc::new(Place { whole: true, below: BTreeMap::new() }), places: 0 }
    }

    pub fn is_everything(&self) -> bool {
        self.top.whole
    }

    /// How many folders are named, those above others among them.
    pub fn count(&self) -> usize {
        self.places
    }

    /// What is known of `/`.
    pub fn hint(&self) -> Hint {
        Hint::of(&self.top)
    }

    /// Something happened in that folder.
    pub fn add(&mut self, path: &[u8]) {
        self.put(components(path).into_iter(), false);
    }

    /// Something may have happened in that folder, and anywhere below.
    pub fn add_whole(&mut self, path: &[u8]) {
        self.put(components(path).into_iter(), true);
    }

    /// Adds all that the other one has.
    pub fn merge(&mut self, other: &Touched) {
        let mut left = vec![(Vec::new(), &other.top)];
        while let Some((names, place)) = left.pop() {
            if place.whole || place.below.is_empty() {
                self.put(names.iter().copied(), place.whole);
            }
            for (name, below) in &place.below {
                let mut names: Vec<&[u8]> = names.clone();
                names.push(name);
                left.push((names, below));
            }
        }
    }

    fn put<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>, mut whole: bool) {
        let mut new = 0;
        let mut place = &mut self.top;
        for (depth, name) in names.enumerate() {
            if place.whole {
                return;
            }
            if depth == DEPTH_MOST {
                whole = true;
                break;
            }
            place = Arc::make_mut(place).below.entry(name.to_vec()).or_insert_with(|| {
                new += 1;
                Arc::default()
            });
        }
        let mut gone = 0;
        if whole && !place.whole {
            let place = Arc::make_mut(place);
            place.whole = true;
            gone = count(&std::mem::take(&mut place.below));
        }
        self.places = (self.places + new).saturating_sub(gone);
        if self.places > PLACES_MOST {
            *self = Touched::everything();
        }
    }
}

/// Places in a map, and below.
fn count(map: &BTreeMap<Vec<u8>, Arc<Place>>) -> usize {
    map.values().map(|place| 1 + count(&place.below)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `walk`, `look` or `leave` of a folder.
    fn told(touched: &Touched, path: &str) -> &'static str {
        let hint = components(path.as_bytes()).iter().fold(touched.hint(), |hint, name| hint.below(name));
        match hint {
            Hint::Walk => "walk",
            Hint::Look(_) => "look",
            Hint::Leave => "leave",
        }
    }

    #[test]
    fn folders_above_are_looked_at_and_others_left() {
        let mut touched = Touched::default();
        touched.add(b"/a/b");
        touched.add_whole(b"/a/c");
        let expected =
            [("/", "look"), ("/a", "look"), ("/a/b", "look"), ("/a/b/x", "leave"), ("/x/y", "leave")];
        for (path, hint) in expected.into_iter().chain([("/a/c", "walk"), ("/a/c/d/e", "walk")]) {
            assert_eq!(told(&touched, path), hint, "{path}");
        }
        assert_eq!(touched.count(), 3);
    }

    #[test]
    fn a_whole_folder_takes_in_what_was_named_below_it() {
        let mut touched = Touched::default();
        touched.add(b"/a/b/c");
        touched.add_whole(b"/a");
        touched.add(b"/a/b/d");
        assert_eq!((touched.count(), told(&touched, "/a/b")), (1, "walk"));
        touched.add_whole(b"/");
        assert!(touched.is_everything() && touched.count() == 0);
        touched.add(b"/z");
        assert_eq!(touched, Touched::everything());
    }

    #[test]
    fn merging_adds_all_of_both() {
        let (mut one, mut other) = (Touched::default(), Touched::default());
        one.add(b"/a/b");
        one.add_whole(b"/w");
        other.add(b"/a");
        other.add(b"/c/d");
        other.add_whole(b"/a/x");
        other.add(b"/w/below");
        one.merge(&other);
        let mut all = Touched::default();
        for path in [&b"/a/b"[..], b"/c/d"] {
            all.add(path);
        }
        all.add_whole(b"/a/x");
        all.add_whole(b"/w");
        assert_eq!(one, all);
        one.merge(&Touched::everything());
        assert!(one.is_everything());
    }

    #[test]
    fn too_many_and_too_deep_ones_are_walked() {
        let mut touched = Touched::default();
        touched.add("/x".repeat(100_000).as_bytes());
        assert_eq!((touched.count(), told(&touched, &"/x".repeat(DEPTH_MOST))), (DEPTH_MOST, "walk"));
        for number in 0..=PLACES_MOST {
            touched.add(format!("/{number}").as_bytes());
        }
        assert!(touched.is_everything());
    }
}
