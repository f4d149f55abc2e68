# SPDX-License-Identifier: GPL-2.0
# What administrators and accidents do to a target's file system, in a UML: $ARGS to /dev/ubdb.
set -e
mkdir /tmp/target /tmp/other
mount -t ext4 /dev/ubdb /tmp/target
case $ARGS in
restore)
	# To another device, by files: every object has another inode there.
	mount -t ext4 /dev/ubdc /tmp/other
	mkdir /tmp/other/gap
	cp -a /tmp/target/. /tmp/other
	rmdir /tmp/other/gap
	umount /tmp/other
	;;
lose-files)
	rm /tmp/target/oi.16.0
	dd if=/dev/zero of=/tmp/target/oi.16.1 bs=4096 count=1 conv=notrunc status=none
	;;
spoil-*)
	# All of a tree but its root, or its last block: local files are in the first.
	blocks=$(($(stat -c %s /tmp/target/oi.16.1) / 4096))
	first=1
	[ "$ARGS" = spoil-all ] || first=$((blocks - 1))
	dd if=/dev/urandom of=/tmp/target/oi.16.1 bs=4096 seek=$first count=$((blocks - first)) conv=notrunc status=none
	;;
lose-state)
	rm /tmp/target/OI_scrub
	;;
lose-names)
	# As e2fsck does with what has no name.
	for f in /tmp/target/O/*/d[0-9]/*; do
		ino=$(stat -c %i "$f")
		mv "$f" "/tmp/target/lost+found/#$ino"
	done
	[ "$(ls /tmp/target/lost+found | wc -l)" -gt 20 ]
	;;
*)
	exit 2
	;;
esac
umount /tmp/target
