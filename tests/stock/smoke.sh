# SPDX-License-Identifier: GPL-2.0
# The life of a file system on the stock kernel: MGS, MDT and two OSTs on one server, and a client with a
# network of its own. Disks are /dev/vda to /dev/vdc.
# shellcheck shell=bash
set -euo pipefail

SERVER=10.9.0.1
CLIENT=10.9.0.2
warnings() { dmesg -r | sed -n 's/^<[0-4]>\[ *[0-9.]*\] //p'; }

warnings >/tmp/before
ip netns add client
ip link add v0 type veth peer name v1 netns client
ip address add $SERVER/24 dev v0
ip link set v0 up
ip -n client address add $CLIENT/24 dev v1
ip -n client link set v1 up
ip -n client link set lo up
echo "options lustre networks=tcp(v0)" >/etc/modprobe.d/lustre.conf

mkfs.lustre --quiet --mgs --mdt --fsname=lustre --index=0 /dev/vda
mkfs.lustre --quiet --ost --fsname=lustre --index=0 --mgsnode=$SERVER@tcp /dev/vdb
mkfs.lustre --quiet --ost --fsname=lustre --index=1 --mgsnode=$SERVER@tcp /dev/vdc
mkdir -p /mnt/mdt0 /mnt/ost0 /mnt/ost1 /mnt/lustre
mount -t lustre /dev/vda /mnt/mdt0
mount -t lustre /dev/vdb /mnt/ost0
mount -t lustre /dev/vdc /mnt/ost1
echo "SCRIPT servers are mounted: $(lctl dl | wc -l) devices"

cat >/tmp/client <<'CLIENT'
set -euo pipefail
cd /mnt/lustre
lfs df /mnt/lustre
lfs setstripe -c 2 .
cp -a /usr/lib/x86_64-linux-gnu /usr/sbin .
diff -r --no-dereference x86_64-linux-gnu /usr/lib/x86_64-linux-gnu
diff -r --no-dereference sbin /usr/sbin
echo "SCRIPT $(find . | wc -l) files, $(du -sm . | cut -f1) MiB are the same"
mv sbin moved
ln moved/mkfs.lustre hard
[ "$(stat -c %h hard)" = 2 ]
rm -rf ./*
[ -z "$(ls -A)" ]
CLIENT
# Its network alone: with mounts of its own it would hold those of the servers, too.
# shellcheck disable=SC2016
nsenter --net=/run/netns/client bash -euo pipefail -c 'mount -t lustre "$1" /mnt/lustre && bash /tmp/client &&
	umount /mnt/lustre' client $SERVER@tcp:/lustre
# The MDT first: it has something to tell the OSTs when it ends.
umount /mnt/mdt0 /mnt/ost0 /mnt/ost1
for d in vda vdb vdc; do e2fsck -fn /dev/$d; done
rmmod lustre

# The kernel has said what it says of every module that does not come with it, and nothing else (but for
# the clock of an emulated machine).
warnings | tail -n +$(($(wc -l </tmp/before) + 1)) |
	grep -vE 'loading out-of-tree module taints kernel|module verification failed: signature|^clocksource:' >/tmp/after || :
if [ -s /tmp/after ]; then
	echo "SCRIPT the kernel warns:"
	cat /tmp/after
	exit 1
fi
