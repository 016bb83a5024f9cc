//! What went wrong in other backup programs, and the test here that would find it. `INCIDENTS` has them all: by number, what
//! happened, and the tests; or why it can not happen here. Incidents that no other test covers have theirs below.

mod common;
#[macro_use]
#[path = "pruning/through.rs"]
mod through;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use common::{Sandbox, assert_same, below, demand_root, end, noise};
use copal::backend::{Backend, Entry, Error as StorageError, Kind, Memory};
use copal::crypto::MasterKey;
use copal::crypto::password::Cost;
use copal::format::slot::{Description, Unlock};
use copal::model::clock::SystemClock;
use copal::model::{Cutter, Time};
use copal::progress::Silent;
use copal::repository::{self, Creation};

/// Number, what happened, and the tests that would find it here. What begins with a dash says why there is none.
const INCIDENTS: &[(u8, &str, &[&str])] = &[
    (
        1,
        "a full repository was taken for an unreadable source file: exit code 0, and nothing to restore",
        &["root_a_full_repository_fails_a_backup_and_can_still_be_read", "a_full_disk"],
    ),
    (
        2,
        "errors of writing were passed over, and left corrupt segments",
        &[
            "an_error_of_the_device",
            "a_failed_sync_of_a_file_fails_that_object_and_leaves_nothing",
            "a_folder_whose_sync_failed_is_not_trusted_again",
        ],
    ),
    (
        3,
        "what was authenticated was not bound to its role: archives could be forged",
        &[
            "parts_open_only_in_their_own_place",
            "a_damaged_snapshot_costs_only_itself",
            "contents_of_the_wrong_kind_are_lost_and_never_mistaken",
        ],
    ),
    (
        4,
        "a second archive of one name took the place of the good one",
        &["- snapshots have no names but their hashes"],
    ),
    (
        5,
        "a restore wrote through a symlinked folder, and by hard links to outside",
        &[
            "a_symlink_in_the_place_of_a_folder_is_not_followed",
            "a_symlink_in_one_page_and_a_folder_of_its_name_in_the_next_does_not_lead_outside",
            "a_link_group_through_a_planted_symlink_gives_no_link_to_outside",
        ],
    ),
    (
        6,
        "a name with a separator of another system led out of the target",
        &["names_that_are_no_single_component_are_refused"],
    ),
    (
        7,
        "a restore followed a symlink that lay in its target",
        &[
            "a_symlink_in_the_place_of_a_file_is_not_followed",
            "a_hard_link_in_the_place_of_a_file_is_not_written_through",
            "overwriting_takes_the_place_of_links_and_folders_and_never_follows_them",
        ],
    ),
    (
        8,
        "repairing destroyed what was good",
        &["- check changes nothing but its record of damage: `a_check_of_what_is_damaged`"],
    ),
    (
        9,
        "a bug in a hash table spoiled the index, and chunks were lost",
        &[
            "wrong_rows_of_the_cache_are_found_and_mended",
            "rows_that_are_not_what_an_index_object_says_are_found",
            "a_flipped_bit_in_the_cache_removes_nothing",
        ],
    ),
    (
        10,
        "a listing that was not whole made a rebuilt index forget packs, and pruning removed what was in use",
        &["half_a_listing", "nothing_goes_while_something_is_missing", "a_missing_pack_is_no_copy"],
    ),
    (
        11,
        "a laptop slept, another machine removed its lock and pruned, and it went on",
        &[
            "a_writer_that_slept_past_its_lease_must_not_commit",
            "a_writer_that_slept_before_it_put_its_snapshot_finds_its_fence",
            "a_run_that_slept_past_its_lease_goes_over_everything_again",
        ],
    ),
    (
        12,
        "index objects were put together from an incomplete set",
        &[
            "a_crash_at_every_operation_loses_nothing",
            "no_index_object_names_what_is_gone",
            "pruners_that_see_only_their_own_marks_would_lose_something",
        ],
    ),
    (
        13,
        "maintenance trusted clocks, and removed what was needed",
        &[
            "pruning_beside_writers_and_readers_loses_nothing",
            "a_clock_that_stands_before_the_newest_snapshot_is_not_believed",
        ],
    ),
    (
        14,
        "removal trusted access times of a file system that keeps none",
        &["- nothing hangs on times of access; what is assumed of storage is declared by it: \
             `storage_that_does_not_say_how_long_its_listings_take_is_not_pruned`"],
    ),
    (
        15,
        "an upload failed or was cut short and the backup went on, so the index named packs that were not there",
        &[
            "a_storage_that_keeps_less_of_a_pack_than_it_was_given_fails_the_backup",
            "a_storage_that_is_gone_for_a_while",
        ],
    ),
    (
        16,
        "a compressor spoiled data at its highest level",
        &["every_compression_level_gives_the_same_back", "blocks_come_back_and_random_bytes_are_left_alone"],
    ),
    (
        17,
        "a cache that was damaged or shared by two processes gave wrong data",
        &[
            "a_flipped_bit_anywhere_in_the_cache_never_costs_a_file",
            "a_tree_id_flipped_in_the_cache_does_not_get_into_a_snapshot",
            "two_processes_with_one_cache_rely_on_nothing_that_is_gone",
            "four_threads_look_up_while_one_writes",
        ],
    ),
    (
        18,
        "an upload that was cut off left half a file under the final name; a full disk was tried for ever",
        &[
            "leftovers_and_foreign_files_are_not_listed_and_not_read",
            "without_rename_that_keeps_what_is_there_an_object_is_linked_into_place",
            "root_finds_a_full_disk_told_as_such_and_going_on_after_a_removal",
        ],
    ),
    (
        19,
        "repositories and configuration were made readable by all",
        &[
            "folders_are_0700_and_files_0600_whatever_the_umask",
            "init_makes_a_repository_and_a_key_that_only_its_owner_reads",
            "what_was_written_is_there_again_and_only_the_owner_may_read_it",
        ],
    ),
    (
        20,
        "passwords in URLs, messages and arguments; empty ones accepted; variables passed over in silence",
        &[
            "a_location_that_is_not_a_path_is_refused_without_telling_its_password",
            "empty_missing_and_endless_secrets_are_refused_with_code_12",
            "secrets_are_not_shown",
            "variables_that_contradict_each_other_are_refused",
        ],
    ),
    (
        21,
        "a truncated key or configuration ended in a panic, and the repository could not be used",
        &[
            "a_damaged_config_is_named_and_its_copy_in_a_key_slot_takes_its_place",
            "a_damaged_key_slot_is_named_and_the_other_key_still_opens",
            "key_slots_survive_anything_before_and_after_they_are_opened",
        ],
    ),
    (22, "a slip in a tag forgot all snapshots", &["what_would_leave_nothing_of_a_group_is_refused"]),
    (
        23,
        "snapshots with made-up times let a policy forget the real ones",
        &[
            "snapshots_of_the_future_are_kept_and_take_no_others_place",
            "what_lies_ahead_is_kept_and_takes_no_others_place",
        ],
    ),
    (
        24,
        "a file that changed within the granularity of its time was not read again",
        &[
            "fresh_files_are_read_again_since_their_times_prove_nothing",
            "a_rewrite_within_the_same_tick_late_in_a_scan_is_noticed",
            "other_content_with_the_size_and_time_preserved_is_read",
        ],
    ),
    (
        25,
        "pieces of other files in what was restored; a deadlock on corrupt data",
        &[
            "a_chunk_shorter_or_longer_than_its_segment_is_lost",
            "index_objects_that_lie_about_where_blocks_are_cost_only_those",
            "a_damaged_pack_of_data_costs_only_the_files_in_it",
        ],
    ),
    (
        26,
        "a repository was copied, both were used, and caches and nonces were confused",
        &["a_copied_repository_and_its_origin_are_used_with_one_cache"],
    ),
    (
        27,
        "a refactoring lost the counting of nonces",
        &["nonces_of_a_pack_never_meet", "the_same_bytes_are_never_sealed_alike"],
    ),
    (
        28,
        "the secret of the chunker could be had from lengths of chunks",
        &["subkeys_differ_from_each_other_and_between_repositories", "the_same_bytes_are_never_sealed_alike"],
    ),
    (
        29,
        "a local database broke, and making it anew needed everything, or failed",
        &[
            "without_any_index_object_everything_comes_back",
            "a_lost_cache_costs_no_reading",
            "a_damaged_cache_is_made_anew_and_costs_no_backup",
        ],
    ),
    (
        30,
        "a restore wrote wrong bytes, and made folders of symlinks",
        &[
            "the_second_restorer_gives_back_the_same_files_with_and_without_the_index",
            "root_gets_any_tree_back_exactly",
            "only_the_changed_parts_of_a_large_file_are_rewritten",
        ],
    ),
    (
        31,
        "a corrupt archive made a client take endless memory",
        &[
            "a_tree_of_endless_empty_words_takes_no_more_memory_than_it_may",
            "an_index_object_of_endless_chunks_takes_no_more_memory_than_it_may",
            "key_slots_that_ask_for_too_much_or_too_little_are_refused_before_anything_is_derived",
        ],
    ),
    (
        32,
        "two entries of one name: check found nothing, and the restore failed",
        &["double_and_unsorted_names_are_refused"],
    ),
    (
        33,
        "a repository was so full that it could not even be listed, since a lock could not be written",
        &["root_a_full_repository_fails_a_backup_and_can_still_be_read"],
    ),
    (
        34,
        "syncing a folder, or linking, is not supported by some file systems",
        &[
            "a_sync_that_is_unsupported_is_tolerated_and_told",
            "without_rename_that_keeps_what_is_there_an_object_is_linked_into_place",
        ],
    ),
];

