#!/bin/bash
# Runs as init of the kernel of its own: copal on a disk whose writes are written down, with a mark for each thing that was reported.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mountpoint -q /dev || mount -t devtmpfs dev /dev
end() {
    sync
    echo o >/proc/sysrq-trigger
    sleep 30
}
trap end EXIT
for word in $(cat /proc/cmdline); do
    case $word in copal_out=*) out=${word#copal_out=} ;; esac
done
mkdir /tmp/out /tmp/disk
mount -t hostfs none /tmp/out -o "$out"
exec >/tmp/out/log 2>&1
set -x
filesystem=$(cat /tmp/out/filesystem)
modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/md
insmod "$modules/dm-mod.ko"
insmod "$modules/dm-log-writes.ko"
dmsetup create lw --table "0 $(blockdev --getsz /dev/ubda) log-writes /dev/ubda /dev/ubdb"
dmsetup mknodes
case $filesystem in
    ext4) mkfs.ext4 -q -E nodiscard /dev/mapper/lw ;;
    xfs) mkfs.xfs -q -K /dev/mapper/lw ;;
    btrfs) mkfs.btrfs -q -K /dev/mapper/lw ;;
esac
mount /dev/mapper/lw /tmp/disk
mark() { dmsetup message lw 0 mark "$1"; }
export HOME=/tmp/home COPAL_REPOSITORY=/tmp/disk/repository COPAL_KEY_FILE=/tmp/out/key
mkdir -p /tmp/home
copal=/tmp/out/copal
saved() {
    rm -rf /tmp/source
    cp -a "/tmp/out/states/$1" /tmp/source
    id=$($copal backup --json -H here /tmp/source | sed -n 's/.*"snapshot_id":"\([0-9a-f]*\)".*/\1/p')
    test -n "$id"
    mark "saved:$id:$1"
}
sync
mark begin
$copal init
mark made
saved 1; first=$id
saved 2; second=$id
saved 3
mark "forgetting:$first"
$copal forget "$first"
mark "forgot:$first"
$copal prune --grace 0 --max-unused 0 --repack-small
mark pruned
mark changing-key
$copal key passwd --new-key-file /tmp/out/new-key
mark changed-key
export COPAL_KEY_FILE=/tmp/out/new-key
saved 4
mark "forgetting:$second"
$copal forget "$second"
mark "forgot:$second"
saved 1
$copal prune --grace 0 --max-unused 0
mark pruned
umount /tmp/disk
dmsetup remove lw
touch /tmp/out/done
