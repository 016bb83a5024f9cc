//! Looking into snapshots and getting at files: `ls` as a tree and of a time, `restore --at` and `--in-place`.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use common::{Sandbox, noise};

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs with a terminal, on which that is typed.
fn at_a_terminal(sandbox: &Sandbox, words: &[&str], typed: &str) -> common::Ended {
    let command = sandbox.command([""; 0]);
    let variables: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let directory = command.get_current_dir().unwrap().to_owned();
    let line = format!("{} {}", env!("CARGO_BIN_EXE_copal"), words.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_clear().envs(variables).current_dir(directory);
    command.stdin(std::process::Stdio::piped());
    common::end_with(command, typed.as_bytes())
}

#[test]
fn ls_draws_a_tree_and_shows_sizes_for_people() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/deep/one", noise(1, 2000));
    sandbox.write("source/docs/two\nlines", "x");
    std::fs::write(sandbox.path("source/docs").join(OsStr::from_bytes(b"z\xff")), "y").unwrap();
    sandbox.write("source/last", "z");
    sandbox.back_up();
    let source = sandbox.source().display().to_string();
    let ended = sandbox.run(["ls", "--tree", &format!("latest:{source}")]).expect(0);
    let expected = [
        &*source,
        "├── docs/",
        "│   ├── deep/",
        "│   │   └── one",
        "│   ├── two\\nlines",
        "│   └── z\\xff",
        "└── last",
        "",
    ];
    assert_eq!(ended.out(), expected.join("\n"));
    let human = sandbox.run(["ls", "--human", "latest:docs/deep"]).expect(0).says("1.95 KiB").says("-rw");
    assert_eq!(human.out().lines().count(), 1);
    sandbox
        .run(["ls", "-l", "--tree", "latest:docs"])
        .expect(0)
        .says("        2000 ")
        .says("│   └── one".trim_start_matches("│   "));
    sandbox.run(["ls", "-l", "latest:docs/deep"]).expect(0).says("        2000 ");
    // Programs get lines as ever, of all that is below.
    let nodes =
        sandbox.run(["ls", "--tree", "--json", &format!("latest:{source}")]).expect(0).messages("node");
    assert_eq!(nodes.len(), 6);
    assert!(nodes.iter().any(|node| node["path_hex"].as_str().is_some_and(|path| path.ends_with("2f7aff"))));
}

#[test]
fn a_time_means_the_newest_snapshot_whose_sources_hold_the_path() {
    let sandbox = Sandbox::new();
    let other = sandbox.write("other/file", "something else").parent().unwrap().to_str().unwrap().to_owned();
    sandbox.write("source/file", "old");
    sandbox.back_up_with(&["--time", "2021-01-01 10:00"]);
    sandbox.write("source/file", "newer");
    sandbox.write("source/young", "young");
    sandbox.back_up_with(&["--time", "2022-01-01 10:00"]);
    // The newest of all then, and it does not hold the source.
    sandbox.run(["backup", "--time", "2022-01-01 11:00", &other]).expect(0);
    let file = sandbox.path("source/file");
    let file = file.to_str().unwrap();
    for (at, content) in [("2021-06-01", "old"), ("2022-01-01 10:00", "newer"), ("2022-06-01", "newer")] {
        let target = format!("out {at}");
        sandbox.run(["restore", "--at", at, file, "-t", &target]).expect(0);
        assert_eq!(std::fs::read_to_string(sandbox.path(&target).join("file")).unwrap(), content, "{at}");
        assert_eq!(sandbox.run(["dump", "--at", at, "source/file"]).expect(0).out(), content, "{at}");
        sandbox.run(["ls", "--at", at, file]).expect(0).says(file);
    }
    // What the source held then, not what it held at another time.
    sandbox.run(["ls", "--at", "2021-06-01", "source/young"]).expect(1).warns("holds no source/young");
    let listed = sandbox.run(["ls", "--at", "2021-06-01", "source"]).expect(0);
    assert!(listed.out().contains("file") && !listed.out().contains("young"), "{listed}");
    sandbox.run(["ls", "--at", "2021-06-01"]).expect(0).says("file");
    sandbox.run(["ls", "--at", "2020-06-01"]).expect(1).warns("2021-01-01");
    sandbox.run(["ls", "--at", "whenever"]).expect(2);
}