fn collect(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_incident_has_a_test_that_is_there_or_a_reason() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    collect(&here.join("src"), &mut text);
    collect(&here.join("tests"), &mut text);
    // A test, or one that the sweeps over faults make of each command.
    let is_there = |name: &str| {
        ["fn ", "mod "]
            .iter()
            .any(|word| text.contains(&format!("{word}{name}(")) || text.contains(&format!("{word}{name};")))
            || text.contains(&format!("{name}: Fault::"))
            || text.contains(&format!("    {name}: CHECK_DAMAGED;"))
    };
    let mut numbers = Vec::new();
    for (number, what, tests) in INCIDENTS {
        numbers.push(*number);
        assert!(!tests.is_empty() && !what.is_empty());
        for test in *tests {
            match test.strip_prefix("- ") {
                None => assert!(is_there(test), "incident {number}: there is no test {test}"),
                Some(reason) => {
                    for name in reason.split('`').skip(1).step_by(2) {
                        assert!(is_there(name), "incident {number}: there is no test {name}");
                    }
                }
            }
        }
    }
    assert!(numbers.iter().copied().eq(1..=34), "{numbers:?}");
    assert!(!is_there("a_test_that_is_not_there"));
}

/// A full repository was taken for an unreadable source; and it could not even be read any more, since a lock could not be written.
#[test]
fn root_a_full_repository_fails_a_backup_and_can_still_be_read() {
    demand_root();
    let sandbox = Sandbox::empty();
    sandbox.write("source/small", noise(1, 200_000));
    sandbox.write("large/file", noise(2, 3 << 20));
    let script = r#"
        mkdir disk
        mount -t tmpfs -o size=2m none disk
        export COPAL_REPOSITORY=disk/repository
        $copal init
        $copal backup source
        code=0; $copal backup large 2> said || code=$?
        test $code = 1
        grep -q "no space left" said
        test "$($copal snapshots --json | grep -c '"message_type":"snapshot"')" = 1
        $copal check --read-data
        # Not a byte is left.
        dd if=/dev/zero of=disk/rest bs=4096 2> /dev/null || true
        code=0; $copal backup source 2> said || code=$?
        test $code = 1
        $copal snapshots
        $copal ls latest
        $copal check --read-data
        $copal restore latest -t out
        code=0; $copal prune --grace 0 2> said || code=$?
        test $code = 1
        grep -q "Make room" said
        # With a little room everything goes on, and what the failed backup left is found again or goes.
        rm disk/rest
        $copal prune --grace 0
        $copal backup source
        $copal check --read-data
        umount disk"#;
    sandbox.with_mounts(script).expect(0);
    assert_same(&sandbox.source(), &below(&sandbox.path("out"), &sandbox.source()));
}

