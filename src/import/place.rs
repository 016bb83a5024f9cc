//! Where entries belong: paths of other programs as names, keys in whose order a folder comes before what is in it, and the folder that
//! relative paths are below.

use super::Error;
use crate::format::limits::DEPTH_MAX;
use crate::format::node::is_sound_name;

/// Stands in for what is not UTF-8 where a program lists names as JSON.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The names of a path, from the top down; none for the top itself.
pub fn names(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let wrong = |what: &str| Err(Error::entry(path, what));
    if path.is_empty() {
        return Err(Error::Origin("an entry without a name".to_owned()));
    }
    if path.starts_with(b"/") {
        return wrong("an absolute path");
    }
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.len() > DEPTH_MAX {
        return wrong("nested too deeply");
    }
    match names.iter().find(|name| !is_sound_name(name)) {
        Some(name) if *name == b".." => wrong("a path with .. in it"),
        Some(name) if name.contains(&0) => wrong("a name with a zero in it"),
        Some(_) => wrong("a name that is too long"),
        None => Ok(names),
    }
}

/// The key of these names: in the order of keys a folder comes right before all that is in it, and names in a folder in the order of their
/// bytes.
pub fn key<N: AsRef<[u8]>>(names: &[N]) -> Vec<u8> {
    let mut key = Vec::new();
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            key.push(0);
        }
        key.extend_from_slice(name.as_ref());
    }
    key
}

/// The names of a key.
pub fn names_of(key: &[u8]) -> Vec<&[u8]> {
    if key.is_empty() { Vec::new() } else { key.split(|byte| *byte == 0).collect() }
}

/// The path of a key, for a person.
pub fn path_of(key: &[u8]) -> Vec<u8> {
    [b"/", &*key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect::<Vec<u8>>()].concat()
}

/// A name or key as a program of Go lists it in JSON: each byte that is not UTF-8 replaced.
pub fn as_listed(name: &[u8]) -> Vec<u8> {
    let mut listed = Vec::with_capacity(name.len());
    for part in name.utf8_chunks() {
        listed.extend_from_slice(part.valid().as_bytes());
        part.invalid().iter().for_each(|_| listed.extend_from_slice(REPLACEMENT));
    }
    listed
}

/// Whether something in it was perhaps replaced.
pub fn may_be_replaced(listed: &[u8]) -> bool {
    listed.windows(REPLACEMENT.len()).any(|bytes| bytes == REPLACEMENT)
}

/// The folder below which the tree of a snapshot belongs, whose sources are known by their absolute paths. Mostly that is `/`. restic stores
/// a source that was typed as a relative path under that path, without the folder that it was relative to: the one is meant in which most of
/// the sources are found in the tree. `has` says whether the tree has an entry of these names.
pub fn folder_of_tree<E>(
    sources: &[Vec<u8>],
    mut has: impl FnMut(&[&[u8]]) -> Result<bool, E>,
) -> Result<Vec<Vec<u8>>, E> {
    let sources: Vec<Vec<&[u8]>> =
        sources.iter().map(|source| crate::backup::sources::components(source)).collect();
    let Some(first) = sources.first() else { return Ok(Vec::new()) };
    let common = |depth: usize| sources.iter().all(|source| source.get(..depth) == first.get(..depth));
    let mut best = (0, 0);
    for depth in (0..=first.len()).take_while(|depth| common(*depth)) {
        let mut found = 0;
        for source in &sources {
            // The folder itself, with what is in it at the top of the tree: only when there is nothing else to find.
            let is_itself = source.len() == depth;
            found += usize::from(if is_itself { best.0 == 0 && depth > 0 } else { has(&source[depth..])? });
        }
        if found > best.0 {
            best = (found, depth);
        }
    }
    Ok(first[..best.1].iter().map(|name| name.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(sources: &[&str], tree: &[&str]) -> String {
        let sources: Vec<Vec<u8>> = sources.iter().map(|source| source.as_bytes().to_vec()).collect();
        let found = folder_of_tree(&sources, |names| {
            Ok::<_, ()>(tree.contains(&String::from_utf8(names.join(&b'/')).unwrap().as_str()))
        });
        format!("/{}", String::from_utf8(found.unwrap().join(&b'/')).unwrap())
    }

    #[test]
    fn relative_sources_are_put_where_they_were() {
        let tree = ["home", "home/ann", "home/ann/docs"];
        assert_eq!(folder(&["/home/ann/docs"], &tree), "/");
        assert_eq!(folder(&["/home/ann/docs"], &["docs", "docs/x"]), "/home/ann");
        assert_eq!(folder(&["/home/ann/docs/x"], &["docs", "docs/x"]), "/home/ann");
        assert_eq!(
            folder(&["/home/ann/docs", "/home/ann/music/old"], &["docs", "music", "music/old"]),
            "/home/ann"
        );
        // What is in it lies at the top.
        assert_eq!(folder(&["/home/ann"], &["docs", "x"]), "/home/ann");
        // One of them was not there.
        assert_eq!(folder(&["/home/ann/docs", "/home/gone"], &tree), "/");
        assert_eq!(folder(&["/"], &["home"]), "/");
        assert_eq!(folder(&[], &["home"]), "/");
        assert_eq!(folder(&["/a/b", "/c/d"], &["x"]), "/");
        // A folder of its own name in it: the tree has all of the path.
        assert_eq!(folder(&["/a/a"], &["a", "a/a"]), "/");
    }

    #[test]
    fn hostile_paths_are_told() {
        for (path, words) in [
            ("", "without a name"),
            ("/etc", "absolute"),
            ("a/../b", ".."),
            ("a/\0/b", "zero"),
            (&"x".repeat(2000)[..], "too long"),
            (&"x/".repeat(DEPTH_MAX + 1)[..], "too deeply"),
        ] {
            let error = names(path.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words) && error.len() < 1000, "{error}");
        }
        assert_eq!(names(b"./a//b/").unwrap(), [b"a", b"b"]);
        assert!(names(b".").unwrap().is_empty() && names(b"./").unwrap().is_empty());
    }

    #[test]
    fn keys_are_in_the_order_of_a_walk() {
        let paths = ["", "a", "a/b", "a/b/c", "a/c", "a!", "a-b", "aa", "b"];
        let keys: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| key(&path.split('/').filter(|name| !name.is_empty()).collect::<Vec<_>>()))
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(names_of(&keys[3]), [b"a", b"b", b"c"]);
        assert_eq!(path_of(&keys[3]), b"/a/b/c");
    }

    #[test]
    fn names_are_replaced_byte_by_byte_as_go_does() {
        assert_eq!(as_listed(b"bad\xff"), "bad\u{fffd}".as_bytes());
        assert_eq!(as_listed(b"\xe2\x82x"), "\u{fffd}\u{fffd}x".as_bytes());
        assert!(may_be_replaced(&as_listed(b"\xff")) && !may_be_replaced("\u{e9}".as_bytes()));
    }
}
