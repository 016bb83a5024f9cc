//! `copal dump`: files and archives as they were saved, and never a byte that was not.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    Content, Item, Kind, Sandbox, assert_same, demand_root, end_unread, flip, longest, make, noise, packs,
};

/// Unpacks a tar archive into a new folder, with all that tar can give back.
fn unpack(archive: &[u8], into: &Path) {
    std::fs::create_dir(into).unwrap();
    let file = into.with_extension("tar");
    std::fs::write(&file, archive).unwrap();
    let mut command = Command::new("tar");
    command.args(["--extract", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--file"]);
    command.arg(&file).arg("--directory").arg(into).env("LC_ALL", "C");
    common::end(command).expect(0);
}

#[test]
fn a_file_is_written_out_as_it_was() {
    let sandbox = Sandbox::new();
    let content = noise(1, 3_000_000);
    sandbox.write("source/docs/large", &content);
    sandbox.write("source/docs/empty", "");
    let sparse = std::fs::File::create(sandbox.path("source/docs/sparse")).unwrap();
    sparse.set_len(1_000_000).unwrap();
    sandbox.back_up_with(&["--time", "2021-01-01 10:00"]);
    sandbox.write("source/docs/large", "newer");
    sandbox.back_up_with(&["--time", "2022-01-01 10:00"]);
    let whole = sandbox.path("source/docs/large");
    let whole = whole.to_str().unwrap();
    for words in [
        &["dump", "latest~1:docs/large"][..],
        &["cat", &format!("latest~1:{whole}")],
        &["dump", "--at", "2021-06-01", whole],
        &["dump", "--at", "2021-06-01", "source/docs/large"],
    ] {
        assert!(sandbox.run(words).expect(0).stdout == content, "{words:?}");
    }
    assert_eq!(sandbox.run(["cat", "latest:large"]).expect(0).stdout, b"newer");
    assert!(sandbox.run(["dump", "latest:docs/empty"]).expect(0).stdout.is_empty());
    assert!(sandbox.run(["dump", "latest:docs/sparse"]).expect(0).stdout == vec![0; 1_000_000]);
    sandbox.run(["dump", "latest:nowhere"]).expect(1).warns("holds no nowhere");
    sandbox.run(["dump", "--at", "2020-01-01", whole]).expect(1).warns("2021-01-01");

    let target = sandbox.path("out/copy");
    std::fs::create_dir(sandbox.path("out")).unwrap();
    let to = |words: &[&str]| sandbox.run([&["dump", "-t", target.to_str().unwrap()][..], words].concat());
    to(&["latest~1:docs/large"]).expect(0).says("wrote 1 file, 2.86 MiB");
    assert!(std::fs::read(&target).unwrap() == content);
    to(&["latest:docs/large"]).expect(6).warns("is there already");
    assert!(std::fs::read(&target).unwrap() == content);
    std::fs::remove_file(&target).unwrap();
    assert_eq!(to(&["--json", "latest~1:docs/large"]).expect(0).summary()["total_bytes"], 3_000_000);
    assert_eq!(std::fs::read_dir(sandbox.path("out")).unwrap().count(), 1);
}

#[test]
fn what_is_lost_cuts_the_output_off_and_leaves_no_target() {
    let sandbox = Sandbox::new();
    let content = noise(1, 6 << 20);
    sandbox.write("source/a/first", "fine");
    sandbox.write("source/a/large", &content);
    sandbox.write("source/a/later", "fine too");
    sandbox.back_up();
    let pack = longest(packs(&sandbox));
    flip(&pack);
    let ended = sandbox.run(["dump", "latest:a/large"]).expect(5).warns("a/large").warns("cut off");
    assert!(
        ended.stdout.len() < content.len() && content.starts_with(&ended.stdout),
        "something else than what was saved"
    );
    assert!(!ended.stdout.is_empty());
    let ended = sandbox.run(["dump", "--archive", "tar", "latest:a"]).expect(5).warns("a/large");
    let end = [0; 1024];
    assert!(!ended.stdout.ends_with(&end), "a cut archive must not look whole");
    let ended = sandbox.run(["dump", "--archive", "zip", "latest:a"]).expect(5).warns("a/large");
    assert!(
        !ended.stdout.windows(4).any(|bytes| bytes == b"PK\x05\x06"),
        "a cut archive must not look whole"
    );
    assert_eq!(ended.err().lines().count(), 2, "{ended}");
    std::fs::create_dir(sandbox.path("out")).unwrap();
    sandbox.run(["dump", "latest:a/large", "--target", "out/large"]).expect(5);
    sandbox.run(["dump", "latest:a", "--target", "out/a.tar"]).expect(5);
    assert_eq!(std::fs::read_dir(sandbox.path("out")).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(sandbox.run(["dump", "latest:a/later"]).expect(0).stdout, b"fine too");
}

#[test]
fn an_archive_that_is_cut_off_between_two_entries_does_not_look_whole() {
    let sandbox = Sandbox::new();
    sandbox.write("source/a/before", "fine");
    sandbox.write("source/b/lost", "lost");
    sandbox.run([OsStr::new("backup"), sandbox.path("source/a").as_os_str()]).expect(0);
    let before = packs(&sandbox);
    sandbox.run([OsStr::new("backup"), sandbox.path("source/b").as_os_str()]).expect(0);
    let of_b: Vec<PathBuf> = packs(&sandbox).difference(&before).cloned().collect();
    sandbox.back_up();
    of_b.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    let ended = sandbox.run(["dump", "latest:source"]).expect(5).warns("/b").warns("cut off");
    assert_eq!(ended.stdout.len() % 512, 0, "it ends within an entry, and so proves nothing");
    let file = sandbox.path("cut.tar");
    std::fs::write(&file, &ended.stdout).unwrap();
    let mut command = Command::new("tar");
    command.arg("--list").arg("--file").arg(&file).env("LC_ALL", "C");
    let listed = common::end(command).expect(2);
    assert!(listed.out().contains("a/before"), "{listed}");
}

#[test]
fn what_a_repair_marked_as_lost_is_no_zeros() {
    let sandbox = Sandbox::new();
    sandbox.write("source/large", noise(1, 3 << 20));
    sandbox.write("source/small", "fine");
    sandbox.back_up();
    // All of its content, over whichever packs that was spread; what is left is trees.
    let long = packs(&sandbox).into_iter().filter(|pack| pack.metadata().unwrap().len() > 500_000);
    long.for_each(|pack| std::fs::remove_file(pack).unwrap());
    sandbox.run(["check", "--read-data"]).expect(5);
    let _ = sandbox.run(["repair", "index", "--yes"]);
    let _ = sandbox.run(["repair", "snapshots", "--forget"]);
    sandbox.run(["ls", "latest:large"]).expect(0).says("bytes are lost");
    let ended = sandbox.run(["dump", "latest:large"]).expect(5).warns("as a repair marked it");
    assert!(ended.stdout.is_empty(), "{} bytes of what is lost", ended.stdout.len());
}

#[test]
fn root_gets_back_from_a_tar_archive_all_that_tar_keeps() {
    demand_root();
    let sandbox = Sandbox::new();
    let long = "a-long-name-".repeat(20);
    let mut old = Item::file(0, "before-1970", "old");
    old.mtime = (-2, 500_000_000);
    let mut owned = Item::file(1, "owned", "x").mode(0o4751);
    owned.owner = (4_000_000_000, 3_000_000);
    let items = [
        Item::new(0, "folder", Kind::Folder).mode(0o2750),
        owned,
        old,
        Item::new(0, "large", Kind::File(Content::Noise { seed: 1, length: 1_234_567 })),
        Item::file(0, "exact", vec![b'x'; 1024]),
        Item::file(0, "empty", ""),
        Item::file(0, &long, "long").xattr("user.note", b"with\nlines=and\0zeros").xattr("user.empty", b""),
        Item::new(0, b"\xff\xfe\n", Kind::Folder),
        Item::file(2, b"in\xe9side", "odd"),
        Item::new(0, "symlink", Kind::Symlink(long.clone().into_bytes())),
        Item::new(0, "short-symlink", Kind::Symlink(b"../x".to_vec())),
        Item::new(0, "fifo", Kind::Fifo),
        Item::new(0, "device", Kind::Character(1, 3)),
        Item::new(0, "block", Kind::Block(250, 1_000_000)),
        Item::new(0, "link", Kind::Link(3)),
        Item::new(1, "second-link", Kind::Link(9)),
    ];
    make(&[&sandbox.source()], &items, None);
    sandbox.back_up();
    let name = sandbox.source().to_str().unwrap().to_owned();
    let archive = sandbox.run(["dump", "--archive", "tar", &format!("latest:{name}")]).expect(0).stdout;
    unpack(&archive, &sandbox.path("unpacked"));
    // The folder itself is not in the archive.
    let time = std::fs::metadata(sandbox.source()).unwrap().modified().unwrap();
    let unpacked = sandbox.path("unpacked");
    std::fs::set_permissions(&unpacked, std::fs::metadata(sandbox.source()).unwrap().permissions()).unwrap();
    std::fs::File::open(&unpacked).unwrap().set_modified(time).unwrap();
    assert_same(&sandbox.source(), &unpacked);
    // A whole snapshot has the stored paths.
    let archive = sandbox.run(["dump", "latest"]).expect(0).stdout;
    unpack(&archive, &sandbox.path("whole"));
    assert_same(
        &sandbox.source().join("folder"),
        &common::below(&sandbox.path("whole"), &sandbox.source()).join("folder"),
    );
    // Python reads the records too.
    std::fs::write(sandbox.path("whole.tar"), &archive).unwrap();
    let listed = python(
        "import sys, tarfile\nfor entry in tarfile.open(sys.argv[1]): print(ascii(entry.name), entry.size, entry.mtime, entry.uid)",
        &sandbox.path("whole.tar"),
    );
    assert!(
        listed.contains("before-1970' 3 -1.5 0") && listed.contains("owned' 1 1700000000.1234567 4000000000"),
        "{listed}"
    );
    let single = sandbox.run(["dump", "--archive", "tar", "latest:before-1970"]).expect(0).stdout;
    unpack(&single, &sandbox.path("single"));
    assert_same(&sandbox.source().join("before-1970"), &sandbox.path("single/before-1970"));
}

fn python(script: &str, argument: &Path) -> String {
    let python = std::env::var("COPAL_TEST_PYTHON").expect("COPAL_TEST_PYTHON: run tests/run, which sets it");
    let mut command = Command::new(python);
    command.arg("-c").arg(script).arg(argument).env("TZ", "UTC");
    common::end(command).expect(0).out()
}

#[test]
fn a_zip_archive_holds_files_folders_and_symlinks_and_says_what_it_lacks() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/text", "text ".repeat(10_000));
    sandbox.write("source/docs/noise", noise(1, 300_000));
    sandbox.write("source/empty", "");
    std::fs::set_permissions(sandbox.path("source/docs/text"), PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("docs/text", sandbox.path("source/link")).unwrap();
    std::fs::write(sandbox.source().join(OsStr::from_bytes(b"caf\xe9")), "odd").unwrap();
    sandbox.back_up();
    let source = format!("latest:{}", sandbox.source().display());
    sandbox.run(["dump", "-a", "zip", &source, "--target", "all.zip"]).expect(0);
    let listed = python(
        "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
         for i in z.infolist(): print(i.filename, i.file_size, oct(i.external_attr >> 16), i.compress_type)\n\
         print(z.read('link'), z.read('docs/text') == b'text ' * 10000)",
        &sandbox.path("all.zip"),
    );
    for line in [
        "docs/text 50000 0o100750 8",
        "docs/noise 300000 ",
        "docs/ 0 0o40755",
        "link 9 0o120",
        "b'docs/text' True",
        "empty 0",
        "caf\\xe9 3",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    let size = std::fs::metadata(sandbox.path("all.zip")).unwrap().len();
    assert!(size < 305_000, "text is compressed: {size}");
    let mut command = Command::new("mkfifo");
    command.arg(sandbox.path("source/fifo"));
    common::end(command).expect(0);
    sandbox.back_up();
    let ended = sandbox
        .run(["dump", "-a", "zip", &source])
        .expect(3)
        .warns("source/fifo: a zip archive holds no fifo");
    assert!(ended.stdout.windows(4).any(|bytes| bytes == b"PK\x05\x06"), "the rest is there, and ended");
    sandbox.run(["dump", "latest:fifo"]).expect(2).warns("is no file");
}

#[test]
fn a_folder_is_a_tar_archive_and_a_reader_that_goes_away_is_no_trouble() {
    let sandbox = Sandbox::new();
    sandbox.write("source/folder/large", noise(1, 1 << 20));
    sandbox.back_up();
    let folder = sandbox.run(["dump", "latest:folder"]).expect(0).stdout;
    assert!(folder == sandbox.run(["dump", "--archive", "tar", "latest:folder"]).expect(0).stdout);
    assert!(folder.starts_with(b"PaxHeader") && folder.len().is_multiple_of(512));
    for words in [
        &["dump", "latest:folder"][..],
        &["dump", "-a", "zip", "latest:folder"],
        &["cat", "latest:folder/large"],
    ] {
        let ended = end_unread(sandbox.command(words));
        assert_eq!((ended.code, ended.err().as_str()), (141, ""), "{ended}");
    }
}

#[test]
fn entries_that_were_not_read_are_named() {
    let sandbox = Sandbox::of_nobody();
    let secret = sandbox.write("source/folder/secret", "x");
    sandbox.write("source/folder/open", "y");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o0)).unwrap();
    let source = sandbox.source();
    sandbox.run([OsStr::new("backup"), source.as_os_str()]).expect(3);
    let ended = sandbox
        .run(["dump", "latest:folder"])
        .expect(3)
        .warns("folder/secret: permission denied")
        .warns("1 thing is not in the archive");
    assert!(ended.stdout.ends_with(&[0; 1024]));
    sandbox.run(["dump", "latest:folder/secret"]).expect(1).warns("was not read: permission denied");
}