/// Storage that keeps half of each pack and says that all is well.
#[derive(Clone)]
struct Halves {
    inner: Memory,
}

impl Backend for Halves {
    through! { location get list stat remove time create }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let kept = if kind == Kind::Packs { bytes.len() / 2 } else { bytes.len() };
        self.inner.put(kind, name, &bytes[..kept])
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, StorageError> {
        self.inner.get_range(kind, name, offset, length)
    }
}

fn creation(key: &MasterKey) -> Creation<'_> {
    Creation {
        unlock: Unlock::KeyFile(key),
        cost: Cost::default(),
        cutter: Cutter::gear(64 << 10),
        pack_target: 1 << 20,
        description: Description {
            label: String::new(),
            made: Time::default(),
            user: String::new(),
            host: String::new(),
            writer: 0,
            shares: false,
        },
    }
}

/// An upload was cut short, the backup went on, and the index named packs that were not there.
#[test]
fn a_storage_that_keeps_less_of_a_pack_than_it_was_given_fails_the_backup() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), noise(1, 100_000)).unwrap();
    let (storage, key) = (Halves { inner: Memory::new() }, MasterKey::generate().unwrap());
    repository::create(&storage, &creation(&key), &SystemClock).unwrap();
    let options = copal::backup::Options {
        sources: vec![source.path().as_os_str().as_bytes().to_vec()],
        ..Default::default()
    };
    let back_up = |storage: &dyn Fn() -> Box<dyn Backend>| {
        let repository = repository::open(storage(), Unlock::KeyFile(&key), None).unwrap();
        let stop = AtomicBool::new(false);
        copal::backup::backup(&repository, &options, &SystemClock, &Silent, &stop).map(|outcome| outcome.name)
    };
    let error = back_up(&|| Box::new(storage.clone())).unwrap_err();
    assert!(error.to_string().contains("another length"), "{error}");
    for kind in [Kind::Index, Kind::Snapshots, Kind::Confirmed] {
        storage.list(kind, &mut |entry| panic!("{kind:?} {} names what is not there", entry.name)).unwrap();
    }
    // On sound storage it goes on, beside the halves.
    back_up(&|| Box::new(storage.inner.clone())).unwrap();
}