#[test]
fn in_place_overwrites_only_when_somebody_says_so_and_keeps_what_is_there() {
    let sandbox = Sandbox::new();
    let report = sandbox.write("source/docs/report.odt", "saved");
    sandbox.write("source/docs/same", "same");
    sandbox.back_up();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let change = || {
        std::fs::write(&report, "written since").unwrap();
        std::fs::File::options().write(true).open(&report).unwrap().set_modified(time).unwrap();
    };
    change();
    let content = |name: &str| std::fs::read_to_string(sandbox.path("source/docs").join(name)).unwrap();
    let beside = "report.2020-09-13T122640.odt";
    // Nobody is there to be asked.
    for wanted in ["latest:docs/report.odt", "latest:docs", "latest"] {
        let ended = sandbox.run(["restore", wanted, "--in-place"]).expect(6);
        ended.warns("report.odt").warns("--overwrite if-changed");
        assert_eq!(
            (content("report.odt"), names(&sandbox.path("source/docs")).len()),
            ("written since".into(), 2)
        );
    }
    let ended =
        at_a_terminal(&sandbox, &["restore", "latest:docs/report.odt", "--in-place"], "n\n").expect(6);
    assert!(ended.text().contains("[y/N]") && ended.text().contains("nothing was done"), "{ended}");
    assert_eq!(
        (content("report.odt"), names(&sandbox.path("source/docs")).len()),
        ("written since".into(), 2)
    );
    sandbox.run(["restore", "latest:docs", "--in-place", "--dry-run"]).expect(0);
    assert_eq!(content("report.odt"), "written since");

    for wanted in ["latest:docs/report.odt", "latest:docs"] {
        at_a_terminal(&sandbox, &["restore", wanted, "--in-place"], "y\n")
            .expect(0)
            .says("1 entry that was there is kept beside");
        assert_eq!(names(&sandbox.path("source/docs")), [beside, "report.odt", "same"]);
        assert_eq!((content("report.odt"), content(beside)), ("saved".into(), "written since".into()));
        std::fs::remove_file(sandbox.path("source/docs").join(beside)).unwrap();
        change();
    }
    let ended =
        sandbox.run(["restore", "latest:docs", "--in-place", "--overwrite", "always", "--json"]).expect(0);
    assert_eq!(ended.summary()["files_kept"], 1);
    assert_eq!((content("report.odt"), content(beside)), ("saved".into(), "written since".into()));
    // Another one of that time gets a number; nothing that was kept is lost.
    change();
    std::fs::write(&report, "and again").unwrap();
    std::fs::File::options().write(true).open(&report).unwrap().set_modified(time).unwrap();
    sandbox.run(["restore", "latest:docs", "--in-place", "--overwrite", "if-changed"]).expect(0);
    assert_eq!(
        (content(beside), content("report.2020-09-13T122640.2.odt")),
        ("written since".into(), "and again".into())
    );
    sandbox.run(["restore", "latest:docs", "--in-place"]).expect(0);
    assert_eq!(names(&sandbox.path("source/docs")).len(), 4);
}

#[test]
fn in_place_keeps_folders_links_and_large_files_too() {
    let sandbox = Sandbox::new();
    let source = sandbox.source();
    sandbox.write("source/file", "saved");
    sandbox.write("source/large", noise(1, 17 << 20));
    sandbox.write("source/folder/inside", "saved too");
    sandbox.write("source/one", "two names");
    std::fs::hard_link(source.join("one"), source.join("two")).unwrap();
    std::os::unix::fs::symlink("saved", source.join("link")).unwrap();
    sandbox.back_up();
    for name in ["file", "link", "two"] {
        std::fs::remove_file(source.join(name)).unwrap();
    }
    sandbox.write("source/file/now-a-folder", "written since");
    std::os::unix::fs::symlink("written-since", source.join("link")).unwrap();
    std::fs::write(source.join("two"), "its own").unwrap();
    std::fs::remove_dir_all(source.join("folder")).unwrap();
    std::fs::write(source.join("folder"), "now a file").unwrap();
    let mut large = noise(1, 17 << 20);
    large[5] ^= 1;
    std::fs::write(source.join("large"), &large).unwrap();
    sandbox.run(["restore", "latest:source", "--in-place", "--overwrite", "if-changed"]).expect(0);
    assert_eq!(std::fs::read(source.join("file")).unwrap(), b"saved");
    assert_eq!(std::fs::read(source.join("folder/inside")).unwrap(), b"saved too");
    assert_eq!(std::fs::read(source.join("two")).unwrap(), b"two names");
    assert_eq!(std::fs::read_link(source.join("link")).unwrap(), Path::new("saved"));
    assert!(std::fs::read(source.join("large")).unwrap() == noise(1, 17 << 20));
    let beside = |name: &str| {
        let all = names(&source);
        let found: Vec<_> = all.iter().filter(|other| other.starts_with(&format!("{name}."))).collect();
        assert_eq!(found.len(), 1, "{name}: {all:?}");
        source.join(found[0])
    };
    assert_eq!(std::fs::read(beside("file").join("now-a-folder")).unwrap(), b"written since");
    assert_eq!(std::fs::read(beside("folder")).unwrap(), b"now a file");
    assert_eq!(std::fs::read(beside("two")).unwrap(), b"its own");
    assert_eq!(std::fs::read_link(beside("link")).unwrap(), Path::new("written-since"));
    assert!(std::fs::read(beside("large")).unwrap() == large);
}

