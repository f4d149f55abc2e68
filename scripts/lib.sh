# SPDX-License-Identifier: GPL-2.0
# Steps with a name, a time and a log; commands inside the Debian 13 root.
# shellcheck shell=bash

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/config.sh
. "$TOP/scripts/config.sh"

# What is built from this checkout; another one may share the cache.
BUILD=$CACHE/build/$(sha256sum <<<"$TOP" | cut -c1-8)
LOGS=$BUILD/log
ROOT=$CACHE/root

# uml_options KERNEL CPUS: words for the command line of a UML kernel. What is slow for want of a processor
# is not taken for a stall by the debug kernels; what waits too long for something else is found by the
# detector of hung tasks. The plain kernel knows of one CPU only.
uml_options() {
	local slow='rcupdate.rcu_cpu_stall_timeout=300 slab_debug=FZP'
	case $1 in
	uml) echo seccomp=on ;;
	debug) echo "seccomp=on ncpus=$2 $slow" ;;
	kasan) echo "seccomp=off ncpus=1 $slow" ;;
	esac
}

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" = 0 ] || die "this needs root: it makes a Debian root and mounts file systems"
}

# need_space GB: so much has to be free where builds and the disks of nodes are. They are sparse: a disk that
# is full shows as a target that goes read-only in the middle of a test.
need_space() {
	local free
	mkdir -p "$BUILD"
	free=$(($(df --output=avail -k "$BUILD" | tail -n 1) >> 20))
	[ "$free" -ge "$1" ] || die "$BUILD has $free GiB free, this needs $1 (make clean, or old builds in $CACHE/build)"
}

# step NAME COMMAND...: runs the command with its output in a log, prints the time it took. A function
# ends at the first command that fails, which it would not do left of a `||`.
step() {
	local name=$1 log start rc
	shift
	log=$LOGS/$(tr -c 'a-zA-Z0-9_.\n-' - <<<"$name").log
	mkdir -p "$LOGS"
	start=$SECONDS
	printf '  %-48s ' "$name ..."
	set +e
	(set -e; "$@") >"$log" 2>&1 </dev/null
	rc=$?
	set -e
	if [ $rc = 0 ]; then
		printf '%4d s\n' $((SECONDS - start))
		return 0
	fi
	printf 'FAILED after %d s\n' $((SECONDS - start))
	tail -n 25 "$log" | sed 's/^/    | /' >&2
	die "step '$name' failed with status $rc; its log is $log"
}

# fresh STAMP KEY: true if what STAMP stands for was made with this KEY.
fresh() {
	[ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

key() {
	cat "$@" | sha256sum | cut -c1-16
}

# in_root COMMAND...: runs it in the Debian 13 root, checkout at /src, what is built from it at /build,
# cache at /cache, in a mount namespace of its own (nothing stays mounted when it ends).
in_root() {
	unshare --mount --propagation private bash -c '
		set -e
		root=$1 top=$2 cache=$3 build=$4; shift 4
		mkdir -p "$root/src" "$root/cache" "$root/build" "$build"
		mount --rbind /dev "$root/dev"
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		mount --bind "$top" "$root/src"
		mount --bind "$cache" "$root/cache"
		mount --bind "$build" "$root/build"
		# Recorded traffic and disks for the tests, where the machine has them.
		if [ -d "$top/../shared" ]; then
			mkdir -p "$root/shared"
			mount --bind "$top/../shared" "$root/shared"
		fi
		cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || :
		# The machine may trust a certificate authority of its own.
		certs=/etc/ssl/certs/ca-certificates.crt
		[ ! -f $certs ] || [ ! -f "$root$certs" ] || mount --bind $certs "$root$certs"
		dir=${IN_ROOT_DIR:-/src}
		exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 CARGO_HOME=/cache/cargo \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			bash -c "cd \"\$1\" && shift && exec \"\$@\"" in_root "$dir" "$@"
	' in_root "$ROOT" "$TOP" "$CACHE" "$BUILD" "$@"
}
