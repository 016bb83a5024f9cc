//! Room: what `forget --dry-run` says is freed, and forgetting until what stays fits; against what the disk says after pruning.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Sandbox, demand_root, end, noise};

/// Bytes of all packs.
fn packs(repository: &Path) -> u64 {
    let files = walkdir::WalkDir::new(repository.join("packs")).into_iter().map(Result::unwrap);
    files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum()
}

fn back_up(sandbox: &Sandbox, day: u64, options: &[&str]) -> String {
    let time = format!("2026-01-{day:02} 10:00");
    let options = [&["--time", &time], options].concat();
    sandbox.back_up_with(&options)["snapshot_id"].as_str().unwrap().to_owned()
}

/// A snapshot a day, each with a file of 300 KB of its own, the last with one more.
fn days(sandbox: &Sandbox, count: u64) -> Vec<String> {
    (1..=count)
        .map(|day| {
            if day == count {
                sandbox.write("source/more", noise(99, 200_000));
            }
            sandbox.write("source/changes", noise(day, 300_000));
            back_up(sandbox, day, &[])
        })
        .collect()
}

fn summary(sandbox: &Sandbox, options: &[&str], code: i32) -> serde_json::Value {
    sandbox.run([&["forget", "--json"], options].concat()).expect(code).summary()
}

fn number(summary: &serde_json::Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}"))
}

fn listed(sandbox: &Sandbox) -> Vec<String> {
    let lines = sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot");
    lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

fn prune_all(sandbox: &Sandbox) {
    sandbox.run(["prune", "-q", "--grace", "0", "--max-unused", "0"]).expect(0);
}

#[test]
fn a_try_tells_what_pruning_then_frees() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 4);
    sandbox.run(["forget", &ids[0]]).expect(0);
    let before = packs(&sandbox.repository());
    let shown = sandbox.run(["forget", "-n", "--keep-last", "1"]).expect(0);
    shown.says("would forget 2 snapshots, 1 kept").says("prune then gives back ").says("for 7 days");
    let told = summary(&sandbox, &["-n", "--keep-last", "1"], 0);
    assert_eq!(number(&told, "bytes_stored"), before);
    let (whole, blocks) = (number(&told, "bytes_freed_packs"), number(&told, "bytes_freed_blocks"));
    let about = before - number(&told, "bytes_kept");
    assert!(
        (whole + blocks..=whole + blocks + number(&told, "bytes_freed_at_most")).contains(&about),
        "{told}"
    );
    // Each took 300 KB of its own; the first is forgotten already.
    assert!((890_000..1_000_000).contains(&(whole + blocks)), "{told}");
    assert!((300_000..340_000).contains(&number(&told, "bytes_unused")), "{told}");
    assert_eq!(told.get("bytes_too_many"), None);
    // The same by name, and of what is damaged already nothing hangs on it.
    let named = summary(&sandbox, &["-n", &ids[1], &ids[2]], 0);
    assert_eq!(number(&named, "bytes_freed_packs"), whole);
    assert_eq!(packs(&sandbox.repository()), before);

    let done = summary(&sandbox, &["--keep-last", "1"], 0);
    assert_eq!(done.get("bytes_freed_packs"), None, "forgetting itself looks at nothing");
    sandbox.run(["prune", "--grace", "0", "--max-unused", "unlimited"]).expect(0);
    assert_eq!(before - packs(&sandbox.repository()), whole);
    prune_all(&sandbox);
    let given = before - packs(&sandbox.repository());
    assert!(given <= whole + blocks + number(&told, "bytes_freed_at_most"), "{given} {told}");
    assert!(given + 16_384 >= whole + blocks, "{given} {told}");
    common::assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn a_try_needs_only_to_read() {
    let sandbox = Sandbox::of_nobody();
    let ids = days(&sandbox, 2);
    let folders: Vec<_> = walkdir::WalkDir::new(sandbox.repository())
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_dir())
        .collect();
    let set = |mode| {
        for folder in &folders {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    set(0o500);
    let policy = sandbox.run(["forget", "-n", "--json", "--keep-last", "1"]);
    let sized = sandbox.run(["forget", "-n", "--json", "--keep-size", "0"]);
    let named = sandbox.run(["forget", "-n", "--json", "--no-cache", &ids[0]]);
    let refused = sandbox.run(["forget", &ids[0]]);
    set(0o700);
    for (ended, code) in [(policy, 0), (sized, 3), (named, 0)] {
        assert!(number(&ended.expect(code).summary(), "bytes_freed_packs") > 300_000);
    }
    refused.expect(1);
}

#[test]
fn what_is_damaged_makes_it_unknown_and_nothing_is_forgotten_for_room() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 2);
    for entry in walkdir::WalkDir::new(sandbox.repository().join("packs")).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() && entry.metadata().unwrap().len() < 50_000 {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            bytes[150] ^= 1;
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    sandbox
        .run(["forget", "-n", "--keep-last", "1"])
        .expect(5)
        .says("would forget 1 snapshot, 1 kept")
        .warns("what that frees is not known: ");
    sandbox.run(["forget", "--keep-size", "1"]).expect(5);
    assert_eq!(listed(&sandbox), ids);
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
}