#[test]
fn what_is_kept_beside_is_not_removed_by_the_same_run() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/report", "saved");
    sandbox.write("source/docs/second", "saved too");
    std::fs::hard_link(sandbox.path("source/docs/second"), sandbox.path("source/docs/third")).unwrap();
    sandbox.back_up();
    for name in ["report", "second", "third"] {
        std::fs::remove_file(sandbox.path("source/docs").join(name)).unwrap();
        sandbox.write(format!("source/docs/{name}"), format!("{name}, written since"));
    }
    sandbox.write("source/docs/new", "new");
    let options = ["--in-place", "--overwrite", "if-changed", "--delete"];
    sandbox.run([&["restore", "latest:docs"][..], &options].concat()).expect(0).says("; 1 was removed");
    let left: Vec<String> = names(&sandbox.path("source/docs"));
    assert_eq!(left.len(), 6, "{left:?}");
    for name in ["report", "second", "third"] {
        let beside = left.iter().find(|other| other.starts_with(&format!("{name}."))).unwrap();
        let content = std::fs::read_to_string(sandbox.path("source/docs").join(beside)).unwrap();
        assert_eq!(content, format!("{name}, written since"));
    }
}

#[test]
fn what_is_kept_beside_is_not_removed_by_what_else_is_asked_for() {
    let sandbox = Sandbox::new();
    let report = sandbox.write("source/docs/report", "saved");
    sandbox.back_up();
    sandbox.write("source/docs/report", "written since");
    sandbox.write("source/docs/new", "new");
    let options = ["--in-place", "--overwrite", "if-changed", "--delete"];
    let both = ["restore", "latest:docs/report", "latest:docs"];
    sandbox.run([&both[..], &options].concat()).expect(0).says("; 1 was removed");
    assert_eq!(std::fs::read(&report).unwrap(), b"saved");
    let left: Vec<String> = names(&sandbox.path("source/docs"));
    let beside = left.iter().find(|other| other.starts_with("report.")).unwrap();
    assert_eq!(std::fs::read(sandbox.path("source/docs").join(beside)).unwrap(), b"written since");
}

/// What a shell is offered for a line.
fn offers(sandbox: &Sandbox, line: &str) -> Vec<String> {
    let mut command = sandbox.command([""; 0]);
    command.env("COPAL_COMPLETE_LINE", line);
    let ended = common::end(command).expect(0);
    assert!(ended.stderr.is_empty(), "{ended}");
    let text = ended.out();
    let offers: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    assert!(text.is_empty() || text.ends_with('\0'), "{text:?}");
    offers
}

#[test]
fn shells_are_offered_snapshots_and_paths_in_them() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/report.odt", "x");
    sandbox.write("source/docs/two words", "x");
    sandbox.write("source/docs/two\nlines", "x");
    let id = sandbox.back_up()["snapshot_id"].as_str().unwrap()[..8].to_owned();
    assert_eq!(offers(&sandbox, "copal ls "), ["latest:".to_owned(), format!("{id}:")]);
    assert_eq!(offers(&sandbox, "copal ls lat"), ["latest:"]);
    assert_eq!(offers(&sandbox, &format!("copal -q restore {}", &id[..5])), [format!("{id}:")]);
    assert_eq!(offers(&sandbox, "copal tag --add x lat"), ["latest"]);
    assert_eq!(offers(&sandbox, "copal ls latest:sou"), ["latest:source/"]);
    assert_eq!(offers(&sandbox, "copal diff latest latest:source/"), ["latest:source/docs/"]);
    let source = sandbox.source().display().to_string();
    assert_eq!(
        offers(&sandbox, &format!("copal cat latest:{source}/docs/r")),
        [format!("latest:{source}/docs/report.odt")]
    );
    assert_eq!(offers(&sandbox, "copal dump latest:docs/two\\ w"), ["latest:docs/two words"]);
    assert_eq!(offers(&sandbox, "copal restore --at now source/docs/re"), ["source/docs/report.odt"]);
    // Nothing where something else is typed, where nothing is known, or where somebody would have to be asked.
    for line in [
        "copal ",
        "copal ls -",
        "copal restore latest -t ",
        "copal -r ",
        "copal backup lat",
        "copal ls nowhere:x",
        "copal ls latest:nowhere/",
        "copal ls 'open",
        "copal -r /nowhere ls ",
    ] {
        assert!(offers(&sandbox, line).is_empty(), "{line}");
    }
    assert!(
        offers(&sandbox, "copal --password-command 'touch ran; echo x' ls ").is_empty()
            && !sandbox.path("ran").exists()
    );
    let mut closed = Sandbox::empty();
    closed.set("COPAL_REPOSITORY", sandbox.repository());
    closed.unset("COPAL_KEY_FILE");
    closed.set("COPAL_COMPLETE_LINE", "copal ls ");
    let ended = at_a_terminal(&closed, &[], "").expect(0);
    assert_eq!(ended.text().trim(), "", "nobody is asked for a password");
    // Bash cuts words at colons, and gets what comes behind one.
    let script = "source <(copal completions bash); COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:'
        offer() { COMP_LINE=\"$1\" COMP_POINT=${#1}; shift; COMP_WORDS=(copal \"$@\"); COMP_CWORD=$#; COMPREPLY=(); \
        _copal_asking copal \"${!#}\" \"\"; echo \"$1: ${COMPREPLY[*]}\"; }
        offer 'copal ls lat' ls lat; offer 'copal ls latest:docs/' ls latest : docs/; offer 'copal ls latest:' ls latest :; offer 'copal ls --tr' ls --tr";
    let mut command = sandbox.command([""; 0]);
    let variables: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let directory = command.get_current_dir().unwrap().to_owned();
    command = Command::new("bash");
    command.args(["-c", script]).env_clear().envs(variables).current_dir(directory);
    let program = Path::new(env!("CARGO_BIN_EXE_copal")).parent().unwrap();
    command.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    let shown = common::end(command).expect(0);
    assert_eq!(
        shown.out(),
        "ls: latest:\nls: docs/report.odt $'docs/two\\nlines' docs/two\\ words\nls: / source/\nls: --tree\n",
        "{shown}"
    );
}

