//! `copal prune` as it is typed: what it says, what it does, and how it ends.

mod common;

use common::Sandbox;

/// Two snapshots, the first of which had more, and is forgotten.
fn forgotten() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("source/stays", common::noise(1, 300_000));
    sandbox.write("source/goes", common::noise(2, 900_000));
    sandbox.back_up();
    std::fs::remove_file(sandbox.path("source/goes")).unwrap();
    sandbox.back_up();
    sandbox.run(["forget", "latest~1"]).expect(0);
    sandbox
}

fn bytes(sandbox: &Sandbox) -> u64 {
    let packs = std::fs::read_dir(sandbox.repository().join("packs")).unwrap();
    let files = packs.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn prune(sandbox: &Sandbox, options: &[&str]) -> serde_json::Value {
    sandbox.run([&["prune", "--json"], options].concat()).expect(0).summary()
}

#[test]
fn prune_says_what_it_would_do_then_does_it_and_then_has_nothing_to_do() {
    let sandbox = forgotten();
    let before = bytes(&sandbox);
    let id =
        sandbox.run(["snapshots", "--forgotten", "--json"]).expect(0).messages("snapshot")[0]["id"].clone();
    sandbox.run(["prune", "--dry-run"]).expect(0).says("would remove 0 packs");
    let none = prune(&sandbox, &[]);
    assert_eq!((&none["snapshots_removed"], bytes(&sandbox)), (&0.into(), before), "seven days are not over");
    assert_eq!((&none["snapshots_resting"], &none["snapshots_held"]), (&1.into(), &0.into()));
    for options in [&["prune"][..], &["prune", "-n"]] {
        let said = sandbox.run(options).expect(0).out();
        let line = said.lines().find(|line| line.starts_with("1 forgotten snapshot stays until 2")).unwrap();
        assert!(line.ends_with("(7d after forgetting): --grace 0 removes it now"), "{line}");
    }
    sandbox
        .run(["prune", "-n", "--grace", "0", "--max-unused", "0"])
        .expect(0)
        .says("forgotten snapshot for good");
    let planned = prune(&sandbox, &["-n", "--grace", "0", "--max-unused", "0"]);
    assert_eq!(bytes(&sandbox), before);
    let done = prune(&sandbox, &["--grace", "0", "--max-unused", "0"]);
    for same in ["snapshots_removed", "packs_repacked", "bytes_freed_packs", "bytes_freed_blocks"] {
        assert_eq!(planned[same], done[same], "{same}");
    }
    assert!(bytes(&sandbox) < before - 800_000, "{before} {}", bytes(&sandbox));
    sandbox.run(["check", "--read-data"]).expect(0).says("no errors");
    let restored = sandbox.restore("out");
    common::assert_same(&sandbox.source(), &restored);
    sandbox.run(["undelete", id.as_str().unwrap()]).expect(1);
    let again = prune(&sandbox, &["--grace", "0", "--max-unused", "0"]);
    assert_eq!((&again["packs_removed"], &again["bytes_rewritten"]), (&0.into(), &0.into()));
}

#[test]
fn what_is_forgotten_comes_back_until_its_days_are_over() {
    let sandbox = forgotten();
    prune(&sandbox, &["--max-unused", "0"]);
    let id =
        sandbox.run(["snapshots", "--forgotten", "--json"]).expect(0).messages("snapshot")[0]["id"].clone();
    sandbox.run(["undelete", id.as_str().unwrap()]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len(), 2);
}

#[test]
fn forget_can_prune_at_once_what_was_forgotten_long_ago() {
    let sandbox = forgotten();
    let before = bytes(&sandbox);
    sandbox.write("source/more", "more");
    sandbox.back_up();
    let ended = sandbox.run(["forget", "--keep-last", "1", "--prune"]).expect(0);
    assert!(ended.err().contains("their room comes back by copal prune, from 2"), "{}", ended.err());
    assert!(ended.out().contains("2 forgotten snapshots stay"), "{}", ended.out());
    assert!(ended.out().contains("forgot 1 snapshot") && ended.out().contains("removed 0 packs"));
    assert!(bytes(&sandbox) >= before);
    sandbox.run(["forget", "--keep-last", "1", "--prune", "--dry-run"]).expect(2);
}

#[test]
fn prune_is_read_strictly() {
    let sandbox = forgotten();
    for wrong in
        [["--grace", "soon"], ["--max-unused", "much"], ["--max-repack-size", "-1"], ["--max-unused", "100%"]]
    {
        sandbox.run([&["prune"][..], &wrong[..]].concat()).expect(2);
    }
    let empty = Sandbox::empty();
    empty.run(["prune"]).expect(10);
}

#[test]
fn damage_stops_prune_and_nothing_goes() {
    let sandbox = forgotten();
    let index =
        std::fs::read_dir(sandbox.repository().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let mut bytes_of = std::fs::read(&index).unwrap();
    let middle = bytes_of.len() / 2;
    bytes_of[middle] ^= 1;
    std::fs::write(&index, bytes_of).unwrap();
    let before = bytes(&sandbox);
    sandbox.run(["prune", "--grace", "0"]).expect(5);
    assert_eq!(before, bytes(&sandbox));
}

#[test]
fn a_rotten_pack_is_told_when_the_rest_is_done() {
    let sandbox = forgotten();
    let folders = std::fs::read_dir(sandbox.repository().join("packs")).unwrap();
    for file in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()) {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // Those of trees are small.
        if bytes.len() > 200_000 {
            (1000..bytes.len()).step_by(50_000).for_each(|at| bytes[at] ^= 1);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let ended = sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(5);
    assert!(ended.out().contains("removed 1 forgotten snapshot for good"), "{}", ended.out());
    assert!(ended.err().contains("turned out to be damaged"), "{}", ended.err());
    let before = bytes(&sandbox);
    prune(&sandbox, &["--grace", "0", "--max-unused", "0"]);
    assert_eq!(bytes(&sandbox), before, "what is damaged stays for a repair");
}
