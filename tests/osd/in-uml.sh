# SPDX-License-Identifier: GPL-2.0
# Loads osd_test.ko with the test's number, in a UML.
set -e
leaks=/sys/kernel/debug/kmemleak
if [ -e $leaks ]; then
	# Booting leaves some that are none of ours; younger ones are not reported yet.
	sleep 6
	echo scan >$leaks
	echo clear >$leaks
fi
rc=0
insmod "${MODULE%/*}-osd_test/osd_test.ko" "test=$ARGS" || rc=$?
dmesg | sed -n 's/^\[[^]]*\] //p' | grep -a '^Lustre: ' || :
[ $rc = 0 ]
rmmod osd_test
if [ -e $leaks ]; then
	echo scan >$leaks
	sleep 6
	echo scan >$leaks
	cat $leaks
fi