#[test]
fn the_oldest_go_until_what_stays_fits() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 6);
    sandbox.run(["protect", &ids[1]]).expect(0);
    let stored = packs(&sandbox.repository());
    let fits = summary(&sandbox, &["--keep-size", &stored.to_string()], 0);
    assert_eq!((number(&fits, "snapshots_forgotten"), number(&fits, "bytes_too_many")), (0, 0));
    let plenty = sandbox.run(["forget", "--keep-size", "1T"]).expect(0);
    plenty.says("forgot 0 snapshots, 6 kept").says("fits");
    assert_eq!(listed(&sandbox), ids);

    // Two files have to go: the first, and the third, since the second is protected.
    let most = (stored - 500_000).to_string();
    let told = summary(&sandbox, &["-n", "--keep-size", &most], 0);
    assert_eq!(listed(&sandbox), ids);
    let done = summary(&sandbox, &["--keep-size", &most], 0);
    for same in ["snapshots_forgotten", "bytes_freed_packs", "bytes_kept", "bytes_too_many"] {
        assert_eq!(told[same], done[same], "{same}");
    }
    let left: Vec<String> = [1, 3, 4, 5].iter().map(|at: &usize| ids[*at].clone()).collect();
    assert_eq!(listed(&sandbox), left);
    // Their room counts as free from now on, though it comes back later.
    let again = summary(&sandbox, &["--keep-size", &most], 0);
    assert_eq!((number(&again, "snapshots_forgotten"), packs(&sandbox.repository())), (0, stored));
    prune_all(&sandbox);
    assert!(packs(&sandbox.repository()) <= stored - 500_000, "{stored} {}", packs(&sandbox.repository()));

    // It can not fit: all goes that may.
    let ended = sandbox.run(["forget", "--keep-size", "100K"]).expect(3);
    ended.says("forgot 2 snapshots, 2 kept").warns("it does not fit: ");
    assert_eq!(listed(&sandbox), [ids[1].clone(), ids[5].clone()]);
    let short = number(&summary(&sandbox, &["--keep-size", "100K"], 3), "bytes_too_many");
    let told = summary(&sandbox, &["-n", "--keep-size", "100K"], 3);
    assert_eq!(number(&told, "bytes_kept") - 100 * 1024, short);
    // Exactly so much more, and it fits.
    let most = (100 * 1024 + short).to_string();
    assert_eq!(number(&summary(&sandbox, &["--keep-size", &most], 0), "bytes_too_many"), 0);
    prune_all(&sandbox);
    common::assert_same(&sandbox.source(), &sandbox.restore("out"));
}

#[test]
fn rules_say_what_may_go_for_room() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 4);
    sandbox.run(["tag", "--add", "good", &ids[0]]).expect(0);
    let stored = packs(&sandbox.repository());
    let most = (stored - 200_000).to_string();
    // Two are kept by rules; of the two others one has to go.
    let rules = ["--keep-last", "1", "--keep-tag", "good", "--keep-size", &most];
    let ended = sandbox.run([&["forget", "--json"], &rules[..]].concat()).expect(0);
    let group = &ended.messages("group")[0];
    assert_eq!(group["remove"][0]["id"], ids[1]);
    let why: Vec<&str> = (group["reasons"].as_array().unwrap().iter())
        .map(|reason| reason["matches"][0].as_str().unwrap())
        .collect();
    assert_eq!(why, ["last snapshot", "fits", "has tags [good]"]);
    let rules = ["--keep-last", "2", "--keep-tag", "good", "--keep-size", "1"];
    sandbox.run([&["forget"], &rules[..]].concat()).expect(3).says("forgot 0 snapshots, 3 kept");
    // A rule that keeps nothing of a group is refused, also when all would fit.
    sandbox.run(["forget", "--keep-tag", "typo", "--keep-size", "1T"]).expect(6);
    sandbox.run(["forget", "-n", "--keep-tag", "typo", "--keep-size", "1T"]).expect(6);
    assert_eq!(listed(&sandbox).len(), 3);
}

