# SPDX-License-Identifier: GPL-2.0
# A Lustre file system on a cluster: what the demo, the benchmark and the cluster tests share.
# shellcheck shell=bash disable=SC2016 # Nodes expand what is between single quotes.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

FSNAME=lustre
MGS=10.9.0.1@tcp
MNT=/mnt/lustre

# on NODE COMMAND...: runs it there.
on() { "$TOP/cluster" exec "$@" </dev/null; }

# sh_on NODE SCRIPT [ARGUMENT...]: runs a piece of bash there.
sh_on() { on "$1" bash -euo pipefail -c "$2" bash "${@:3}"; }

# For a while, until it works: eventually SECONDS COMMAND...
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.5
	done
}

# The targets of the cluster that is up, a line each: node, device, kind, index, mount point.
targets() {
	"$TOP/cluster" status | awk '
		$1 ~ /^(mds|oss)/ {
			kind = $1 ~ /^mds/ ? "mdt" : "ost"
			for (i = 5; i <= NF; i++) {
				n = count[kind]++ + 0
				print $1, $i, kind, n, "/mnt/" kind n
			}
		}'
}

# Those of one node.
targets_of() { targets | grep "^$1 "; }

node_disk() { echo "$("$TOP/cluster" status | sed -n 's/.* are in //p')/$1/disk$(($(printf %d "'${2: -1}") - 97))"; }

format_target() {
	local node=$1 dev=$2 kind=$3 index=$4
	case $kind$index in
	mdt0) on "$node" mkfs.lustre --quiet --mgs --mdt --fsname=$FSNAME --index=0 --reformat "$dev" ;;
	*) on "$node" mkfs.lustre --quiet "--$kind" --fsname=$FSNAME "--index=$index" --mgsnode=$MGS \
		--reformat "$dev" ;;
	esac
}

each_target() {
	local line
	while read -r line; do
		# shellcheck disable=SC2086
		"$1" $line || return
	done < <("${@:2}")
}

format_all() { each_target format_target targets; }

# shellcheck disable=SC2317 # It is called by its name.
mount_target() {
	sh_on "$1" 'mkdir -p "$2" && mount -t lustre "$1" "$2"' "$2" "$5"
}

# shellcheck disable=SC2317
umount_target() {
	sh_on "$1" '! mountpoint -q "$1" || umount "$1"' "$5"
}

fsck_target() {
	on "$1" e2fsck -fn "$2" >"$LOGS/e2fsck-$1-${2##*/}.log" 2>&1 || {
		echo "e2fsck of $kind$4 on $1 is not content: $LOGS/e2fsck-$1-${2##*/}.log" >&2
		tail -n 20 "$LOGS/e2fsck-$1-${2##*/}.log" >&2
		return 1
	}
	on "$1" lustre-fsck -n "$2" >"$LOGS/lustre-fsck-$1-${2##*/}.log" 2>&1 || {
		echo "lustre-fsck of $kind$4 on $1 is not content: $LOGS/lustre-fsck-$1-${2##*/}.log" >&2
		tail -n 20 "$LOGS/lustre-fsck-$1-${2##*/}.log" >&2
		return 1
	}
}

mount_servers() { each_target mount_target targets; }
# The MDT first: it has something to tell the OSTs when it ends.
umount_servers() { each_target umount_target targets; }
fsck_all() { each_target fsck_target targets; }

mount_client() {
	sh_on "$1" 'mkdir -p "$2" && mount -t lustre "$1" "$2"' "$MGS:/$FSNAME" "${2:-$MNT}"
}

umount_client() { on "$1" umount "${2:-$MNT}"; }

# After the power was back: the node's targets again.
restart_node() {
	"$TOP/cluster" start "$1" && each_target mount_target targets_of "$1"
}

