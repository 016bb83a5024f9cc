//! Tests of the command line: what is accepted, what is refused with exit code 2, and which source counts.

use std::path::Path;

use super::super::environment::tests::given;
use super::super::exit::{Code, from_parser};
use super::*;
use crate::compress::Level;

fn read_with(line: &str, environment: &[(&str, &str)]) -> Result<Arguments, clap::Error> {
    let typed = std::iter::once("copal")
        .chain(line.split_whitespace())
        .map(|word| OsString::from(word.replace('_', "")));
    Arguments::read(typed, &given(environment))
}

fn read(line: &str) -> Result<Arguments, clap::Error> {
    read_with(line, &[])
}

#[test]
fn the_tree_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn what_users_type_is_accepted() {
    for line in [
        "init -r /media/disk/backup",
        "init --average-chunk 64K --key-file k",
        "backup /a",
        "-r /r backup /a -e *.o --iexclude *.TMP --exclude-file f --exclude-caches --exclude-if-present .no:yes -x --git-ignore",
        "backup /a --exclude-larger-than 2G --tag a,b --tag c -H host --time 2026-11-01 --parent latest -n --skip-if-unchanged",
        "backup --files-from - --files-from-raw x --files-from-verbatim y /z -f --read-concurrency 4 --compression max",
        "backup --stdin --stdin-filename x",
        "backup --command a=b",
        "backup /a --fs-snapshot auto",
        "backup /a --command a=b=c --command-time-limit 1h",
        "backup --stdin-from-command --stdin-filename x -- pg_dump -U me --json",
        "watch /a",
        "watch /a -q --quiet-period 1m --every 0s --latest 1h --walk-every 1d --on-battery pause -H host -l 3 --keep-hourly 24 -d 7 -e *.o",
        "snapshots latest --json",
        "ls",
        "ls latest:Documents -l -R",
        "restore latest -t /x -i *.odt -e b --overwrite if-changed --numeric-ids --delete --sparse --verify -n",
        "restore --at yesterday /a /b --in-place",
        "mount /mnt",
        "serve",
        "serve --append-only --read-only --quota 500G /srv/backup",
        "mount --allow-other -H host /mnt --memory 64M",
        "snapshots --forgotten",
        "forget 3fa91c20 latest -n",
        "forget -l 3 -H 24 -d 7 -w 5 -m 12 -y unlimited --keep-within 1y5m7d2h --keep-tag a,b --keep-tag c",
        "forget --keep-last -1 --group-by _ --timezone UTC --host a --host b --tag x --path /a --dry-run",
        "forget --keep-within-hourly 2d --keep-within-daily 1m --keep-within-weekly 1y --keep-within-monthly 2y --keep-within-yearly 9y",
        "forget --all --unsafe-allow-remove-all",
        "forget --keep-size 500G",
        "forget --keep-size 0 --free 20% --keep-daily 7 --tag x -n",
        "forget --free 100G --prune",
        "undelete 3fa91c20 4ab",
        "protect latest",
        "unprotect latest -H host",
        "tag --add a,b --remove c latest",
        "tag --set _ --tag x --host h --path /a",
        "check",
        "check --budget 10m",
        "check --read-data-subset 2/5",
        "schedule install",
        "schedule install web.2 --at hourly --jitter 0 --system --with cron -n -y -f",
        "schedule list --json",
        "schedule remove web --user -n -y",
        "key list",
        "key add --new-key-file k --label laptop",
        "key remove 3f",
        "key passwd --new-password-file p",
        "key export",
        "stats latest -H h",
        "completions bash",
        "man backup",
        "version -vv --memory 256M",
    ] {
        read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_cannot_be_understood_is_refused_with_code_2() {
    for line in [
        "",
        "fly",
        "backup",
        "backup _",
        "backup --stdin /a",
        "backup --stdin --files-from x",
        "backup --stdin --stdin-from-command x",
        "backup --stdin-from-command",
        "backup --stdin-from-command --files-from x y",
        "backup /a --stdin-filename x",
        "backup --stdin --command a=b",
        "backup --command a",
        "backup /a --command-time-limit x",
        "backup /a --compression 23",
        "backup /a --compression ultra",
        "backup /a --exclude-larger-than big",
        "backup /a --exclude-if-present a/b",
        "backup /a --read-concurrency 0",
        "backup /a -f --parent latest",
        "backup /a --fs-snapshot",
        "backup /a --fs-snapshot ext4",
        "backup --stdin --fs-snapshot auto",
        "backup /a --exclud x",
        "backup /a --tag a,,b",
        "restore latest",
        "restore -t /x",
        "mount",
        "mount /a /b",
        "restore latest -t /x --in-place",
        "restore latest -t /x --overwrite sometimes",
        "forget",
        "forget --all latest",
        "forget --all --keep-last 3",
        "forget latest --keep-last 3",
        "forget latest --tag x",
        "forget --keep-last 0",
        "forget --keep-last -2",
        "forget --keep-last three",
        "forget --keep-within 5",
        "forget --keep-within 0d",
        "forget --keep-last 1 --group-by colour",
        "forget --keep-last 1 --timezone Nowhere/At_All",
        "forget --host h",
        "forget latest --keep-size 5G",
        "forget --all --free 20%",
        "forget --free 100%",
        "forget --free much --keep-last 1",
        "forget --keep-size 20%",
        "forget --keep-size 5G --keep-last 0",
        "drill --files 0",
        "drill --size 0",
        "drill --seed x",
        "undelete",
        "protect",
        "unprotect",
        "tag",
        "tag latest",
        "tag --set a --add b",
        "tag --add _",
        "tag --add a,,b",
        "tag --add a --remove a",
        "tag --add a --tag b latest",
        "check --read-data --budget 10m",
        "check --budget 10",
        "check --read-data-subset 6/5",
        "schedule",
        "schedule install --at nightly",
        "schedule install -y --jitter soon",
        "schedule install a/b",
        "schedule install --system --user",
        "schedule remove",
        "key",
        "key add --new-key-file a --new-password-file b",
        "init --average-chunk 0",
        "snapshots -r _",
        "snapshots -r a --repository-file b",
        "-r a snapshots --repository-file b",
        "snapshots -p a --key-file b",
        "snapshots --no-cache --cache-dir c",
        "snapshots -q -v",
        "snapshots --memory lots",
        "snapshots --password secret",
    ] {
        let error = read(line).map(|found| panic!("{line}: {found:?}")).unwrap_err();
        let failure = from_parser(&error).unwrap_err();
        assert_eq!(failure.code, Code::Usage, "{line}");
        assert!(!failure.message.is_empty() && !failure.message.starts_with("error"), "{line}: {failure:?}");
    }
}

#[test]
fn help_and_version_are_texts_and_every_command_has_an_example() {
    assert!(from_parser(&read("--version").unwrap_err()).unwrap().starts_with("copal "));
    for command in Arguments::command().get_subcommands() {
        let help = from_parser(
            &read(&format!("{} --help", command.get_name().replace("help", "init"))).unwrap_err(),
        )
        .unwrap();
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn messages_say_what_is_wrong() {
    let failure = from_parser(&read("backup").unwrap_err()).unwrap_err();
    assert!(failure.message.contains("SOURCE"), "{failure:?}");
    let failure = from_parser(&read("backup /a --exclude-larger-than big").unwrap_err()).unwrap_err();
    assert!(failure.message.contains("'big'") && failure.message.contains("1.5MiB"), "{failure:?}");
    let failure = from_parser(&read("snapshots -q -v").unwrap_err()).unwrap_err();
    assert!(failure.message.contains("--quiet"), "{failure:?}");
}

#[test]
fn options_count_before_variables() {
    let all = [
        ("COPAL_REPOSITORY", "/env"),
        ("COPAL_PASSWORD_FILE", "/pass"),
        ("COPAL_PASSWORD", "x"),
        ("COPAL_CACHE_DIR", "/cache"),
    ];
    let global = read_with("snapshots", &all).unwrap().global;
    assert_eq!(global.repo, Some("/env".into()));
    assert_eq!(global.origin().password_file, Some(Path::new("/pass")));
    assert_eq!((global.password, global.cache_dir), (None, Some("/cache".into())));

    let global = read_with("snapshots --repository-file f --key-file k --no-cache", &all).unwrap().global;
    assert_eq!((global.repo, global.repository_file), (None, Some("f".into())));
    assert_eq!((global.key_file, global.password_file, global.cache_dir), (Some("k".into()), None, None));

    let global =
        read_with("snapshots", &[("COPAL_PASSWORD", "x"), ("COPAL_KEY_FILE", ""), ("COPAL_REPOSITORY", "")])
            .unwrap()
            .global;
    assert_eq!(global.origin().password.map(|secret| secret.bytes().to_vec()), Some(b"x".to_vec()));
    assert_eq!((global.repo, global.key_file), (None, None));
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    for pair in [["COPAL_REPOSITORY", "COPAL_REPOSITORY_FILE"], ["COPAL_KEY_FILE", "COPAL_PASSWORD_COMMAND"]]
    {
        let error = read_with("snapshots", &[(pair[0], "a"), (pair[1], "b")]).unwrap_err();
        assert!(error.to_string().contains(pair[1]), "{error}");
    }
}

#[test]
fn values_arrive_as_meant() {
    let Command::Backup(backup) =
        read("backup /a --tag a,b --tag c --exclude-larger-than 1K --compression 7").unwrap().command
    else {
        panic!()
    };
    assert_eq!(
        (backup.tag.len(), backup.exclude_larger_than, backup.compression),
        (3, Some(1024), Level::Zstd(7))
    );
    assert_eq!(backup.stream_name(), "stdin");
    let Command::Backup(backup) = read("backup --stdin-from-command -- pgdump -f --json").unwrap().command
    else {
        panic!()
    };
    assert_eq!((backup.sources.len(), backup.force), (3, false));
}

#[test]
fn json_is_seen_before_anything_is_parsed() {
    let typed = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert!(wants_json(&typed("copal fly --json")));
    assert!(!wants_json(&typed("copal backup --stdin-from-command -- x --json")));
}

#[test]
fn a_change_waits_for_a_bound_that_follows_from_the_other_periods() {
    let latest = |line: &str| match read(line).unwrap().command {
        Command::Watch(watch) => watch.latest().as_secs(),
        _ => 0,
    };
    assert_eq!(latest("watch /a"), 25 * 60);
    assert_eq!(latest("watch /a --every 0s --quiet-period 2m"), 20 * 60);
    assert_eq!(latest("watch /a --latest 7s"), 7);
    for wrong in
        ["--stdin", "--dry-run", "--force", "--parent x", "--time x", "--walk-every 0s", "--keep-last 0"]
    {
        assert!(read(&format!("watch /a {wrong}")).is_err(), "{wrong}");
    }
}
