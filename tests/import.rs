//! Snapshots of restic and Borg, made by the real programs, come back as what was saved; once, and only whole.

mod common;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{
    Compare, Content, Ended, Item, Kind, Sandbox, assert_same, below, demand_root, differences, end, make,
};
use rustix::fs::IFlags;
use serde_json::{Value, json};

const BLOCK: usize = 512;

/// A sandbox with a repository of another program beside copal's.
fn sandbox(sandbox: Sandbox) -> Sandbox {
    let (restic, borg) = (sandbox.path("restic"), sandbox.path("borg"));
    sandbox
        .trusting_fresh_files()
        .with("RESTIC_REPOSITORY", restic)
        .with("RESTIC_PASSWORD", "secret")
        .with("BORG_REPO", borg)
        .with("BORG_PASSPHRASE", "secret")
        .with("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
}

/// Runs another program with the sandbox's environment, as its user.
fn other(sandbox: &Sandbox, words: &[&str]) -> Ended {
    other_in(sandbox, &sandbox.path(""), words)
}

fn other_in(sandbox: &Sandbox, folder: &Path, words: &[&str]) -> Ended {
    let mut words: Vec<&str> = words.to_vec();
    if sandbox.owner().is_some() {
        words.splice(0..0, ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
    }
    let mut command = Command::new(words[0]);
    let environment = sandbox.command([""]);
    let variables = environment.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.args(&words[1..]).env_clear().envs(variables).current_dir(folder).stdin(Stdio::null());
    end(command).expect(0)
}

fn with_restic() -> Sandbox {
    let sandbox = sandbox(Sandbox::new());
    other(&sandbox, &["restic", "init"]);
    sandbox
}

fn with_borg() -> Sandbox {
    let sandbox = sandbox(Sandbox::new());
    other(&sandbox, &["borg", "init", "-e", "repokey"]);
    sandbox
}

fn source(sandbox: &Sandbox) -> String {
    sandbox.source().to_str().unwrap().to_owned()
}

fn import(sandbox: &Sandbox, words: &[&str]) -> Ended {
    sandbox.run(["import"].iter().chain(words))
}

/// The lines of that kind.
fn lines(ended: &Ended, kind: &str) -> Vec<Value> {
    let mut all = ended.json();
    all.retain(|line| line["message_type"] == kind);
    all
}

fn snapshots(sandbox: &Sandbox) -> Vec<Value> {
    lines(&sandbox.run(["snapshots", "--json"]).expect(0), "snapshot")
}

fn restored(sandbox: &Sandbox, snapshot: &str, target: &str) -> PathBuf {
    let target = sandbox.path(target);
    sandbox.run(["restore", snapshot, "-t", target.to_str().unwrap(), "-H", "web1"]).expect(0);
    below(&target, &sandbox.source())
}

/// Restores what is in part root's, which an ordinary user can not give back and is told.
fn restored_of_root(sandbox: &Sandbox, target: &str) -> PathBuf {
    let target = sandbox.path(target);
    let ended = sandbox.run(["restore", "latest", "-t", target.to_str().unwrap(), "-H", "web1"]);
    ended.expect(if common::is_root() { 0 } else { 3 });
    target
}

/// What both programs keep, as far as an archive can have it.
fn odd_tree(sandbox: &Sandbox) -> Vec<Item> {
    let sparse =
        Content::Sparse { length: 300 << 20, data: vec![(0, 70_000), (5 << 20, 10), (299 << 20, 5000)] };
    let mut items = vec![
        Item::new(0, "folder", Kind::Folder).xattr("user.folder", b"of it"),
        Item::new(1, b"two\nlines \xff\xfe", Kind::Folder).mode(0o1777),
        Item::file(2, "deep", "content").xattr("user.empty", b"").xattr("user.bytes", b"\0\xff=\n\n"),
        Item::new(1, "large", Kind::File(Content::Noise { seed: 1, length: 9 << 20 })),
        Item::new(1, "holes", Kind::File(sparse)),
        Item::new(1, "link", Kind::Symlink("../nowhere \u{e4}".into())),
        Item::new(1, "long link", Kind::Symlink(vec![b'l'; 300])),
        Item::new(1, "pipe", Kind::Fifo),
        Item::file(1, "nothing", ""),
        Item::file(1, "setuid", "x").mode(0o4755),
        Item::file(1, "setgid", "x").mode(0o2711),
        Item::file(1, b"\xe9 latin", "x"),
        Item::file(1, "ä utf-8 \u{fffd}", "x"),
        Item::file(1, "\u{1b}[2J\\ \"", "x"),
        Item::file(1, [b'n'; 255], "x"),
        Item::new(1, "empty", Kind::Folder),
        Item::file(1, "listed", "x"),
        Item::new(1, "listed folder", Kind::Folder),
    ];
    for item in items.iter_mut().rev().take(2) {
        item.acl = true;
    }
    items[8].mtime = (2_000_000_000, 999_999_999);
    items[9].owner = (4711, 4712);
    items[10].owner = (3_000_000_000, 7);
    // Folders are numbered: this one lies in `folder`, and each one after it in the one before.
    items.push(Item::new(1, "a", Kind::Folder));
    for level in 0..40 {
        items.push(Item::new(usize::MAX, format!("a long name of a folder {level}"), Kind::Folder));
    }
    items.push(Item::file(usize::MAX, "bottom", "x"));
    make(&[&sandbox.source()], &items, sandbox.owner());
    items
}

/// Whether this restic says which files are one: since 0.17.
fn tells_links() -> bool {
    let mut command = Command::new("restic");
    command.arg("version");
    let version = end(command).expect(0).out();
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.expect("restic says its version") >= 17
}

/// Backs up with that program's own command, imports, changes a little, and again; after that copal finds nothing new.
fn two_nights(sandbox: &Sandbox, program: &str, save: &dyn Fn(u32), change: &dyn Fn()) {
    save(1);
    import(sandbox, &[program, "--dry-run"]).expect(0).says("1 snapshot would be imported");
    assert_eq!(snapshots(sandbox).len(), 0);
    let summary = import(sandbox, &[program, "--json"]).expect(0).summary();
    assert_eq!((&summary["imported"], &summary["present"]), (&1.into(), &0.into()), "{summary}");
    assert_same(&sandbox.source(), &restored(sandbox, "latest", "first"));

    change();
    save(2);
    let ended = import(sandbox, &[program, "--json"]).expect(0);
    let line = &lines(&ended, "imported")[0];
    assert!(line["bytes_new"].as_u64().unwrap() <= 1000, "{line}");
    assert_eq!(ended.summary()["present"], 1);
    assert_same(&sandbox.source(), &restored(sandbox, "latest", "second"));

    // Once more: it is there, and nothing is stored.
    let before = common::packs(sandbox);
    import(sandbox, &[program]).expect(0).says("0 snapshots imported, 0 B added; 2 there already");
    assert_eq!(common::packs(sandbox), before);
    sandbox.run(["check", "--read-data"]).expect(0);

    // The next backup finds all contents there, and takes the imported one as its parent.
    let (text, source) = (snapshots(sandbox)[1]["id"].clone(), source(sandbox));
    let ended = sandbox.run(["backup", "--json", "-H", "web1", &source]).expect(0);
    let summary = ended.summary();
    assert_eq!(summary["data_added"], 0, "{summary}");
    let last = snapshots(sandbox).pop().unwrap();
    assert_eq!((&last["parent"], &last["paths"]), (&text, &json!([source])), "{last}");
    assert_same(&sandbox.source(), &restored(sandbox, "latest", "third"));
}

#[test]
fn snapshots_of_restic_come_back_exactly() {
    let sandbox = with_restic();
    odd_tree(&sandbox);
    let mut old = Item::file(0, "old", "before 1970");
    old.mtime = (-315_619_200, 123_456_789);
    let mut far = Item::file(0, "far", "after 2038");
    far.mtime = (4_000_000_000, 1);
    make(&[&sandbox.source()], &[old, far], None);
    if tells_links() {
        let more = [
            Item::new(0, "hard links", Kind::Folder),
            Item::file(1, "b first", vec![7; 100_000]).xattr("user.x", b"of both"),
            Item::new(1, "a second", Kind::Link(0)),
            Item::new(0, "c third", Kind::Link(0)),
        ];
        make(&[&sandbox.source()], &more, None);
    }
    let source = source(&sandbox);
    let save = |night: u32| {
        let time = format!("2024-05-0{night} 03:04:05");
        let words = ["restic", "backup", "--host", "web1", "--tag", "a,b", "--time", &time, &source];
        other(&sandbox, &words);
    };
    two_nights(&sandbox, "restic", &save, &|| {
        sandbox.write("source/folder/new", vec![b'n'; 1000]);
        std::fs::remove_file(sandbox.path("source/folder/nothing")).unwrap();
    });
    let all = snapshots(&sandbox);
    let first = &all[0];
    assert_eq!(first["tags"], json!(["a", "b"]), "{first}");
    assert_eq!(first["hostname"], "web1", "{first}");
    assert!(!common::is_root() || first["username"] == "root", "{first}");
    assert!(first["time"].as_str().unwrap().starts_with("2024-05-01T03:04:05"), "{first}");
    assert_eq!(first["paths"], json!([source]), "{first}");
    let there: Value =
        serde_json::from_slice(&other(&sandbox, &["restic", "snapshots", "--json"]).stdout).unwrap();
    let id = there[0]["id"].as_str().unwrap();
    assert!(first["imported_from"].as_str().unwrap().ends_with(&format!(":{id}")), "{first}");
    assert_eq!(first["description"], format!("from restic snapshot {}", &id[..8]));
    assert_eq!(first["incomplete"], false);
}

#[test]
fn root_archives_of_borg_come_back_exactly() {
    demand_root();
    let sandbox = with_borg();
    let mut items = odd_tree(&sandbox);
    let more = [
        Item::new(0, "hard links", Kind::Folder),
        Item::file(1, "b first", vec![7; 100_000]).xattr("user.x", b"of both"),
        Item::new(1, "a second", Kind::Link(0)),
        Item::new(0, "c third", Kind::Link(0)),
        Item::new(0, "link of bytes", Kind::Symlink(b"../nowhere \xff".to_vec())),
        Item::new(1, "character", Kind::Character(1, 3)),
        Item::new(1, "block", Kind::Block(7, 300)),
        Item::file(1, "not to be dumped", "x").flags(IFlags::NODUMP),
    ];
    make(&[&sandbox.source()], &more, None);
    items.clear();
    let source = source(&sandbox);
    let save = |night: u32| {
        let (name, time) = (format!("::web1 {night}"), format!("2024-05-0{night}T03:04:05"));
        // The host stands in the archive, and only the machine's own can.
        let words = ["borg", "create", "--comment", "every night", "--timestamp", &time, &name, &source];
        other(&sandbox, &words);
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    save(1);
    import(&sandbox, &["borg", "-H", "elsewhere"]).expect(1).warns("no snapshot like that");
    let ended = import(&sandbox, &["borg", "--json", "-H", &host]).expect(0);
    let line = &lines(&ended, "imported")[0];
    assert_eq!((&line["paths"], &line["hostname"]), (&json!([source]), &json!(host)), "{line}");
    let restore = |target: &str| {
        let target = sandbox.path(target);
        sandbox.run(["restore", "latest", "-H", &host, "-t", target.to_str().unwrap()]).expect(0);
        below(&target, &sandbox.source())
    };
    assert_same(&sandbox.source(), &restore("first"));
    // What nobody told about is made up.
    let above = std::fs::metadata(sandbox.path("first/var")).unwrap();
    assert_eq!(above.permissions().mode() & 0o7777, 0o755);

    sandbox.write("source/folder/new", vec![b'n'; 1000]);
    save(2);
    let ended = import(&sandbox, &["borg", "--json"]).expect(0);
    assert_eq!((&ended.summary()["imported"], &ended.summary()["present"]), (&json!(1), &json!(1)));
    assert!(lines(&ended, "imported")[0]["bytes_new"].as_u64().unwrap() <= 1000);
    assert_same(&sandbox.source(), &restore("second"));
    import(&sandbox, &["borg"]).expect(0).says("0 snapshots imported, 0 B added; 2 there already");
    sandbox.run(["check", "--read-data"]).expect(0);
    let first = &snapshots(&sandbox)[0];
    assert_eq!(first["description"], "from Borg archive web1 1: every night", "{first}");
    assert!(first["time"].as_str().unwrap().starts_with("2024-05-01T03:04:05"), "{first}");
    let summary = sandbox.run(["backup", "--json", "-H", &host, &source]).expect(0).summary();
    assert_eq!(summary["data_added"], 0, "{summary}");
    // Nothing is said to be gone only because nothing was known before.
    sandbox.run(["snapshots"]).expect(0);
}

#[test]
fn what_borg_lost_is_told() {
    let sandbox = with_borg().with("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
    let source = source(&sandbox);
    sandbox.write("source/whole", "content");
    other(&sandbox, &["borg", "create", "::sound", &source]);
    sandbox.write("source/hit", common::noise(1, 300_000));
    other(&sandbox, &["borg", "create", "::hit", &source]);
    let items = other(&sandbox, &["borg", "debug", "dump-archive", "::hit", "-"]);
    let items: Value = serde_json::from_slice(&items.stdout).unwrap();
    let hit = items["_items"].as_array().unwrap().iter().find(|item| item["size"] == 300_000).unwrap();
    let chunk = hit["chunks"][0][0].as_str().unwrap().trim_start_matches('\u{7f}').to_owned();
    other(&sandbox, &["borg", "debug", "delete-obj", "::", &chunk]);
    let ended =
        import(&sandbox, &["borg"]).expect(3).warns("hit was not imported").warns("not found in repository");
    assert!(!ended.err().contains("Platform"), "{ended}");

    // Borg puts zeros in its place, and says so.
    let mut command = sandbox.command([""]);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let variables: Vec<_> = variables.collect();
    command = Command::new("borg");
    command.args(["check", "--repair"]).env_clear().envs(variables).stdin(Stdio::null());
    end(command);
    import(&sandbox, &["borg"])
        .expect(3)
        .warns("source/hit: Borg has lost some of it")
        .says("1 snapshot imported");
    let all = snapshots(&sandbox);
    assert_eq!((&all[0]["incomplete"], &all[1]["incomplete"]), (&json!(false), &json!(true)));
}

#[test]
fn nobody_imports_too() {
    let sandbox = sandbox(Sandbox::of_nobody());
    sandbox.write("source/folder/file", "content");
    sandbox.write("source/other", vec![1; 200_000]);
    let source = source(&sandbox);
    other(&sandbox, &["restic", "init"]);
    other(&sandbox, &["restic", "backup", "--host", "web1", &source]);
    other(&sandbox, &["borg", "init", "-e", "none"]);
    other(&sandbox, &["borg", "create", "::one", &source]);
    import(&sandbox, &["restic"]).expect(0).says("1 snapshot imported");
    let (owners, target) = (Compare { owners: true }, restored(&sandbox, "latest", "restic restored"));
    assert_eq!(differences(&sandbox.source(), &target, owners), [""; 0]);
    // Borg asks whether a repository without a password may be opened; nobody can answer.
    let summary = import(&sandbox, &["borg", "--json"]).expect(0).summary();
    assert_eq!(summary["bytes_new"], 0, "{summary}");
}

#[test]
fn root_what_restic_does_not_tell_is_told() {
    demand_root();
    let sandbox = with_restic();
    let items = [
        Item::file(0, "one", "content"),
        Item::new(0, "two", Kind::Link(0)),
        Item::new(0, "device", Kind::Character(1, 3)),
        Item::new(0, b"pipe \xff", Kind::Fifo),
    ];
    make(&[&sandbox.source()], &items, None);
    other(&sandbox, &["restic", "backup", "--host", "web1", &source(&sandbox)]);
    let ended =
        import(&sandbox, &["restic"]).expect(3).warns("device: a character device, and nothing says which");
    ended.warns("not UTF-8: left out").says("1 snapshot imported");
    assert_eq!(snapshots(&sandbox)[0]["incomplete"], true);
    let target = sandbox.path("target");
    sandbox.run(["restore", "latest", "-H", "web1", "-t", target.to_str().unwrap()]);
    let target = below(&target, &sandbox.source());
    for name in ["one", "two"] {
        assert_eq!(std::fs::read(target.join(name)).unwrap(), b"content");
        let links = std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(target.join(name)).unwrap());
        assert_eq!(links, if tells_links() { 2 } else { 1 });
    }
    sandbox.run(["ls", "latest", "-H", "web1"]).expect(0).says("device");
}

#[test]
fn what_restic_knows_to_be_the_same_is_not_read_again() {
    let sandbox = with_restic();
    sandbox.write("source/file", common::noise(1, 300_000));
    let source = source(&sandbox);
    let save = || other(&sandbox, &["restic", "backup", "--host", "web1", &source]);
    save();
    save();
    // Nothing but the first one can be read.
    let there: Value =
        serde_json::from_slice(&other(&sandbox, &["restic", "snapshots", "--json"]).stdout).unwrap();
    let second = there[1]["id"].as_str().unwrap();
    assert_eq!(there[0]["tree"], there[1]["tree"]);
    let program = stub(&sandbox, &format!("case \"$1 $*\" in *{second}*) exit 9;; esac"));
    import(&sandbox, &["restic", "--program", &program]).expect(0).says("2 snapshots imported");
    let all = snapshots(&sandbox);
    assert_eq!(all[0]["tree"], all[1]["tree"]);
    assert_ne!(all[0]["time"], all[1]["time"]);
    save();
    import(&sandbox, &["restic"]).expect(0).says("1 snapshot imported").says("2 there already");
    assert_same(&sandbox.source(), &restored(&sandbox, "latest", "restored"));
    // What was lost meanwhile is not taken for there.
    sandbox.run(["forget", "--all", "--unsafe-allow-remove-all"]).expect(0);
    sandbox.run(["prune", "--grace", "0"]).expect(0);
    import(&sandbox, &["restic"]).expect(0).says("3 snapshots imported");
    assert_same(&sandbox.source(), &restored(&sandbox, "latest", "again"));
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn relative_sources_of_restic_are_put_where_they_were() {
    let sandbox = with_restic();
    sandbox.write("source/a/x", "x");
    sandbox.write("source/b", "b");
    let folder = sandbox.source();
    for sources in [&["a"][..], &["a", "b"], &["."], &["../source/a"]] {
        let words: Vec<&str> =
            ["restic", "backup", "--host", "web1"].iter().chain(sources).copied().collect();
        other_in(&sandbox, &folder, &words);
        import(&sandbox, &["restic"]).expect(0).says("1 snapshot imported");
        let name = sources.join("-").replace(['.', '/'], "_");
        let target = match sources {
            // Of the folder itself restic keeps nothing: it is made up.
            ["."] => below(&restored_of_root(&sandbox, &name), &folder),
            _ => restored(&sandbox, "latest", &name),
        };
        assert_eq!(std::fs::read(target.join("a/x")).unwrap(), b"x", "{sources:?}");
        assert_eq!(
            target.join("b").exists(),
            sources.iter().any(|name| ["b", "."].contains(name)),
            "{sources:?}"
        );
    }
}

#[test]
fn relative_archives_of_borg_are_put_below_a_folder() {
    let sandbox = with_borg();
    sandbox.write("source/a/x", "x");
    other_in(
        &sandbox,
        &sandbox.source(),
        &["borg", "create", "--timestamp", "2026-03-01T10:00:00", "::a", "a"],
    );
    other_in(
        &sandbox,
        &sandbox.source(),
        &["borg", "create", "--timestamp", "2026-03-01T11:00:00", "::dot", "."],
    );
    let source = source(&sandbox);
    let ended = import(&sandbox, &["borg", "--json", "--below", &source]).expect(0);
    let paths: Vec<Value> = lines(&ended, "imported").iter().map(|line| line["paths"].clone()).collect();
    assert_eq!(paths, [json!([format!("{source}/a")]), json!([source])]);
    let host = snapshots(&sandbox)[0]["hostname"].as_str().unwrap().to_owned();
    let target = sandbox.path("target");
    sandbox.run(["restore", "latest", "-H", &host, "-t", target.to_str().unwrap()]).expect(0);
    assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
    import(&sandbox, &["borg", "--below", "relative"]).expect(2).warns("absolute");
}

#[test]
fn snapshots_are_chosen_and_what_is_wrong_is_told() {
    let mut sandbox = with_restic();
    sandbox.write("source/file", "one");
    let source = source(&sandbox);
    for (host, tag) in [("web1", "a"), ("web1", "b"), ("web2", "b")] {
        sandbox.write("source/file", format!("{host} {tag}"));
        other(&sandbox, &["restic", "backup", "--host", host, "--tag", tag, &source]);
    }
    let names = |words: &[&str]| {
        let words: Vec<&str> = ["restic", "-n", "--json"].iter().chain(words).copied().collect();
        let all = lines(&import(&sandbox, &words).expect(0), "imported");
        all.iter()
            .map(|line| format!("{} {}", line["hostname"], line["tags"][0]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["--tag", "b"]), ["web1 b", "web2 b"]);
    assert_eq!(names(&["-H", "web1", "latest"]), ["web1 b"]);
    assert_eq!(names(&["--path", &source]).len(), 3);
    let there: Value =
        serde_json::from_slice(&other(&sandbox, &["restic", "snapshots", "--json"]).stdout).unwrap();
    let id = &there[0]["id"].as_str().unwrap()[..8];
    assert_eq!(names(&[id, "latest"]), ["web1 a", "web2 b"]);
    import(&sandbox, &["restic", "--tag", "c"]).expect(1).warns("no snapshot like that");
    import(&sandbox, &["restic", "0123"]).expect(1).warns("no snapshot 0123");

    import(&sandbox, &["restic", "--program", "/nowhere/restic"]).expect(1).warns("--program PATH");
    import(&sandbox, &["restic", "--from-repo", "/nowhere"]).expect(1).warns("/nowhere");
    import(&sandbox, &["restic", "--program-option", "--no-such-option"]).expect(1).warns("no-such-option");
    import(&sandbox, &["restic", "--program-option=--no-lock", id]).expect(0).says("1 snapshot imported");
    import(&sandbox, &["borg"]).expect(1).warns("borg list failed");
    import(&sandbox, &["borg", "--path", "/x"]).expect(2);
    sandbox.set("RESTIC_PASSWORD", "wrong");
    import(&sandbox, &["restic"]).expect(1).warns("wrong password").warns("RESTIC_PASSWORD_FILE");
    // Nothing is asked, and nothing waits for an answer.
    sandbox.unset("RESTIC_PASSWORD");
    import(&sandbox, &["restic"]).expect(1).warns("restic cat config failed");
    sandbox.unset("RESTIC_REPOSITORY");
    import(&sandbox, &["restic"]).expect(2).warns("--from-repo");
}

#[test]
fn the_guide_can_be_followed() {
    let sandbox = sandbox(Sandbox::empty());
    let source = source(&sandbox);
    sandbox.write("source/file", "content");
    other(&sandbox, &["restic", "init"]);
    other(&sandbox, &["borg", "init", "-e", "repokey"]);
    import(&sandbox, &["restic"]).expect(10);
    other(&sandbox, &["restic", "backup", &source]);
    other(&sandbox, &["borg", "create", "::one", &source]);
    sandbox.write("passphrase", "secret\n");
    let guide = include_str!("../docs/importing.md");
    for (program, other) in [("restic", "borg"), ("borg", "restic")] {
        let lines = guide.lines().filter_map(|line| line.strip_prefix("    "));
        let steps: Vec<&str> = lines.collect();
        // Each guide begins with a repository.
        let guides: Vec<&[&str]> = steps.split(|line| line.starts_with("copal init")).collect();
        let guide =
            guides.iter().find(|steps| steps.iter().any(|line| line.contains(&format!("import {program}"))));
        let text = guide.unwrap().join("\n");
        assert!(!text.contains(other), "{text}");
        let folder = sandbox.path("").to_str().unwrap().trim_end_matches('/').to_owned();
        let text = text
            .replace("/media/disk/copal", &format!("{folder}/new {program}").replace(' ', "-"))
            .replace("/media/disk/restic", &format!("{folder}/restic"))
            .replace("ssh://box/./borg", &format!("{folder}/borg"))
            .replace("~/.restic-password", &format!("{folder}/passphrase"))
            .replace("/home/ann/.borg-passphrase", &format!("{folder}/passphrase"));
        sandbox
            .run([
                "init",
                "-r",
                &format!("{folder}/new-{program}"),
                "--key-file",
                &format!("{folder}/key {program}"),
            ])
            .expect(0);
        let mut command = Command::new("sh");
        let environment = sandbox.command([""]);
        let variables = environment.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(variables).current_dir(sandbox.path(""));
        for name in
            ["RESTIC_PASSWORD", "RESTIC_REPOSITORY", "BORG_PASSPHRASE", "BORG_REPO", "COPAL_REPOSITORY"]
        {
            command.env_remove(name);
        }
        command.env("COPAL_KEY_FILE", format!("{folder}/key {program}"));
        let copal = env!("CARGO_BIN_EXE_copal");
        command.args(["-ec", &format!("copal() {{ {copal} \"$@\"; }}\n{text}")]).stdin(Stdio::null());
        end(command).expect(0).says("1 snapshot would be imported").says("1 snapshot imported");
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Programs that fail

/// A program that is restic, but for what the script does with `$1` (the command) and `$real`.
fn stub(sandbox: &Sandbox, script: &str) -> String {
    let real = end({
        let mut command = Command::new("sh");
        command.args(["-c", "command -v restic"]);
        command
    });
    let text = format!("#!/bin/sh\nreal={}\n{script}\nexec \"$real\" \"$@\"\n", real.out().trim());
    let path = sandbox.write("stub", text);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_snapshot_of_which_something_fails_is_not_kept_and_the_others_are() {
    let sandbox = with_restic();
    let source = source(&sandbox);
    for night in 0..3 {
        sandbox.write("source/file", common::noise(night, 300_000));
        other(&sandbox, &["restic", "backup", "--host", "web1", &source]);
    }
    let there: Value =
        serde_json::from_slice(&other(&sandbox, &["restic", "snapshots", "--json"]).stdout).unwrap();
    let second = there[1]["id"].as_str().unwrap();
    let of_second = |what: &str| format!("case \"$1 $*\" in dump*{second}*) {what};; esac");
    // Folders above, the file's header, its content: all but the end.
    let whole = BLOCK * sandbox.source().components().count() + 300_032;
    for (script, words) in [
        (of_second("\"$real\" \"$@\" | head -c 100000; exit 0"), "the archive ends early"),
        (of_second(&format!("\"$real\" \"$@\" | head -c {whole}; exit 0")), "the archive ends early"),
        (of_second("exit 0"), "the archive ends early"),
        (of_second("\"$real\" \"$@\"; echo 'Fatal: a blob is gone' >&2; exit 1"), "a blob is gone"),
        (of_second("\"$real\" \"$@\" | head -c 100000; kill -9 $$"), "signal 9"),
        (of_second("\"$real\" \"$@\" | tr f g; exit 0"), "header"),
        (of_second("echo no archive; exit 0"), "ends early"),
        (
            format!(
                "case \"$1 $*\" in find*{second}*) \"$real\" \"$@\" | sed s:source/file:source/other:; exit 0;; esac"
            ),
            "not in the list",
        ),
        (
            format!(
                "case \"$1 $*\" in find*{second}*) \"$real\" \"$@\" | sed s/300000/300001/; exit 0;; esac"
            ),
            "300001",
        ),
        (
            format!("case \"$1 $*\" in find*{second}*) \"$real\" \"$@\" | head -c 700; exit 0;; esac"),
            "ends early",
        ),
    ] {
        let program = stub(&sandbox, &script);
        let ended = import(&sandbox, &["restic", "--program", &program]).expect(3).warns(words);
        assert!(ended.err().lines().count() < 5, "{ended}");
        assert_eq!(snapshots(&sandbox).len(), 2, "{script}");
    }
    // Alone it fails wholly.
    let program = stub(&sandbox, &of_second("echo gone >&2; exit 4"));
    let ended = import(&sandbox, &["restic", "--json", "--program", &program, &second[..10]]).expect(1);
    let errors = lines(&ended, "error");
    assert!(errors[0]["message"].as_str().unwrap().contains("failed with exit code 4: gone"), "{errors:?}");
    import(&sandbox, &["restic"]).expect(0).says("1 snapshot imported").says("2 there already");
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &restored(&sandbox, "latest", "restored"));
}

#[test]
fn what_was_cut_off_goes_on() {
    let sandbox = with_restic();
    let source = source(&sandbox);
    for night in 0..2 {
        sandbox.write("source/file", common::noise(night, 3 << 20));
        other(&sandbox, &["restic", "backup", "--host", "web1", &source]);
    }
    let there: Value =
        serde_json::from_slice(&other(&sandbox, &["restic", "snapshots", "--json"]).stdout).unwrap();
    let second = there[1]["id"].as_str().unwrap();
    let mark = sandbox.path("begun");
    let script = format!(
        "case \"$1 $*\" in dump*{second}*) \"$real\" \"$@\" | head -c 2000000; touch {}; \
         while kill -0 $PPID 2>&-; do sleep 0.1; done; exit 1;; esac",
        mark.display()
    );
    let program = stub(&sandbox, &script);
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let _ = std::fs::remove_file(&mark);
        let mut command = sandbox.command(["import", "restic", "--program", &program]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..3000 {
            if mark.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(mark.exists(), "it did not begin");
        common::signal(&child, signal);
        let status = child.wait().unwrap();
        assert!(!status.success());
        assert_eq!(snapshots(&sandbox).len(), 1, "{signal:?}");
    }
    sandbox.run(["check", "--read-data"]).expect(0);
    import(&sandbox, &["restic"]).expect(0).says("1 snapshot imported").says("1 there already");
    assert_same(&sandbox.source(), &restored(&sandbox, "latest", "restored"));
    sandbox.run(["check", "--read-data"]).expect(0);
    // What was poured in when it was killed is told to nobody.
    let temporary = std::fs::read_dir(sandbox.cache()).unwrap();
    let left =
        temporary.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("spool"));
    assert_eq!(left.count(), 0);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Archives that nobody sound writes

fn header(name: &[u8], kind: u8, size: u64, target: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let name = &name[..name.len().min(100)];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(if kind == b'5' { b"0000755" } else { b"0000644" });
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"14000000000");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target);
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn entry(name: impl AsRef<[u8]>, kind: u8, data: &[u8], target: &[u8]) -> Vec<u8> {
    let mut bytes = header(name.as_ref(), kind, data.len() as u64, target);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {name}=").as_bytes(), value, b"\n"].concat()
}

/// A program that answers as restic does: one snapshot of `/d`, whose list and archive are given.
struct Fake {
    sandbox: Sandbox,
    program: String,
}

impl Fake {
    fn new() -> Fake {
        let sandbox = sandbox(Sandbox::new());
        let script = r#"#!/bin/sh
case "$1" in
cat) echo '{"id":"repository"}';;
snapshots) cat snapshots;;
find) cat list;;
dump) cat archive;;
esac
"#;
        let path = sandbox.write("fake", script);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let program = path.to_str().unwrap().to_owned();
        Fake { sandbox, program }
    }

    /// Imports an archive of these parts; what is listed is path, type and size.
    fn import(&self, listed: &[(&str, &str, u64)], parts: &[Vec<u8>]) -> Ended {
        let number = std::fs::read_dir(self.sandbox.path("")).unwrap().count();
        let id = format!("{number:08}{:08}", snapshots(&self.sandbox).len());
        let snapshot =
            json!([{"id": id, "time": "2024-05-01T00:00:00Z", "paths": ["/d"], "hostname": "web1"}]);
        self.sandbox.write("snapshots", snapshot.to_string());
        let lines: Vec<String> = listed
            .iter()
            .map(|(path, kind, size)| {
                json!({"path": format!("/{path}"), "type": kind, "size": size, "mode": 420, "mtime": "2024-05-01T00:00:00.5Z"})
                    .to_string()
            })
            .collect();
        self.sandbox.write("list", format!("[{{\"matches\":[{}],\"hits\":1}}]", lines.join(",")));
        self.sandbox.write("archive", [parts.concat(), vec![0; 2 * BLOCK]].concat());
        import(&self.sandbox, &["restic", "--program", &self.program])
    }
}

#[test]
fn hostile_archives_are_one_clear_error() {
    let fake = Fake::new();
    let file = |name: &str| entry(name, b'0', b"x", b"");
    let long = vec![b'n'; 2000];
    let huge = [header(b"x", b'x', 0o777_7777_7777, b""), vec![0; 4096]].concat();
    let negative = {
        let mut block = header(b"d", b'0', 0, b"");
        block[124..136].fill(0xff);
        seal(&mut block);
        block
    };
    let endless = {
        let mut block = header(b"d", b'0', 0, b"");
        block[124..136].fill(0);
        block[124] = 0x80;
        block[128..136].fill(0xff);
        seal(&mut block);
        block
    };
    let d = &[("d", "file", 1)][..];
    let cases: &[(&[(&str, &str, u64)], Vec<Vec<u8>>, &str)] = &[
        (d, vec![file("../d")], ".."),
        (d, vec![file("a/../../d")], ".."),
        (d, vec![file("/d")], "absolute"),
        (d, vec![file("")], "without a name"),
        (d, vec![entry("x", b'x', &record("path", b"a\0b"), b""), file("d")], "zero"),
        (d, vec![entry("x", b'x', &record("path", &long), b""), file("d")], "too long"),
        (d, vec![entry("x", b'L', &long, b""), file("d")], "too long"),
        (d, vec![file("d"), file("d")], "not in the list"),
        (d, vec![file("e")], "not in the list"),
        (d, vec![], "not in the archive"),
        (d, vec![entry("d", b'1', b"", b"nothing")], "did not come before"),
        (d, vec![entry("d", b'1', b"", b"../d")], ".."),
        (d, vec![entry("d", b'2', b"", b"")], "leads to"),
        (d, vec![entry("d", b'0', b"xx", b"")], "2 bytes"),
        (d, vec![entry("d", b'5', b"", b"")], "kind"),
        (d, vec![entry("d", b'5', b"x", b"")], "content where"),
        (d, vec![entry("d", b'S', b"x", b"")], "sparse"),
        (d, vec![entry("x", b'x', &record("GNU.sparse.major", b"1"), b""), file("d")], "sparse"),
        (d, vec![entry("d", b'Z', b"", b"")], "not understood"),
        (d, vec![huge], "more than"),
        (d, vec![negative], "number in its header"),
        (d, vec![endless], "number in its header"),
        (
            d,
            vec![entry("x", b'x', &record("size", b"18446744073709551615"), b""), file("d")],
            "size makes no sense",
        ),
        (d, vec![entry("x", b'x', &record("size", b"9223372036854775807"), b""), file("d")], "ends early"),
        (d, vec![entry("x", b'x', b"99 path=d\n", b""), file("d")], "malformed record"),
        (d, vec![entry("x", b'x', b"x", b""), file("d")], "malformed record"),
        (d, vec![entry("x", b'x', &record("mtime", b"soon"), b""), file("d")], "time"),
        (d, vec![entry("x", b'x', &record("size", b"-1"), b""), file("d")], "no number"),
        (d, vec![entry("x", b'x', &record("uid", b"5000000000"), b""), file("d")], "owner"),
        (d, vec![entry("x", b'x', &record("LIBARCHIVE.xattr.a", b"!"), b""), file("d")], "libarchive"),
        (
            d,
            vec![entry("x", b'x', &record("SCHILY.xattr.", b"!"), b""), file("d")],
            "attribute makes no sense",
        ),
        (d, (0..20).map(|_| entry("x", b'g', b"", b"")).collect(), "too many headers"),
        (d, vec![file("d"), vec![0; BLOCK], file("e")], "follows the end"),
        (&[("d", "file", 1), ("d/x", "file", 1)], vec![file("d"), file("d/x")], "else than a folder"),
        (&[("d/x", "file", 1), ("d", "file", 1)], vec![file("d/x"), file("d")], "else than a folder"),
        (&[("d", "file", 1), ("d", "file", 1)], vec![file("d"), file("d")], "listed twice"),
        (&[("../d", "file", 1)], vec![], ".."),
    ];
    for (listed, parts, words) in cases {
        let ended = fake.import(listed, parts).expect(1).warns(words);
        let told: Vec<String> = ended.err().lines().map(str::to_owned).collect();
        assert!(told.len() == 1 && told[0].len() < 1000, "{ended}");
    }
    assert_eq!(snapshots(&fake.sandbox).len(), 0);
    fake.sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn entries_come_in_any_order() {
    let fake = Fake::new();
    let listed = [
        ("d", "dir", 0),
        ("d/b", "file", 2),
        ("d/a", "dir", 0),
        ("d/a/x", "file", 1),
        ("d/a-", "file", 1),
        ("d/none/deep/y", "file", 1),
        ("d/none/z", "symlink", 0),
    ];
    let parts = vec![
        entry("d/none/z", b'2', b"", b"target"),
        entry("d/a/x", b'0', b"x", b""),
        entry("d/b", b'0', b"bb", b""),
        entry("d/none/deep/y", b'0', b"y", b""),
        entry("./d/a//", b'5', b"", b""),
        entry("d/", b'5', b"", b""),
        entry("d/a-", b'\0', b"-", b""),
    ];
    fake.import(&listed, &parts).expect(0).says("1 snapshot imported");
    let target = restored_of_root(&fake.sandbox, "target");
    for (name, content) in [("a/x", "x"), ("a-", "-"), ("b", "bb"), ("none/deep/y", "y")] {
        assert_eq!(std::fs::read_to_string(target.join("d").join(name)).unwrap(), content);
    }
    let mtime = std::fs::metadata(target.join("d/b")).unwrap().modified().unwrap();
    let since = mtime.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.subsec_millis(), 500);
    assert_eq!(std::fs::read_link(target.join("d/none/z")).unwrap().as_os_str(), "target");
}

#[test]
fn names_that_look_alike_in_the_list_are_kept_apart() {
    let fake = Fake::new();
    let replaced = "d/\u{fffd}";
    let parts = vec![
        entry("d", b'5', b"", b""),
        entry(b"d/\xff", b'0', b"one", b""),
        entry(b"d/\xfe", b'0', b"and two", b""),
    ];
    let listed = [("d", "dir", 0), (replaced, "file", 3), (replaced, "file", 7)];
    fake.import(&listed, &parts).expect(0);
    let target = restored_of_root(&fake.sandbox, "target");
    for (name, content) in [(b"\xff", "one"), (b"\xfe", "and two")] {
        let path = target.join("d").join(OsString::from_vec(name.to_vec()));
        assert_eq!(std::fs::read_to_string(path).unwrap(), content);
    }
}
