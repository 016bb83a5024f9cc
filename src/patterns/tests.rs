//! Tests of the patterns: a table of what matches, and random paths against a slow and obvious matcher.

use proptest::prelude::*;

use super::*;

const HOME: &[u8] = b"/home/ann";

fn patterns(list: &[&str]) -> Patterns {
    let mut builder = PatternsBuilder::new(Some(HOME));
    for pattern in list {
        builder.add(pattern.as_bytes(), false).unwrap();
    }
    builder.build().unwrap()
}

/// A path that ends with a slash is a folder.
fn matches(patterns: &Patterns, path: &[u8]) -> bool {
    let is_directory = path.len() > 1 && path.ends_with(b"/");
    patterns.matches(if is_directory { &path[..path.len() - 1] } else { path }, is_directory)
}

#[test]
fn the_table_of_patterns_holds() {
    let table: &[(&[&str], &str, bool)] = &[
        (&["foo"], "/foo", true),
        (&["foo"], "/a/foo", true),
        (&["foo"], "/a/foo/b/c", true),
        (&["foo"], "/a/foobar", false),
        (&["foo"], "/a/xfoo", false),
        (&["*.o"], "/a/b.o", true),
        (&["*.o"], "/a.o/b.c", true),
        (&["*.o"], "/a/b.op", false),
        (&["*"], "/a", true),
        (&["foo*bar"], "/foobar", true),
        (&["foo*bar"], "/foo/bar", false),
        (&["?"], "/a/é", true),
        (&["?"], "/bb/ab", false),
        (&["?.c"], "/é.c", true),
        (&["[a-c]x"], "/bx", true),
        (&["[!a-c]x"], "/bx", false),
        (&["[^a-c]x"], "/dx", true),
        (&["[äö]x"], "/öx", true),
        (&["[]a]"], "/]", true),
        (&["[a-]"], "/-", true),
        (&["[\\]]"], "/]", true),
        (&["a[!b]c"], "/a/c", false),
        (&["a[+-9]c"], "/a/c", false),
        (&["a[+-9]c"], "/a5c", true),
        (&["{a,b}"], "/a", false),
        (&["{a,b}"], "/{a,b}", true),
        (&["a.c"], "/abc", false),
        (&["(a|b)+$^"], "/(a|b)+$^", true),
        (&["\\*"], "/*", true),
        (&["\\*"], "/a", false),
        (&["\\!a"], "/!a", true),
        (&["/foo"], "/foo", true),
        (&["/foo"], "/foo/x", true),
        (&["/foo"], "/a/foo", false),
        (&["/a/*/c"], "/a/b/c", true),
        (&["/a/*/c"], "/a/b/b/c", false),
        (&["/a/**/c"], "/a/c", true),
        (&["/a/**/c"], "/a/b/b/c", true),
        (&["/a/**/c"], "/a/b/b/d", false),
        (&["/a/**"], "/a/", false),
        (&["/a/**"], "/a/b", true),
        (&["**/c"], "/a/c", true),
        (&["**/c"], "/c", true),
        (&["**"], "/c", true),
        (&["foo/bar"], "/foo/bar", true),
        (&["foo/bar"], "/a/foo/bar/c", true),
        (&["foo/bar"], "/a/xfoo/bar", false),
        (&["foo/bar"], "/a/foo/b/bar", false),
        (&["foo/**/bar"], "/a/foo/b/bar", true),
        (&["./foo"], "/a/foo", true),
        (&["foo//bar"], "/foo/bar", true),
        (&["foo/"], "/foo/", true),
        (&["foo/"], "/foo", false),
        (&["foo/"], "/foo/x", true),
        (&["/foo/"], "/foo", false),
        (&["/foo/"], "/foo/x", true),
        (&["a/b/"], "/x/a/b", false),
        (&["a/b/"], "/x/a/b/", true),
        (&["/"], "/a", true),
        (&["~"], "/home/ann/x", true),
        (&["~/tmp"], "/home/ann/tmp", true),
        (&["~/tmp"], "/home/bob/tmp", false),
        (&["~x"], "/~x", true),
        (&["!~/x", "*"], "/home/ann/x", true),
        (&["*.log", "!keep.log"], "/a/keep.log", false),
        (&["*.log", "!keep.log"], "/a/other.log", true),
        (&["!keep.log", "*.log"], "/a/keep.log", true),
        (&["/a/*", "!/a/keep"], "/a/keep/x", false),
        (&["/a/*", "!/a/keep"], "/a/lose/x", true),
        (&["/a/*", "!/a/keep", "*.o"], "/a/keep/x.o", true),
        (&["foo", "!foo/"], "/foo", true),
        (&["foo", "!foo/"], "/foo/", false),
        (&["a\nb"], "/a\nb", true),
        (&["*"], "/a\nb", true),
    ];
    for (list, path, expected) in table {
        assert_eq!(matches(&patterns(list), path.as_bytes()), *expected, "{list:?} on {path:?}");
    }
}

#[test]
fn names_that_are_not_utf8_match_as_bytes() {
    let mut builder = PatternsBuilder::new(None);
    builder.add(b"a\xff*", false).unwrap();
    let exact = builder.build().unwrap();
    assert!(exact.matches(b"/x/a\xffb\xfe", false));
    assert!(!exact.matches(b"/x/a\xfeb", false));
    assert!(patterns(&["a*z"]).matches(b"/a\xff\xfez", false));
    assert!(patterns(&["a?z"]).matches(b"/a\xffz", false));
    assert!(patterns(&["a[!q]z"]).matches(b"/a\xffz", false));
    assert!(patterns(&["/a/**/z"]).matches(b"/a/\xff/z", false));
}