/// A repository was copied with cp, both were used from one machine, and the cache was confused.
#[test]
fn a_copied_repository_and_its_origin_are_used_with_one_cache() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    let copy = sandbox.path("copy");
    let change = |number: u64| {
        sandbox.write(format!("source/{number}"), noise(number, 150_000));
        sandbox.write("source/changes", noise(100 + number, 5000));
    };
    change(1);
    sandbox.back_up();
    end({
        let mut command = Command::new("cp");
        command.arg("-a").arg(sandbox.repository()).arg(&copy);
        command
    })
    .expect(0);
    let copied = ["-r", copy.to_str().unwrap()];
    for number in 2..5 {
        // What is new is stored in the one first, and is not in the other.
        change(number);
        sandbox.back_up_with(&copied);
        sandbox.back_up();
        change(10 + number);
        sandbox.back_up();
        sandbox.run([&["forget", "--keep-last", "1"][..], &copied].concat()).expect(0);
        sandbox.run([&["prune", "--grace", "0", "--max-unused", "0"][..], &copied].concat()).expect(0);
        sandbox.back_up_with(&copied);
    }
    for (number, options) in
        [&[][..], &copied[..], &["--no-cache"][..], &[&copied[..], &["--no-cache"]].concat()]
            .into_iter()
            .enumerate()
    {
        sandbox.run([&["check", "--read-data"][..], options].concat()).expect(0);
        let out = sandbox.path(format!("out {number}"));
        let words = ["restore", "latest", "-t", out.to_str().unwrap()];
        sandbox.run([&words[..], options].concat()).expect(0);
        assert_same(&sandbox.source(), &below(&out, &sandbox.source()));
    }
}

/// Nonces were not counted any more after a refactoring; and what is equal could be told by its length.
#[test]
fn the_same_bytes_are_never_sealed_alike() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), noise(1, 2 << 20)).unwrap();
    let options = copal::backup::Options {
        sources: vec![source.path().as_os_str().as_bytes().to_vec()],
        ..Default::default()
    };
    let (mut pieces, mut chunks) = (BTreeSet::new(), Vec::new());
    for _ in 0..2 {
        let (storage, key) = (Memory::new(), MasterKey::generate().unwrap());
        repository::create(&storage, &creation(&key), &SystemClock).unwrap();
        let open = || repository::open(Box::new(storage.clone()), Unlock::KeyFile(&key), None).unwrap();
        let stop = AtomicBool::new(false);
        copal::backup::backup(&open(), &options, &SystemClock, &Silent, &stop).unwrap();
        let (repository, mut lengths) = (open(), Vec::new());
        repository.sync().unwrap();
        for (name, length) in repository.stored_packs().unwrap() {
            let bytes = storage.get(Kind::Packs, &name.to_string()).unwrap();
            for piece in bytes[96..].chunks_exact(32) {
                assert!(pieces.insert(piece.to_vec()), "32 bytes of a pack came before");
            }
            let entry = repository.read_pack_entry(&name, length).unwrap();
            let blocks = entry.directory.blocks.into_iter();
            lengths.extend(blocks.flat_map(|block| block.chunks).map(|(_, length)| length));
        }
        lengths.sort_unstable();
        chunks.push(lengths);
    }
    assert_ne!(chunks[0], chunks[1], "both are cut alike");
}
