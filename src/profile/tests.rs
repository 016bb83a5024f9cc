//! Profiles as text and as files.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
        Files(folder)
    }

    fn folders(&self) -> Folders {
        Folders(vec![self.0.path().to_owned()])
    }

    fn load(&self, name: &str) -> Result<Profile, Error> {
        load(&self.folders(), name)
    }

    fn error(&self, name: &str) -> String {
        self.load(name).unwrap_err().to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn keys_know_their_lines() {
    let text = "repo = \"/r\"\n\n[backup]\nsources = [\n  \"/a\",\n  \"/b\",\n]\n[backup.more]\nx = 1\n";
    let files = Files::new(&[("home", text)]);
    let profile = files.load("home").unwrap();
    let backup = profile.section("backup").unwrap().unwrap();
    assert_eq!(profile.top.get("repo").unwrap().place.line, 1);
    assert_eq!((backup.place.line, backup.get("sources").unwrap().place.line), (3, 4));
    assert_eq!(backup.words("sources").unwrap(), ["/a", "/b"]);
    let Value::List(list) = &backup.get("sources").unwrap().value else { panic!() };
    assert_eq!(list[1].place.line, 6);
    let more = backup.section("more").unwrap().unwrap();
    assert_eq!((more.name.as_str(), more.get("x").unwrap().place.line), ("backup.more", 9));
}

#[test]
fn a_slip_is_told_with_its_line_and_what_was_meant() {
    let files = Files::new(&[("home", "[backup]\nexclud = 1\n[forgte]\nx = 2")]);
    let profile = files.load("home").unwrap();
    let told = |error: Error| error.to_string().rsplit_once("home.toml").unwrap().1.to_owned();
    let backup = profile.section("backup").unwrap().unwrap();
    assert_eq!(
        told(backup.refuse_unknown(["exclude", "sources"]).unwrap_err()),
        ":2: unknown key \"exclud\" in [backup]: did you mean exclude?"
    );
    assert_eq!(
        told(profile.top.refuse_unknown(["backup", "forget"]).unwrap_err()),
        ":3: unknown section \"forgte\": did you mean forget?"
    );
    assert_eq!(
        told(backup.refuse_unknown(["sources"]).unwrap_err()),
        ":2: unknown key \"exclud\" in [backup]"
    );
}

#[test]
fn what_is_inherited_lies_below_and_lists_say_where_it_goes() {
    let files = Files::new(&[
        ("ground", "a = 1\nb = 1\n[s]\nlist = [\"x\"]\nother = [\"o\"]\n"),
        ("middle", "inherit = \"ground\"\nb = 2\n[s]\nlist = [\"y\", \"...\"]\n"),
        (
            "top",
            "inherit = [\"middle\"]\nc = 3\n[s]\nlist = [\"...\", \"z\"]\nother = [\"p\"]\nempty = [\"...\"]",
        ),
    ]);
    let profile = files.load("top").unwrap();
    let number = |key| profile.top.number(key).unwrap().unwrap();
    assert_eq!((number("a"), number("b"), number("c")), (1, 2, 3));
    let section = profile.section("s").unwrap().unwrap();
    assert_eq!(section.words("list").unwrap(), ["y", "x", "z"]);
    assert_eq!(section.words("other").unwrap(), ["p"]);
    assert!(section.words("empty").unwrap().is_empty());
    assert!(profile.top.get("inherit").is_none());
}

#[test]
fn of_two_that_are_inherited_the_later_counts() {
    let files = Files::new(&[
        ("one", "a = 1\nb = 1"),
        ("two", "a = 2"),
        ("both", "inherit = [\"one\", \"two\"]"),
        ("loop", "inherit = \"pool\""),
        ("pool", "\ninherit = \"loop\""),
        ("lost", "inherit = \"nowhere\""),
    ]);
    let both = files.load("both").unwrap();
    assert_eq!((both.top.number("a").unwrap(), both.top.number("b").unwrap()), (Some(2), Some(1)));
    assert_eq!(files.error("loop"), "pool.toml:2: loop inherits from itself");
    assert!(files.error("lost").starts_with("lost.toml:1: there is no profile nowhere in "));
}

#[test]
fn what_is_no_toml_is_told_in_one_line() {
    let files = Files::new(&[("bad", "a = 1\nb = \n"), ("twice", "a = 1\na = 2"), ("hex", "a = 0xff")]);
    assert!(files.error("bad").starts_with("bad.toml:2: "), "{}", files.error("bad"));
    assert!(files.error("twice").starts_with("twice.toml:2: "), "{}", files.error("twice"));
    assert_eq!(files.error("hex"), "hex.toml:1: a: write it in decimal");
    assert!(!files.error("bad").contains('\n'));
}

#[test]
fn values_are_told_apart() {
    let files =
        Files::new(&[("v", "size = \"1G\"\ntime = \"5m\"\nwrong = \"5 apples\"\nflag = true\nn = -1")]);
    let top = files.load("v").unwrap().top;
    assert_eq!(top.size("size").unwrap(), Some(1 << 30));
    assert_eq!(top.duration("time").unwrap(), Some(std::time::Duration::from_secs(300)));
    for (key, expected) in [("wrong", "v.toml:3: wrong = \"5 apples\": "), ("n", "v.toml:5: n = \"-1\": ")] {
        let error = top.number(key).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = top.text("flag").unwrap_err().to_string();
    assert!(error.ends_with("v.toml:4: flag must be a text, and is true or false"), "{error}");
    assert_eq!(top.number("absent").unwrap(), None);
}

#[test]
fn what_others_can_write_is_refused() {
    let files = Files::new(&[("home", "a = 1")]);
    let file = files.0.path().join("home.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
    assert!(files.error("home").contains("can be written by others"), "{}", files.error("home"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    files.load("home").unwrap();
    std::fs::set_permissions(files.0.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(files.error("home").contains("put another file"), "{}", files.error("home"));
    std::fs::set_permissions(files.0.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    files.load("home").unwrap();
}

#[test]
fn names_and_lists() {
    let files = Files::new(&[("b", ""), ("a", ""), (".hidden", "")]);
    let names: Vec<String> = list(&files.folders()).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b"]);
    for name in ["default", "web-1", "a.b_c", "0", &"x".repeat(64)] {
        assert!(is_name(name), "{name}");
    }
    // Names of files that nothing mistakes, in crontabs and units too.
    for name in ["", ".", "..", ".x", "-x", "a/b", "a b", "ä", "é", "a,b", "a%b", "a\n", &"x".repeat(65)] {
        assert!(!is_name(name), "{name}");
    }
    match files.load("../a b").unwrap_err() {
        Error::Unreadable { .. } => {}
        other => panic!("{other:?}"),
    }
    match files.load("c").unwrap_err() {
        Error::Missing { others, .. } => assert_eq!(others, ["a", "b"]),
        other => panic!("{other:?}"),
    }
}
