# SPDX-License-Identifier: GPL-2.0
# Loads osd_test.ko with the test's number, in a UML.
set -e
rc=0
insmod "${MODULE%/*}-osd_test/osd_test.ko" "test=$ARGS" || rc=$?
dmesg | sed -n 's/^\[[^]]*\] //p' | grep -a '^Lustre: ' || :
[ $rc = 0 ]
rmmod osd_test
/src/tests/uml/leaks