#[test]
fn case_is_ignored_on_request_beyond_ascii_too() {
    let mut builder = PatternsBuilder::new(Some(HOME));
    builder.add("Übung.PDF".as_bytes(), true).unwrap();
    builder.add(b"[a-c]X", true).unwrap();
    let found = builder.build().unwrap();
    assert!(found.matches("/a/üBUNG.pdf".as_bytes(), false));
    assert!(found.matches(b"/Bx", false));
    assert!(!patterns(&["a"]).matches(b"/A", false));
}

#[test]
fn patterns_that_say_nothing_are_errors_that_name_them() {
    for pattern in ["", "!", "[a", "a[", "a\\", "[z-a]", "a/../b", ".", "a\0", "[a/b]", "[]"] {
        let mut builder = PatternsBuilder::new(Some(HOME));
        assert!(builder.add(pattern.as_bytes(), false).is_err(), "{pattern:?}");
    }
    let error = PatternsBuilder::new(None).add(b"~/x", false).unwrap_err();
    assert!(error.to_string().contains("~/x"), "{error}");
}

#[test]
fn lines_skip_comments_and_blank_lines_and_keep_escaped_spaces() {
    let mut builder = PatternsBuilder::new(None);
    builder.add_lines(b"\xef\xbb\xbf# comment\r\n\n  *.o  \r\nwith\\ \n\\#name\n!a.o", false).unwrap();
    let found = builder.build().unwrap();
    assert!(
        found.matches(b"/x.o", false) && found.matches(b"/with ", false) && found.matches(b"/#name", false)
    );
    assert!(
        !found.matches(b"/a.o", false)
            && !found.matches(b"/with", false)
            && !found.matches(b"/comment", false)
    );
}

#[test]
fn digest_input_tells_patterns_apart() {
    let all = [
        patterns(&[]),
        patterns(&["a"]),
        patterns(&["!a"]),
        patterns(&["a/"]),
        patterns(&["/a"]),
        patterns(&["a", "b"]),
    ];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_ne!(one.digest_input(), other.digest_input());
        }
    }
    assert_eq!(patterns(&["~/a"]).digest_input(), patterns(&["/home/ann/a"]).digest_input());
}

#[test]
fn no_patterns_match_nothing() {
    assert!(!Patterns::none().matches(b"/a/b", true) && !patterns(&[]).matches_entry(b"/", true));
}

/// Whether a component matches, the obvious and slow way (`*` and letters only).
fn slow_component(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| slow_component(rest, &name[skip..])),
        Some((letter, rest)) => name.first() == Some(letter) && slow_component(rest, &name[1..]),
    }
}

/// Whether components match as a whole, the obvious and slow way.
fn slow_components(pattern: &[&[u8]], path: &[&[u8]]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, [])) if *first == b"**" => !path.is_empty(),
        Some((first, rest)) if *first == b"**" => {
            (0..=path.len()).any(|skip| slow_components(rest, &path[skip..]))
        }
        Some((first, rest)) => {
            !path.is_empty() && slow_component(first, path[0]) && slow_components(rest, &path[1..])
        }
    }
}

/// The whole rule, the obvious and slow way.
fn slow(list: &[String], path: &str, is_directory: bool) -> bool {
    let parts: Vec<&[u8]> = path[1..].split('/').map(str::as_bytes).collect();
    let mut found = false;
    for pattern in list {
        let (negated, body) =
            pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
        let (only, body) = body.strip_suffix('/').map_or((false, body), |rest| (true, rest));
        let (anchored, body) = body.strip_prefix('/').map_or((false, body), |rest| (true, rest));
        let wanted: Vec<&[u8]> = body.split('/').map(str::as_bytes).collect();
        let hit = (1..=parts.len()).any(|end| {
            let starts = if anchored { 0..1 } else { 0..end };
            (end < parts.len() || is_directory || !only)
                && starts.into_iter().any(|start| slow_components(&wanted, &parts[start..end]))
        });
        if hit {
            found = !negated;
        }
    }
    found
}

proptest! {
    #[test]
    fn random_patterns_and_paths_agree_with_the_obvious_matcher(
        list in prop::collection::vec("!?/?(\\*\\*/)?[ab*]{1,2}(/[ab*]{1,2}){0,2}/?", 1..4),
        path in "(/[ab]{1,2}){1,4}",
        is_directory: bool,
    ) {
        let list: Vec<String> = list.into_iter().collect();
        let borrowed: Vec<&str> = list.iter().map(String::as_str).collect();
        prop_assert_eq!(patterns(&borrowed).matches(path.as_bytes(), is_directory), slow(&list, &path, is_directory));
    }

    #[test]
    fn a_walk_from_the_top_sees_what_whole_paths_see(
        list in prop::collection::vec("/?[ab*]{1,2}(/[ab*]{1,2}){0,2}/?", 1..4),
        path in "(/[ab]{1,2}){1,4}",
        is_directory: bool,
    ) {
        let borrowed: Vec<&str> = list.iter().map(String::as_str).collect();
        let found = patterns(&borrowed);
        let walked = (1..path.len()).filter(|at| path.as_bytes()[*at] == b'/')
            .any(|end| found.matches_entry(&path.as_bytes()[..end], true)) || found.matches_entry(path.as_bytes(), is_directory);
        prop_assert_eq!(walked, found.matches(path.as_bytes(), is_directory));
    }

    #[test]
    fn any_bytes_are_a_pattern_or_an_error_never_a_panic(pattern in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut builder = PatternsBuilder::new(Some(HOME));
        if builder.add(&pattern, true).is_ok() {
            prop_assert!(builder.build().is_ok());
        }
    }
}
