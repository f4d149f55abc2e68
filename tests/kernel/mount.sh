# SPDX-License-Identifier: GPL-2.0
# Targets mount, serve, unmount and mount again; what cannot be mounted is refused with a message that
# says why, and stays as it is. Needs the tools; on the stock kernel's small root there are none.
set -e
command -v lctl >/dev/null || exit 0

fail() {
	echo "$*" >&2
	exit 1
}
# refused STATUS TEXT COMMAND...: it fails so, and its message has the text.
refused() {
	local status=$1 text=$2 out rc=0
	shift 2
	out=$(timeout 60 "$@" 2>&1) || rc=$?
	[ $rc = "$status" ] || fail "$*: status $rc instead of $status: $out"
	case $out in
	*"$text"*) ;;
	*) fail "$*: no '$text' in: $out" ;;
	esac
	echo "ok: $text"
}
eventually() {
	local i
	for i in $(seq 150); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	fail "not in time: $*"
}
has_device() { lctl dl | grep -q " UP $1 $2 "; }

dir=/tmp/targets
mkdir -p $dir/m $dir/o0 $dir/o1 $dir/x
mount -t tmpfs -o size=700m tmpfs $dir/x
cd $dir/x
ip link set lo up
ip addr add 10.3.0.1/24 dev lo
NID=10.3.0.1@tcp
mkfs.lustre --quiet --mgs --mdt --fsname=lustre --index=0 --device-size=100000 mdt
for i in 0 1; do
	mkfs.lustre --quiet --ost --fsname=lustre --index=$i --mgsnode=$NID --device-size=100000 ost$i
done
mkfs.lustre --quiet --ost --fsname=lustre --index=0 --mgsnode=$NID --device-size=50000 twin
mkfs.lustre --quiet --ost --fsname=lustre --index=5 --mgsnode=10.3.0.77@tcp --device-size=50000 far
mke2fs -q -t ext4 plain 50000k
head -c 40000000 /dev/zero >empty
sum() { md5sum "$1" | cut -d' ' -f1; }
for f in mdt ost0 twin far plain empty; do sum $f >$f.md5; done
unchanged() { [ "$(sum "$1")" = "$(cat "$1.md5")" ] || fail "$1 has changed"; }

refused 19 'Are the lustre modules loaded?' mount.lustre mdt $dir/m
insmod "$MODULE" networks="tcp(10.3.0.1)"
grep -q lustre_tgt /proc/filesystems

# What is no target.
refused 2 'No such file' mount.lustre nothing $dir/m
refused 15 'neither a block device nor a file' mount.lustre /dev/null $dir/m
refused 19 'has not been formatted with mkfs.lustre' mount.lustre plain $dir/m
refused 19 'has not been formatted with mkfs.lustre' mount.lustre empty $dir/m
refused 2 'no such directory' mount.lustre mdt $dir/nowhere
# Without its MGS.
refused 5 'does not answer' mount.lustre ost0 $dir/o0
refused 5 '10.3.0.77@tcp does not answer' mount.lustre far $dir/o0
refused 22 "unknown mount option 'swiftly'" mount.lustre -o swiftly mdt $dir/m
for f in mdt ost0 far plain empty; do unchanged $f; done
[ -z "$(lctl dl)" ] || fail "devices are left: $(lctl dl)"
[ -z "$(losetup -a)" ] || fail "loop devices are left: $(losetup -a)"

mount.lustre mdt $dir/m
grep -q "^/dev/loop[0-9]* $dir/m lustre ro,relatime,svname=lustre-MDT0000,mgs,osd=osd-ldiskfs " /proc/mounts ||
	fail "$(cat /proc/mounts)"
refused 114 'lustre-MDT0000 is running on this node already' mount.lustre mdt $dir/x
for i in 0 1; do mount.lustre ost$i $dir/o$i; done
refused 114 'lustre-OST0000 is running on this node already' mount.lustre twin $dir/x
eventually has_device osp lustre-OST0000-osc-MDT0000
eventually has_device osp lustre-OST0001-osc-MDT0000
has_device lwp lustre-MDT0000-lwp-OST0001
has_device obdfilter lustre-OST0001
[ "$(lctl get_param -n health_check)" = healthy ]
[ "$(lctl get_param -n osd-ldiskfs.lustre-OST0000.kbytestotal)" -gt 50000 ]
[ "$(df --output=target $dir/o1 | tail -n 1)" = $dir/o1 ]
refused 16 'LNET busy' lctl network down
scrub() { lctl get_param -n osd-ldiskfs.lustre-MDT0000.oi_scrub; }
scrub | grep -q '^status: init$' || fail "$(scrub)"

# Again: the label says now that they are no longer new.
umount $dir/o0
refused 98 'has a lustre-OST0000 already' mount.lustre twin $dir/x
unchanged twin
umount $dir/m
umount $dir/o1
[ -z "$(lctl dl)" ] || fail "devices are left: $(lctl dl)"
for f in mdt ost0 ost1; do
	e2fsck -fn $f >/tmp/fsck.log 2>&1 || fail "$(cat /tmp/fsck.log)"
done
[ "$(e2label ost0)" = lustre-OST0000 ]
[ "$(e2label mdt)" = lustre-MDT0000 ]
refused 5 'does not answer' mount.lustre ost1 $dir/o1
# A file of the object index that is lost is made anew.
mkdir $dir/t
mount -o loop mdt $dir/t
rm $dir/t/oi.16.0
umount $dir/t
mount.lustre mdt $dir/m
is_scanned() { scrub | grep -q '^status: completed$'; }
eventually is_scanned
[ "$(scrub | sed -n 's/^checked: //p')" -gt 0 ] || fail "$(scrub)"
mount.lustre ost1 $dir/o1
mount.lustre ost0 $dir/o0
has_device osp lustre-OST0001-osc-MDT0000
umount -f $dir/o1
umount -f $dir/m
umount -f $dir/o0
[ -z "$(lctl dl)" ] || fail "devices are left: $(lctl dl)"
rmmod lustre
/src/tests/uml/leaks
cd /
umount $dir/x
