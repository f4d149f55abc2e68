# SPDX-License-Identifier: GPL-2.0
# LNet as lctl sees it: from the module's parameters, at first use, up and down; the parameters of
# a node. Needs the tools; without them (on the stock kernel's small root) there is nothing to do.
set -e
command -v lctl >/dev/null || exit 0

expect() {
	local want=$1 got
	shift
	got=$("$@" 2>&1) || :
	[ "$got" = "$want" ] || {
		printf '%s:\n%s\ninstead of\n%s\n' "$*" "$got" "$want"
		exit 1
	}
}

ip link set lo up
insmod "$MODULE" networks='tcp(lo),tcp1(127.0.0.9)' accept_port=1988
expect 'error: LNet is not up (try: lctl network up)' lctl list_nids
expect 'LNET configured' lctl network up
expect 'LNET configured' lctl network configure
expect "$(printf '127.0.0.1@tcp\n127.0.0.9@tcp1')" lctl list_nids
expect "$(printf '0@lo\n127.0.0.1@tcp\n127.0.0.9@tcp1')" lctl list_nids all
expect "$(printf '12345-0@lo\n12345-127.0.0.1@tcp\n12345-127.0.0.9@tcp1')" lctl ping 127.0.0.1@tcp
expect "error: bad NID 'nowhere', such as 10.0.0.1@tcp" lctl ping nowhere
if lctl ping 127.0.0.5@tcp 3; then exit 1; fi
expect '' lctl dl
expect 'health_check=healthy' lctl get_param health_check
expect "$(printf 'timeout=100\nping_interval=25')" lctl get_param timeout ping_interval
expect 'timeout=40' lctl set_param timeout=40
expect 'ping_interval=10' lctl get_param ping_interval
expect 'jobid_var=nodelocal' lctl set_param jobid_var=nodelocal
if lctl set_param timeout=soon 2>/dev/null; then exit 1; fi
lctl mark "the text of a mark"
dmesg | grep -q 'Lustre: DEBUG MARKER: the text of a mark'
expect 'LNET ready to unload' lctl network down
expect 'LNET ready to unload' lctl network unconfigure
lctl network up
rmmod lustre

# What makes no sense is said, and can be put right by loading anew.
refused() {
	insmod "$MODULE" "$@"
	if lctl network up 2>/dev/null; then exit 1; fi
	rmmod lustre
}
refused 'networks=o2ib(lo)'
refused 'networks=tcp(nosuch0)'
refused 'networks=tcp(lo)' accept=maybe
refused 'ip2nets="tcp 10.9.9.9"'
refused 'networks=tcp(lo)' 'ip2nets="tcp *.*.*.*"'
dmesg | grep -q "LNet: accept='maybe'"

/src/tests/uml/leaks
