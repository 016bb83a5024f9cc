//! What to back up, as a tree of names from `/` down: folders on the way to a source hold only what leads there.

use std::collections::BTreeMap;

/// A folder on the way to sources, or a source itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Everything here and below is wanted.
    pub whole: bool,
    /// Names that lead to sources; empty when `whole`.
    pub below: BTreeMap<Vec<u8>, Way>,
}

/// The single names of an absolute path; `.` and empty ones are left out.
pub fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect()
}

/// The way from `/` to all sources, which are absolute paths without `..`. A source inside another one adds nothing.
pub fn ways(sources: &[Vec<u8>]) -> Way {
    let mut root = Way::default();
    for source in sources {
        let mut way = &mut root;
        for name in components(source) {
            if way.whole {
                break;
            }
            way = way.below.entry(name.to_vec()).or_default();
        }
        way.whole = true;
        way.below.clear();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_inside_another_adds_nothing() {
        let one = ways(&[b"/a/b".to_vec(), b"/a/b/c".to_vec(), b"/d".to_vec()]);
        let other = ways(&[b"/a/b/c/".to_vec(), b"/d".to_vec(), b"//a/./b".to_vec()]);
        assert_eq!(one, other);
        assert!(one.below[&b"a"[..]].below[&b"b"[..]].whole);
        assert!(!one.below[&b"a"[..]].whole);
        assert!(ways(&[b"/".to_vec(), b"/x".to_vec()]).whole);
    }
}
