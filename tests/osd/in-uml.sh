# SPDX-License-Identifier: GPL-2.0
# Loads osd_test.ko with the test's number and, with commas between them, other parameters, in a UML.
set -e
rc=0
IFS=, read -ra parameters <<<"$ARGS"
insmod "${MODULE%/*}-osd_test/osd_test.ko" "test=${parameters[0]}" "${parameters[@]:1}" || rc=$?
dmesg | sed -n 's/^\[[^]]*\] //p' | grep -a '^Lustre: ' || :
[ $rc = 0 ]
rmmod osd_test
/src/tests/uml/leaks