#[test]
fn bash_completes_paths_whatever_is_in_them() {
    let sandbox = Sandbox::new();
    let names: [&[u8]; 12] = [
        b"two words",
        b"it's",
        b"dou\"ble",
        b"$dollar",
        b"back\\slash",
        b"new\nline",
        b"tab\there",
        b"inv\xff",
        b"`tick`",
        b"sta*r",
        b"e=q;u&a(l",
        b"co:lo:n",
    ];
    for name in names {
        sandbox.write(Path::new("source/a folder/in").join(OsStr::from_bytes(name)), name);
    }
    sandbox.back_up();
    // What is typed before the key that completes, and the name that it comes to.
    let typed: [(&str, &[u8]); 22] = [
        ("two", b"two words"),
        ("two\\ w", b"two words"),
        ("it", b"it's"),
        ("dou", b"dou\"ble"),
        ("\\$d", b"$dollar"),
        ("back", b"back\\slash"),
        ("new", b"new\nline"),
        ("tab", b"tab\there"),
        ("inv", b"inv\xff"),
        ("\\`t", b"`tick`"),
        ("st", b"sta*r"),
        ("e", b"e=q;u&a(l"),
        ("e=", b"e=q;u&a(l"),
        ("e=q\\;u", b"e=q;u&a(l"),
        ("co:l", b"co:lo:n"),
        ("\"two w", b"two words"),
        ("'two w", b"two words"),
        ("'it", b"it's"),
        ("\"dou", b"dou\"ble"),
        ("'dou", b"dou\"ble"),
        ("\"back", b"back\\slash"),
        ("\"co:lo", b"co:lo:n"),
    ];
    let mut lines = String::from("bind 'set enable-bracketed-paste off'\nsource <(copal completions bash)\n");
    for (number, (begin, _)) in typed.iter().enumerate() {
        lines += &format!("copal dump -t out-{number} latest:source/a\\ folder/in/{begin}\t\n");
    }
    // The whole word in quotes, a quote that was closed before, and what is behind one of another kind.
    lines += "copal dump -t whole \"latest:source/a folder/in/two\t\n";
    lines += "copal dump -t closed latest:source/\"a folder\"/in/two\t\n";
    lines += "copal dump -t kinds latest:'source/a folder/'in/\"two w\t\n";
    lines += "exit\n";
    let own = sandbox.command([""; 0]);
    let mut command = Command::new("script");
    command.args(["-qec", "bash --norc --noprofile -i", "/dev/null"]).env_clear();
    command
        .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(sandbox.path(""));
    let program = Path::new(env!("CARGO_BIN_EXE_copal")).parent().unwrap();
    command
        .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8");
    command.stdin(std::process::Stdio::piped());
    let ended = common::end_with(command, lines.as_bytes());
    for (number, (begin, name)) in typed.iter().enumerate() {
        let given = std::fs::read(sandbox.path(format!("out-{number}"))).unwrap_or_default();
        assert_eq!(given.escape_ascii().to_string(), name.escape_ascii().to_string(), "{begin}: {ended}");
    }
    for name in ["whole", "closed", "kinds"] {
        assert_eq!(std::fs::read(sandbox.path(name)).unwrap_or_default(), b"two words", "{name}: {ended}");
    }
}