# Every name below a directory with type, mode, owner, group, links, size, time and symlink's target, and
# the MD5 of every file: what two copies of a tree must have in common. Sizes and links of directories
# are the file system's own affair; times have no fractions in Lustre.
# MANIFEST DIRECTORY NAME...: for sh_on and bash -c.
# shellcheck disable=SC2034
MANIFEST='
	cd "$1" && shift
	tmp=$(mktemp -d)
	find "$@" ! -path . -printf "%p|%y|%m|%U|%G|%n|%s|%T@|%l\n" |
		LC_ALL=C sed -E "s/^\.\///; s/^([^|]*\|d\|[^|]*\|[^|]*\|[^|]*)\|[^|]*\|[^|]*/\1/
			s/^(.*\|[0-9]+)\.[0-9]+\|/\1|/" | LC_ALL=C sort >"$tmp/list"
	cat "$tmp/list"
	sed -n "s/^\([^|]*\)|f|.*/\1/p" "$tmp/list" | tr "\n" "\0" |
		xargs -0 -r -n 500 -P 4 bash -c "md5sum -z -- \"\$@\" >\"\$0/md5.\$\$\"" "$tmp"
	find "$tmp" -name "md5.*" -exec cat {} + | LC_ALL=C sort -z -k 2 | tr "\0" "\n"
	rm -r "$tmp"'

# manifest NODE DIRECTORY [NAME...]: it of a directory, or of names in it, on a node.
manifest() { sh_on "$1" "$MANIFEST" "$2" "${@:3}"; }

# same FILE FILE: are two manifests the same? Says what differs.
same() {
	[ -s "$1" ] && cmp -s "$1" "$2" && return
	echo "these differ: $1 $2" >&2
	diff "$1" "$2" | head -n 20 >&2 || :
	return 1
}

# Of every target, its name, used KiB and used inodes: used NODE
used() {
	paste <(on "$1" lfs df "$MNT" | awk '/\[(MDT|OST):/ { print $1, $3 }') \
		<(on "$1" lfs df -i "$MNT" | awk '/\[(MDT|OST):/ { print $3 }')
}

# Does a node see as little used as in FILE, what `used` said then? Objects follow their files after a while. What may
# stay: objects that are made ahead and the directories that hold them, the change logs between the servers.
# Says how much more there is: is_given_back NODE FILE
is_given_back() {
	paste "$2" <(used "$1") | awk '
		{ space = $5 - $2; inodes = $6 - $3; print $1 ": " space " KiB and " inodes " inodes more than before" }
		space > 8192 || inodes > 2048 { bad = 1 }
		END { exit bad }'
}

# The kernels of all nodes have nothing to complain about.
no_splats() {
	local dir
	dir=$("$TOP/cluster" status | sed -n 's/.* are in //p')
	"$TOP/tests/uml/splats" "$dir"/*/console
}

# test_cluster KERNEL OPTION...: a cluster of its own for a test, which ends with the test.
test_cluster() {
	local kernel=$1
	shift
	need_root
	export CLUSTER=${CLUSTER:-$(basename "$0")}
	mkdir -p "$LOGS"
	"$TOP/cluster" down 2>/dev/null || :
	trap end_test EXIT
	"$TOP/cluster" up --kernel "$kernel" "$@"
}

# Consoles stay for who looks for the cause.
end_test() {
	local rc=$? c
	trap - EXIT
	for c in "$BUILD/cluster/$CLUSTER"/*/console; do
		[ -f "$c" ] && cp "$c" "$LOGS/$CLUSTER-$(basename "$(dirname "$c")").console"
	done
	if [ $rc != 0 ]; then
		echo "FAILED; the nodes' consoles are $LOGS/$CLUSTER-*.console" >&2
		[ -z "${KEEP:-}" ] || exit $rc
	fi
	"$TOP/cluster" down 2>/dev/null || :
	exit $rc
}

# ok TEXT COMMAND...: a step that has to work.
ok() {
	local text=$1
	shift
	"$@" || die "$text"
	echo "ok: $text"
}

# The module goes, and on a debug kernel leaves nothing behind.
unload_module() {
	local node
	for node in $("$TOP/cluster" status | awk '$1 ~ /^(mds|oss)/ && $2 == "on" { print $1 }'); do
		sh_on "$node" '! grep -q "^lustre " /proc/modules || rmmod lustre; /src/tests/uml/leaks' ||
			return
	done
}
