# SPDX-License-Identifier: GPL-2.0
# The module loads and unloads, twice, and says so.
set -e
for _ in 1 2; do
	insmod "$MODULE"
	grep -q '^lustre ' /proc/modules
	rmmod lustre
	if grep -q '^lustre ' /proc/modules; then exit 1; fi
done
dmesg | grep -c 'Lustre: server .* unloaded' | grep -qx 2
/src/tests/uml/leaks
