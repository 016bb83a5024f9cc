//! What is shipped: a package for Debian and a tarball, packed from the program as it was built for the tests. The same command packs a
//! release (docs/releasing.md).

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::demand_root;

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs it, which must end well, and gives what it wrote to standard output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What packs the program into a folder.
fn packing(kind: &str, into: &Path) -> Command {
    let licences = into.with_extension("licences");
    std::fs::write(&licences, "The licences of libraries stand here.\n").unwrap();
    let mut command = Command::new(source().join(".ci/package"));
    command.arg(kind).arg(env!("CARGO_BIN_EXE_copal")).arg(licences).arg(into);
    // The tests' program is large and packed often: fast counts here.
    command.env("SOURCE_DATE_EPOCH", "1700000000").env("COPAL_PACKAGE_LEVEL", "1");
    command
}

/// The one file that was packed.
fn packed(mut command: Command, into: &Path) -> PathBuf {
    run(&mut command);
    let mut files = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

/// The package, made once for all tests.
fn deb() -> &'static Path {
    static DEB: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DEB.get_or_init(|| {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let into = folder.path().join("deb");
        let path = packed(packing("deb", &into), &into);
        (folder, path)
    });
    path
}

#[test]
fn a_package_of_the_same_program_is_the_same_to_the_byte() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    for kind in ["deb", "tarball"] {
        let again = |name: &str, zone: &str, mask: &str| {
            let into = folder.path().join(name).join(kind);
            std::fs::create_dir_all(&into).unwrap();
            let command = packing(kind, &into);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "umask \"$0\"; exec \"$@\"", mask])
                .arg(command.get_program())
                .args(command.get_args());
            shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.env("TZ", zone).env("LANG", "de_DE.UTF-8").current_dir(folder.path());
            packed(shell, &into)
        };
        let (first, second) = (again("first", "UTC", "022"), again("second", "Asia/Tokyo", "077"));
        assert_eq!(first.file_name(), second.file_name());
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "two {kind}s differ");
    }
}

#[test]
fn what_is_in_the_package_belongs_to_root_and_lies_below_usr() {
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(deb()));
    let mut programs = Vec::new();
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (mode, owner, date, path) = (words[0], words[1], words[3], words[5]);
        assert_eq!((owner, date), ("root/root", "2023-11-14"), "{line}");
        assert!(path == "./" || path.starts_with("./usr/"), "{line}");
        match mode {
            "drwxr-xr-x" | "-rw-r--r--" => {}
            "-rwxr-xr-x" => programs.push(path),
            _ => panic!("{line}"),
        }
    }
    assert_eq!(programs, ["./usr/bin/copal"]);
    for path in [
        "bash-completion/completions/copal",
        "zsh/vendor-completions/_copal",
        "fish/vendor_completions.d/copal.fish",
        "man/man1/copal.1.gz",
        "man/man1/copal-key-add.1.gz",
        "doc/copal/copyright",
        "doc/copal/licences.gz",
        "doc/copal/changelog.gz",
        "doc/copal/docs/format.md",
        "doc/copal/examples/server.toml",
        "doc/copal/examples/copal-server.timer",
    ] {
        assert!(listed.contains(&format!("./usr/share/{path}\n")), "{path} is not in it:\n{listed}");
    }
}

#[test]
fn the_package_says_what_it_needs_and_runs_nothing_of_its_own() {
    let field =
        |name: &str| run(Command::new("dpkg-deb").arg("--field").arg(deb()).arg(name)).trim().to_owned();
    assert_eq!(field("Version"), format!("{}-1", env!("CARGO_PKG_VERSION")));
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    assert!(field("Recommends").contains("fuse3"));
    // No maintainer scripts and no conffiles: nothing happens to what is in /etc/copal.
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("--control").arg(deb()).arg(folder.path().join("control")));
    let mut names: Vec<_> = std::fs::read_dir(folder.path().join("control"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["control", "md5sums"]);
}

#[test]
fn another_version_than_that_of_the_manifest_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("copal");
    std::fs::write(&program, "#!/bin/sh\necho '{\"message_type\":\"version\",\"version\":\"0.0.9\"}'\n")
        .unwrap();
    run(Command::new("chmod").arg("755").arg(&program));
    let mut command = Command::new(source().join(".ci/package"));
    command
        .arg("deb")
        .arg(&program)
        .arg(&program)
        .arg(folder.path().join("out"))
        .env("SOURCE_DATE_EPOCH", "1");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("is version 0.0.9, Cargo.toml says"), "{}", said(&output));
}

/// `tests/packages/lifecycle` says what it does.
#[test]
fn root_a_package_is_installed_used_upgraded_removed_and_purged_and_no_key_is_lost() {
    demand_root();
    let debian = source().join("target/debian.tar");
    assert!(debian.exists(), "there is no {}: tests/install makes it", debian.display());
    let told = run(Command::new(source().join("tests/packages/lifecycle")).arg(deb()).arg(debian));
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), 10, "{told}");
}
