//! A second restorer, written from docs/format.md alone (tests/restorer/restore.py), gives back what copal saved.
//! Needs Python with the packages of tests/restorer/requirements.txt: `tests/run` installs them and sets COPAL_TEST_PYTHON.

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_second_restorer_gives_back_the_same_files_with_and_without_the_index() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("source/folder/empty")).unwrap();
    let noise: Vec<u8> =
        (0..3_000_000u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    std::fs::write(path("source/large"), noise).unwrap();
    std::fs::write(path("source/folder/small"), "small").unwrap();
    std::os::unix::fs::symlink("small", path("source/folder/link")).unwrap();
    std::fs::hard_link(path("source/large"), path("source/folder/second name")).unwrap();
    for number in 0..2500 {
        std::fs::write(path("source/folder").join(format!("file {number}")), format!("{number}")).unwrap();
    }
    let copal = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
        command.current_dir(folder.path()).args(arguments);
        command.args(["-q", "-r", "repository", "--key-file", "key", "--cache-dir", "cache"]);
        run(&mut command);
    };
    copal(&["init"]);
    copal(&["backup", "source"]);
    let restorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    for (target, more) in [("one", None), ("other", Some("--packs-only"))] {
        let mut command = Command::new(&python);
        command
            .current_dir(folder.path())
            .arg(&restorer)
            .args(["repository", "--key-file", "key", target])
            .args(more);
        run(&mut command);
        let source = std::fs::canonicalize(path("source")).unwrap();
        let restored = path(target).join(source.strip_prefix("/").unwrap());
        run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&source).arg(&restored));
    }
}

#[test]
fn the_second_restorer_reads_what_a_write_only_key_added_and_does_not_read_with_it() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("source/folder")).unwrap();
    for number in 0..40u64 {
        let noise: Vec<u8> = (0..8_000u64)
            .flat_map(|n| (n + number * 10_000).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        std::fs::write(path("source/folder").join(number.to_string()), noise).unwrap();
    }
    let copal = |key: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
        command.current_dir(folder.path()).args(arguments);
        command
            .args(["-q", "-r", "repository", "--key-file", key, "--cache-dir"])
            .arg(format!("cache-{key}"));
        run(&mut command);
    };
    copal("key", &["init"]);
    copal("key", &["backup", "source/folder/1"]);
    copal("key", &["key", "add", "--write-only", "--new-key-file", "writer"]);
    copal("key", &["key", "add", "--write-only", "--share-index", "--new-key-file", "sharer"]);
    copal("writer", &["backup", "source"]);
    std::fs::write(path("source/folder/late"), "late").unwrap();
    copal("writer", &["backup", "source"]);
    // Records of removals too.
    copal("key", &["forget", "--keep-last", "1"]);
    copal("key", &["prune", "--grace", "0"]);
    // The latest, of the one that shares, rests on what the full key stored.
    copal("key", &["backup", "source"]);
    copal("sharer", &["backup", "source"]);
    let restorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    let restore = |key: &str, target: &str, more: Option<&str>| {
        let mut command = Command::new(&python);
        command.current_dir(folder.path()).arg(&restorer);
        command.args(["repository", "--key-file", key, target]).args(more).output().unwrap()
    };
    for (target, more) in [("one", None), ("other", Some("--packs-only"))] {
        let output = restore("key", target, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let source = std::fs::canonicalize(path("source")).unwrap();
        let restored = path(target).join(source.strip_prefix("/").unwrap());
        run(Command::new("diff").args(["-r", "--no-dereference"]).arg(&source).arg(&restored));
    }
    let refused = restore("writer", "none", None);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.lines().count() == 1, "{said}");
}

#[test]
fn the_second_restorer_reads_what_a_repair_wrote() {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("source")).unwrap();
    let noise: Vec<u8> =
        (0..40_000u64).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    std::fs::write(path("source/lost"), &noise).unwrap();
    let copal = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
        command.current_dir(folder.path()).args(arguments);
        command.args(["-q", "-r", "repository", "--key-file", "key", "--no-cache"]).output().unwrap()
    };
    let packs = || -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(path("repository/packs")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    };
    assert!(copal(&["init"]).status.success());
    assert!(copal(&["backup", "source"]).status.success());
    let largest = packs().into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    std::fs::remove_file(largest).unwrap();
    let repaired = copal(&["repair", "snapshots", "--forget"]);
    assert_eq!(repaired.status.code(), Some(3), "{}", String::from_utf8_lossy(&repaired.stderr));
    let restorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restorer/restore.py");
    let mut command = Command::new(&python);
    let command =
        command.current_dir(folder.path()).arg(&restorer).args(["repository", "--key-file", "key", "out"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(" had been lost before") && said.contains("incomplete"), "{said}");
    let source = std::fs::canonicalize(path("source/lost")).unwrap();
    let restored = std::fs::read(path("out").join(source.strip_prefix("/").unwrap())).unwrap();
    // Blocks go to packs at random: part of it may lie in another one.
    assert_eq!(restored.len(), noise.len());
    assert!(restored.iter().zip(&noise).all(|(byte, was)| *byte == 0 || byte == was), "a gap reads as zeros");
    assert!(restored.iter().zip(&noise).filter(|(byte, was)| byte != was).count() > 1000, "and there is one");
}
