//! `--fs-snapshot`: btrfs for real on an image, LVM and ZFS by programs that stand in for theirs and write down how they are called.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Ended, Sandbox, demand_root, end};

/// Runs a shell script that stops at its first failure, in a mount namespace of its own, with the sandbox's environment. Programs of the
/// folder `bin` come first.
fn script(sandbox: &Sandbox, text: &str) -> Ended {
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-exc", &format!("copal={}\n{text}", env!("CARGO_BIN_EXE_copal"))])
        .current_dir(sandbox.path(""))
        .env_clear()
        .envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", path);
    end(command)
}

/// The same with a file system of btrfs at `disk`: a subvolume in it, another in that, a tmpfs, and a file with two names.
fn on_btrfs(sandbox: &Sandbox, text: &str) -> Ended {
    std::fs::File::create(sandbox.path("image")).unwrap().set_len(400 << 20).unwrap();
    let made = "mkfs.btrfs -q image >/dev/null; mkdir disk; mount -o loop image disk
        mkdir disk/folder disk/memory; echo before > disk/folder/file; ln disk/folder/file disk/folder/link
        btrfs subvolume create disk/nested; btrfs subvolume create 'disk/nested/deep er'
        echo n > disk/nested/n; echo d > 'disk/nested/deep er/d'
        mount -t tmpfs none disk/memory; echo m > disk/memory/m
        are_left() { ls -d disk/.copal-* disk/*/.copal-* home/state/copal/fs-snapshots/* 2>/dev/null; }\n";
    script(sandbox, &format!("{made}{text}"))
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let state = sandbox.path("home/state");
    sandbox.with("XDG_STATE_HOME", state)
}

fn text(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What was restored into `out` of the sandbox's file of that name.
fn restored(sandbox: &Sandbox, name: &str) -> String {
    let path = common::below(&sandbox.path("out"), &sandbox.path(name));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn root_a_btrfs_is_read_as_it_was_with_what_is_mounted_in_it() {
    demand_root();
    let sandbox = sandbox();
    // Commands run between the snapshot and the reading.
    on_btrfs(
        &sandbox,
        "change='x=echo after > disk/folder/file; echo after > disk/nested/n; echo after > disk/memory/m; ls -a disk'
        $copal backup --fs-snapshot btrfs --command \"$change\" disk
        ! are_left
        $copal restore latest -t out; $copal check --read-data
        umount disk/memory; umount disk",
    )
    .expect(0);
    assert_eq!(restored(&sandbox, "disk/folder/file"), "before\n");
    assert_eq!(restored(&sandbox, "disk/folder/link"), "before\n");
    assert_eq!(restored(&sandbox, "disk/nested/n"), "n\n");
    assert_eq!(restored(&sandbox, "disk/nested/deep er/d"), "d\n");
    // What is no part of a snapshot is read as it is.
    assert_eq!(restored(&sandbox, "disk/memory/m"), "after\n");
    assert!(text(&sandbox, "out/.commands/x").contains(".copal-"));
    let names = std::fs::read_dir(common::below(&sandbox.path("out"), &sandbox.path("disk"))).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder", "memory", "nested"]);
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| {
        std::fs::metadata(common::below(&sandbox.path("out"), &sandbox.path(name))).unwrap().ino()
    };
    assert_eq!(inode("disk/folder/file"), inode("disk/folder/link"));
}

#[test]
fn root_from_snapshot_to_snapshot_and_to_the_live_one_unchanged_files_are_taken_over() {
    demand_root();
    let sandbox = sandbox().trusting_fresh_files();
    on_btrfs(
        &sandbox,
        "touch -d 2020-02-02 disk
        $copal backup -q --fs-snapshot auto disk
        read_again() { strace -f -qq -e trace=openat -o log $copal backup --json \"$@\" disk; grep -E '\"(file|link|n|d)\"' log; }
        ! read_again --fs-snapshot auto
        ! read_again
        ! read_again --fs-snapshot btrfs -x
        ! read_again --fs-snapshot auto
        echo changed > disk/nested/n
        read_again --fs-snapshot auto | grep -c openat > count
        $copal diff latest~1 latest > differs; $copal diff latest~3 latest~4 > same
        # The snapshots leave no trace in the folder that they were in.
        stat -c %y disk | cut -c1-10 > changed; umount disk/memory
        $copal backup -q --fs-snapshot auto disk; $copal backup --fs-snapshot auto --skip-if-unchanged disk > last
        umount disk",
    )
    .expect(0);
    assert_eq!(text(&sandbox, "changed"), "2020-02-02\n");
    assert!(text(&sandbox, "last").contains("no snapshot was made"));
    assert_eq!(text(&sandbox, "count"), "1\n");
    assert!(text(&sandbox, "differs").contains("nested/n"));
    assert!(text(&sandbox, "same").contains("no differences"));
}

#[test]
fn root_what_was_written_just_before_the_snapshot_is_read_again_however_long_the_run_takes() {
    demand_root();
    let sandbox = sandbox().with("COPAL_TEST_RACY_SECONDS", "5");
    // When the file is read its time is old enough; when the snapshot was made it was not.
    on_btrfs(
        &sandbox,
        "echo fresh > disk/folder/file
        back_up() { $copal backup -q --fs-snapshot btrfs --command \"$1\" disk; }
        back_up 'x=sleep 6'
        strace -f -qq -e trace=openat -o log $copal backup -q --fs-snapshot btrfs --command x=true disk
        grep -E '\"(file|link)\"' log
        umount disk/memory; umount disk",
    )
    .expect(0);
}

#[test]
fn root_the_root_folder_itself_is_read_as_it_was() {
    demand_root();
    let sandbox = sandbox();
    // A machine of its own whose root is a subvolume: the program, and what that and the tools of btrfs need.
    std::fs::File::create(sandbox.path("image")).unwrap().set_len(600 << 20).unwrap();
    let text = format!(
        "mkfs.btrfs -q image >/dev/null; mkdir root; mount -o loop image root
        for path in /usr /bin /sbin /lib /lib64; do [ -e $path ] && mkdir -p root$path && mount --bind $path root$path; done
        mkdir -p root/repository root/dev root/proc root/home root/etc root/tmp
        mount --bind repository root/repository; mount --bind /dev root/dev; mount -t proc proc root/proc
        cp {} root/copal; cp key root/key; echo before > root/etc/file; mkdir root/etc/empty; mount -t tmpfs none root/etc/empty; echo m > root/etc/empty/m
        export COPAL_REPOSITORY=/repository COPAL_KEY_FILE=/key HOME=/home XDG_CACHE_HOME=/home/cache XDG_STATE_HOME=/home/state
        in_it() {{ chroot root /copal \"$@\"; }}
        without='-e /usr -e /bin -e /sbin -e /lib -e /lib64 -e /dev -e /proc -e /copal'
        back_up() {{ in_it backup --fs-snapshot btrfs $without / --command 'x=echo after > /etc/file; ls -a /' \"$@\"; }}
        back_up; in_it dump latest:/etc/file > file; in_it dump latest:/etc/empty/m > m; in_it dump latest:/.commands/x > seen
        in_it ls latest:/ > listed; ! ls -d root/.copal-*
        back_up; in_it dump latest:/etc/file > second",
        env!("CARGO_BIN_EXE_copal")
    );
    script(&sandbox, &text).expect(0);
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert_eq!(
        (read("file"), read("second"), read("m")),
        ("before\n".into(), "after\n".into(), "m\n".into())
    );
    assert!(read("seen").contains(".copal-") && !read("listed").contains(".copal-"), "{}", read("listed"));
}

#[test]
fn root_a_file_or_a_folder_below_is_a_source_too_and_copals_own_is_left_out() {
    demand_root();
    let sandbox = sandbox();
    let ended = on_btrfs(
        &sandbox,
        "$copal backup --fs-snapshot btrfs disk/folder/file 'disk/nested/deep er' --command 'x=echo after > disk/folder/file'
        ! are_left
        $copal restore latest -t out
        export COPAL_REPOSITORY=$PWD/disk/folder/repository; $copal init
        $copal backup --fs-snapshot btrfs disk; $copal ls -r $COPAL_REPOSITORY --recursive latest > listed
        umount disk/memory; umount disk",
    )
    .expect(0);
    ended.warns("leaving out copal's own");
    assert_eq!(restored(&sandbox, "disk/folder/file"), "before\n");
    assert_eq!(restored(&sandbox, "disk/nested/deep er/d"), "d\n");
    let listed = text(&sandbox, "listed");
    assert!(listed.contains("folder/file") && !listed.contains("repository/"), "{listed}");
}

#[test]
fn root_a_mount_that_another_one_hides_is_not_taken_for_what_is_seen() {
    demand_root();
    let sandbox = sandbox();
    std::fs::File::create(sandbox.path("image")).unwrap().set_len(400 << 20).unwrap();
    script(
        &sandbox,
        "mkfs.btrfs -q image >/dev/null; mkdir -p over/disk; mount -o loop image over/disk; echo hidden > over/disk/file
        mount -t tmpfs none over; mkdir over/disk; echo seen > over/disk/file
        $copal backup --fs-snapshot auto over; $copal restore latest -t out; umount over; ! ls -d over/disk/.copal-*
        umount over/disk",
    )
    .expect(0);
    assert_eq!(restored(&sandbox, "over/disk/file"), "seen\n");
}

#[test]
fn root_an_interrupt_or_an_error_leaves_no_snapshot_behind() {
    demand_root();
    let sandbox = sandbox();
    let ended = on_btrfs(
        &sandbox,
        "$copal backup --fs-snapshot btrfs disk --command 'x=ls -d disk/.copal-* > seen; kill -INT $PPID; sleep 1000' && exit 9 || [ $? = 130 ]
        ! are_left; grep -q copal seen
        $copal backup --fs-snapshot auto disk --command 'x=kill -TERM $PPID; sleep 1000' && exit 9 || [ $? = 143 ]
        ! are_left
        $copal backup --fs-snapshot btrfs disk source && exit 9 || [ $? = 1 ]
        ! are_left
        $copal backup --fs-snapshot lvm disk && exit 9 || [ $? = 1 ]
        umount disk/memory; umount disk",
    )
    .expect(0);
    let ended = ended.warns("no btrfs snapshot of the file system of").warns("no lvm snapshot of");
    assert!(!ended.text().contains(" saved\n"), "{ended}");
}

#[test]
fn root_what_a_killed_run_left_is_removed_by_the_next_one_and_nothing_else() {
    demand_root();
    let sandbox = sandbox();
    let ended = on_btrfs(
        &sandbox,
        "btrfs subvolume create disk/.copal-mine; btrfs subvolume create disk/.copal-0123456789abcdef-0
        $copal backup --fs-snapshot btrfs disk --command 'x=kill -9 $PPID; sleep 1' && exit 9 || [ $? = 137 ]
        [ $(ls -d disk/.copal-* | wc -l) = 3 ]
        # One that is at work keeps its own: it waits until the other one has ended.
        $copal backup --fs-snapshot btrfs disk --command 'x=touch begun; until [ -e ended ]; do sleep 0.1; done; ls -d disk/.copal-*' &
        until [ -e begun ]; do sleep 0.1; done
        $copal backup source; touch ended; wait $!
        $copal dump latest~0:/.commands/x > seen || $copal dump latest~1:/.commands/x > seen
        ls -d disk/.copal-* > left
        umount disk/memory; umount disk",
    )
    .expect(0);
    ended.warns("removed what a killed run left: 4 file-system snapshots");
    assert_eq!(text(&sandbox, "left"), "disk/.copal-0123456789abcdef-0\ndisk/.copal-mine\n");
    assert_eq!(text(&sandbox, "seen").lines().count(), 3, "{}", text(&sandbox, "seen"));
}

#[test]
fn where_none_can_be_had_it_is_said_and_the_files_are_saved_as_they_are() {
    let sandbox = sandbox();
    sandbox.write("source/file", "content");
    let words = |kind| ["backup", "--fs-snapshot", kind, "source"];
    sandbox
        .run(words("auto"))
        .expect(0)
        .warns("no snapshot of the file system of")
        .warns("it is read as it is");
    assert_eq!(std::fs::read_to_string(sandbox.restore("out").join("file")).unwrap(), "content");
    for kind in ["lvm", "zfs", "btrfs"] {
        sandbox.run(words(kind)).expect(1).warns("Nothing was saved");
    }
    sandbox
        .run(["backup", "-n", "--fs-snapshot", "zfs", "source"])
        .expect(0)
        .warns("no snapshot of a file system is made");
    sandbox.run(words("ext4")).expect(2);
}

/// A program that writes down how it was called and then does that.
fn stand_in(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.write(
        format!("bin/{name}"),
        format!("#!/bin/sh\necho {name} \"$@\" >> '{}'\n{text}\n", sandbox.path("calls").display()),
    );
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The calls, with the run's id written as ID.
fn calls(sandbox: &Sandbox) -> Vec<String> {
    let all = text(sandbox, "calls");
    let id = all.split("copal-").nth(1).unwrap().split('-').next().unwrap().to_owned();
    assert_eq!(id.len(), 16);
    let all = all.replace(&id, "ID").replace(sandbox.path("").to_str().unwrap(), "");
    all.lines().map(str::to_owned).collect()
}

#[test]
fn root_lvm_is_asked_made_mounted_unmounted_and_removed() {
    demand_root();
    let sandbox = sandbox();
    stand_in(
        &sandbox,
        "lvs",
        "case \"$*\" in *origin*) [ -e made ] && echo '  copal-'$(cat made)'-0|lv'; echo '  lv|' ;; *) echo '  vg|lv|1073741824|629145600|linear';; esac",
    );
    stand_in(&sandbox, "lvcreate", "cp -a disk frozen; echo $4 | cut -d- -f2 > made");
    stand_in(&sandbox, "mount", "exec /bin/mount --bind frozen \"$6\"");
    stand_in(&sandbox, "umount", "exec /bin/umount \"$1\"");
    stand_in(&sandbox, "lvremove", "rm -r frozen made");
    script(
        &sandbox,
        "mkdir disk; /bin/mount -t tmpfs /dev/mapper/vg-lv disk; mkdir disk/below; echo before > disk/below/file
        $copal backup --fs-snapshot lvm disk/below --command 'x=echo after > disk/below/file'
        [ ! -e made ]; [ -z \"$(ls home/state/copal/fs-snapshots)\" ]; $copal restore latest -t out; cp calls first
        # The mount goes with the namespace; the volume stays.
        $copal backup --fs-snapshot lvm disk/below --command 'x=kill -9 $PPID; sleep 1' && exit 9 || [ $? = 137 ]
        [ -e made ]; $copal backup source; [ ! -e made ]; [ -z \"$(ls home/state/copal/fs-snapshots)\" ]
        cp first calls; /bin/umount disk",
    )
    .expect(0)
    .warns("removed what a killed run left: 1 file-system snapshot");
    assert_eq!(restored(&sandbox, "disk/below/file"), "before\n");
    let asked = "lvs --noheadings --separator | --units b --nosuffix -o vg_name,lv_name,lv_size,vg_free,segtype /dev/mapper/vg-lv";
    assert_eq!(
        calls(&sandbox),
        [
            asked,
            asked,
            "lvcreate --yes --snapshot --name copal-ID-0 --size 503316480b vg/lv",
            "mount -t tmpfs -o ro /dev/vg/copal-ID-0 home/state/copal/fs-snapshots/ID-0",
            "umount home/state/copal/fs-snapshots/ID-0",
            "lvs --noheadings --separator | -o lv_name,origin vg",
            "lvremove --yes vg/copal-ID-0",
        ]
    );
}

#[test]
fn root_a_volume_group_without_room_gives_no_snapshot() {
    demand_root();
    let sandbox = sandbox();
    stand_in(
        &sandbox,
        "lvs",
        "case \"$*\" in *origin*) echo '  lv|';; *) echo '  vg|lv|1073741824|4194304|linear';; esac",
    );
    stand_in(&sandbox, "lvcreate", "exit 1");
    let ended = script(
        &sandbox,
        "mkdir disk; /bin/mount -t tmpfs /dev/mapper/vg-lv disk; echo x > disk/file
        $copal backup --fs-snapshot auto disk; $copal restore latest -t out
        $copal backup --fs-snapshot lvm disk && exit 9 || [ $? = 1 ]
        ! grep lvcreate calls; /bin/umount disk",
    );
    ended.expect(0).warns("has only 4 MiB free; it is read as it is");
    assert_eq!(restored(&sandbox, "disk/file"), "x\n");
}

#[test]
fn zfs_is_snapshotted_read_through_its_hidden_folder_and_destroyed() {
    let mut sandbox = sandbox();
    let list = sandbox.write(
        "mounts",
        format!(
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:50 / {} rw - zfs tank/data rw\n",
            sandbox.path("disk").display()
        ),
    );
    sandbox.set("COPAL_TEST_MOUNTS", list);
    sandbox.write("disk/file", "before\n");
    stand_in(
        &sandbox,
        "zfs",
        "name=${2#*@}; case $1 in
        snapshot) mkdir -p disk/.zfs/snapshot/$name; cp -a disk/file disk/.zfs/snapshot/$name/;;
        list) for one in disk/.zfs/snapshot/*; do echo tank/data@${one##*/}; done;;
        destroy) rm -r disk/.zfs;; esac",
    );
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let back_up = |code| {
        let words = ["backup", "--fs-snapshot", "zfs", "disk", "--command", "x=echo after > disk/file"];
        let mut command = sandbox.command(words);
        command.env("PATH", &path);
        end(command).expect(code)
    };
    back_up(0);
    sandbox.run(["restore", "latest", "-t", "out"]).expect(0);
    assert_eq!(restored(&sandbox, "disk/file"), "before\n");
    assert_eq!(
        calls(&sandbox),
        [
            "zfs snapshot tank/data@copal-ID-0",
            "zfs list -H -t snapshot -o name tank/data",
            "zfs destroy tank/data@copal-ID-0"
        ]
    );
    // One that can not be made is demanded: nothing is saved, and what it said is told.
    stand_in(&sandbox, "zfs", "echo 'permission denied' >&2; exit 1");
    back_up(1).warns("zfs failed with exit code 1: permission denied");
}