#[test]
fn of_several_groups_the_oldest_go_and_of_each_the_newest_stays() {
    let sandbox = Sandbox::new();
    let mut ids = Vec::new();
    for day in 1..=6 {
        // The newest of the one host is older than all of the other.
        let host = if day <= 3 { "old" } else { "new" };
        sandbox.write("source/changes", noise(day, 300_000));
        ids.push(back_up(&sandbox, day, &["--host", host]));
    }
    let stored = packs(&sandbox.repository());
    let forgotten = |kept: u64| {
        let most = (stored - kept).to_string();
        let ended = sandbox.run(["forget", "-n", "--json", "--keep-size", &most]);
        let mut gone: Vec<usize> = (ended.messages("group").iter())
            .flat_map(|group| group["remove"].as_array().unwrap().clone())
            .map(|line| ids.iter().position(|id| line["id"] == **id).unwrap())
            .collect();
        gone.sort();
        (gone, ended.code)
    };
    assert_eq!(forgotten(1), (vec![0], 0));
    assert_eq!(forgotten(400_000), (vec![0, 1], 0));
    assert_eq!(forgotten(700_000), (vec![0, 1, 3], 0));
    assert_eq!(forgotten(1_000_000), (vec![0, 1, 3, 4], 0));
    assert_eq!(forgotten(1_300_000), (vec![0, 1, 3, 4], 3));
    // Only of one host, and with all in one group.
    sandbox
        .run(["forget", "-n", "--keep-size", "1", "--host", "new"])
        .expect(3)
        .says("forget 2 snapshots, 1");
    sandbox
        .run(["forget", "-n", "--keep-size", "1", "--group-by", ""])
        .expect(3)
        .says("forget 5 snapshots, 1");
}

#[test]
fn what_can_not_be_meant_is_refused() {
    let sandbox = Sandbox::new();
    days(&sandbox, 1);
    for wrong in [
        &["--free", "100%"][..],
        &["--free", "0"],
        &["--keep-size", "20%"],
        &["--keep-size", "1G", "--all"],
        &["--keep-size", "1G", "latest"],
        &["--keep-size", "1G", "--keep-last", "0"],
    ] {
        sandbox.run([&["forget"], wrong].concat()).expect(2);
    }
}

#[test]
fn a_disk_with_room_loses_nothing_and_one_without_what_may_go() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 3);
    sandbox.run(["forget", "--free", "1"]).expect(0).says("forgot 0 snapshots, 3 kept");
    assert_eq!(listed(&sandbox), ids);
    let ended = sandbox.run(["forget", "-n", "--free", "99.9999%", "--keep-last", "2"]).expect(3);
    ended.says("would forget 1 snapshot, 2 kept").warns("it does not fit: ");
}

#[test]
fn root_a_small_disk_has_so_much_free_after_pruning() {
    demand_root();
    let sandbox = Sandbox::empty();
    sandbox.write("source/stays", noise(99, 200_000));
    // Six snapshots with a megabyte each on a disk of twelve, of which 60 % shall be free.
    let script = r#"
        mkdir disk
        mount -t tmpfs -o size=12m tmpfs disk
        export COPAL_REPOSITORY="$PWD/disk/repository"
        "$copal" init -q
        for day in 1 2 3 4 5 6; do
            head -c 1048576 /dev/urandom > source/changes
            "$copal" backup -q --time "2026-01-0$day 10:00" source
        done
        before=$(stat -f -c %f disk)
        "$copal" forget --json --free 60%
        test "$(stat -f -c %f disk)" -le "$before"
        "$copal" prune -q --grace 0 --max-unused 0
        stat -f -c 'free %f of %b, before '"$before" disk
        "$copal" forget -n --json --free 60%
        "$copal" check -q --read-data
    "#;
    let mut command = Command::new("unshare");
    let script = format!("copal={}\n{script}", env!("CARGO_BIN_EXE_copal"));
    command.args(["-m", "sh", "-ec", &script]).current_dir(sandbox.path("")).env_clear();
    command.envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = end(command).expect(0);
    let out = ended.out();
    let line = out.lines().find(|line| line.starts_with("free ")).unwrap();
    let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [free, all, before] = numbers[..] else { panic!("{line}") };
    assert!(free * 100 >= all * 60, "{line}");
    assert!(before * 100 < all * 60, "there was enough from the beginning: {line}");
    // No more went than had to: with one more there, it would not do.
    let page = 12 * 1024 * 1024 / all;
    assert!((free - (1024 * 1024 / page)) * 100 < all * 60, "{line}");
    assert!(
        out.matches("\"snapshots_forgotten\":0").count() == 1 && out.contains("\"bytes_too_many\":0"),
        "{out}"
    );
}
