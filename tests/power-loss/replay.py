#!/usr/bin/env python3
"""Makes a disk as it was at every flush in the log of dm-log-writes, and tries copal on each. See run."""

import os
import random
import shutil
import struct
import subprocess
import sys

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK, METADATA = 1, 2, 4, 8, 16


def entries(log):
    """Each entry: first sector, sectors, flags, and its data or the name of the mark."""
    with open(log, "rb") as file:
        magic, _version, count, sector = struct.unpack("<QQQI", file.read(28))
        assert magic == MAGIC, "no log of dm-log-writes"
        file.seek(sector)
        for _ in range(count):
            head = file.read(sector)
            first, sectors, flags, length = struct.unpack("<QQQQ", head[:32])
            if flags & MARK:
                yield first, 0, flags, head[32 : 32 + length].split(b"\0")[0].decode()
            elif flags & DISCARD:
                yield first, sectors, flags, None
            else:
                yield first, sectors, flags, file.read(sectors * sector)


class Said:
    """What copal had reported at a moment."""

    def __init__(self):
        self.made = False
        self.saved = {}
        self.keys = ["key"]

    def hear(self, mark):
        what, *rest = mark.split(":")
        if what == "made":
            self.made = True
        elif what == "saved":
            self.saved[rest[0]] = rest[1]
        elif what == "forgetting":
            self.saved.pop(rest[0])
        elif what == "changing-key":
            self.keys = ["key", "new-key"]
        elif what == "changed-key":
            self.keys = ["new-key"]


class Trial:
    def __init__(self, work, filesystem):
        self.work, self.filesystem = work, filesystem
        self.disk, self.home = f"{work}/disk-mounted", f"{work}/home"
        os.makedirs(self.disk, exist_ok=True)

    def copal(self, *words, key="new-key"):
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": self.home,
            "COPAL_REPOSITORY": f"{self.disk}/repository",
            "COPAL_KEY_FILE": f"{self.work}/out/{key}",
        }
        return subprocess.run([f"{self.work}/out/copal", *words], env=variables, capture_output=True, text=True)

    def must(self, *words, key):
        ended = self.copal(*words, key=key)
        if ended.returncode != 0:
            raise AssertionError(f"copal {' '.join(words)} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def restores(self, snapshot, state, key):
        out = f"{self.work}/restored"
        shutil.rmtree(out, ignore_errors=True)
        self.must("restore", f"{snapshot}:/tmp/source", "-t", out, key=key)
        differ = subprocess.run(["diff", "-r", "--no-dereference", f"{self.work}/states/{state}", out], capture_output=True, text=True)
        if differ.returncode != 0:
            raise AssertionError(f"{snapshot} is not state {state}:\n{differ.stdout}")

    def mount(self, image):
        options = "loop,nouuid" if self.filesystem == "xfs" else "loop"
        subprocess.run(["mount", "-t", self.filesystem, "-o", options, image, self.disk], check=True)

    def look(self, image, said):
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home)
        self.mount(image)
        try:
            self.promises(said)
        finally:
            subprocess.run(["umount", self.disk], check=True)

    def is_sound(self, image):
        """Whether the file system itself came through: its log is gone through by mounting, then everything is compared."""
        programs = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check"]}
        self.mount(image)
        subprocess.run(["umount", self.disk], check=True)
        return subprocess.run([*programs[self.filesystem], image], capture_output=True).returncode == 0

    def promises(self, said):
        key = said.keys[0]
        if said.made:
            opens = [key for key in said.keys if self.copal("snapshots", key=key).returncode == 0]
            if not opens:
                raise AssertionError(f"none of {said.keys} opens: {self.copal('snapshots', key=key).stderr}")
            key = opens[0]
        else:
            # What was begun is gone on with by the first backup.
            if self.copal("snapshots", key=key).returncode == 10:
                self.must("init", key=key)
            self.must("backup", "-H", "first", f"{self.work}/states/1", key=key)
        self.must("check", "--read-data", key=key)
        listed = self.must("snapshots", "--json", "--host", "here", key=key)
        for snapshot, state in said.saved.items():
            if snapshot not in listed:
                raise AssertionError(f"{snapshot} is not listed")
            self.restores(snapshot, state, key)
        source = f"{self.work}/source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(f"{self.work}/states/3", source, symlinks=True)
        self.must("backup", "-H", "there", source, key=key)
        self.must("prune", "--grace", "0", "--max-unused", "0", key=key)
        self.must("check", "--read-data", key=key)


def main():
    work, filesystem, megabytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    step = int(sys.argv[sys.argv.index("--sample") + 1]) if "--sample" in sys.argv else 1
    seed = int(os.environ.get("COPAL_POWER_LOSS_SEED", "1"))
    chance = random.Random(seed)
    print(f"COPAL_POWER_LOSS_SEED={seed}", flush=True)
    trial, said = Trial(work, filesystem), Said()
    image = f"{work}/replayed"
    tried = {"flush": 0, "between": 0, "reordered": 0}
    failed, begun, flushes, marks, broken = [], False, 0, 0, 0

    def copy(name, change):
        subprocess.run(["cp", "--sparse=always", image, name], check=True)
        with open(name, "r+b") as file:
            for first, data in change:
                file.seek(first * SECTOR)
                file.write(data)

    def look(kind, place, change=()):
        nonlocal broken
        tried[kind] += 1
        # A name of its own: the system may still hold the one before.
        cut = f"{work}/cut-{place}-{kind}"
        copy(cut, change)
        try:
            trial.look(cut, said)
        except (AssertionError, subprocess.CalledProcessError) as error:
            os.remove(cut)
            copy(cut, change)
            why = f"entry {place} ({kind}), saved: {said.saved}: {error}"
            if trial.is_sound(cut):
                failed.append(why)
            else:
                # Not ours to mend: said, and counted apart.
                broken += 1
                why = f"the file system itself is damaged: {why}"
            print(why, flush=True)
        finally:
            os.remove(cut)

    # What was written since the last flush may be there in part, in any order.
    pending = []
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    with open(image, "r+b") as disk:

        def apply(change):
            for first, data in change:
                disk.seek(first * SECTOR)
                disk.write(data)
            disk.flush()

        for place, (first, sectors, flags, data) in enumerate(entries(f"{work}/log")):
            if flags & MARK:
                marks += 1
                begun = begun or data == "begin"
                said.hear(data)
                continue
            if flags & DISCARD:
                data = bytes(sectors * SECTOR)
            # A flush makes durable what was over before; what it carries comes after.
            if flags & (FLUSH | FUA):
                flushes += 1
                if begun and flushes % step == 0 and len(pending) > 1 and chance.random() < 0.3:
                    some = [write for write in pending if chance.random() < 0.5]
                    chance.shuffle(some)
                    look("reordered", place, some)
                if begun and flushes % step == 0 and len(pending) > 1 and chance.random() < 0.15:
                    look("between", place, pending[: chance.randrange(1, len(pending))])
            if flags & FLUSH:
                apply(pending)
                pending = []
            if flags & FUA:
                apply([(first, data)])
            elif sectors:
                pending.append((first, data))
            if begun and flags & (FLUSH | FUA) and flushes % step == 0:
                look("flush", place)
    print(f"{filesystem}: {flushes} flushes, {marks} marks; tried {tried}, failed {len(failed)}, file system damaged {broken}")
    sys.exit(1 if failed or broken > tried["flush"] // 50 or not tried["flush"] or marks < 10 else 0)


main()
