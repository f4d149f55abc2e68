# SPDX-License-Identifier: GPL-2.0
# Versions, packages and places: the one file that names them.
# shellcheck shell=bash disable=SC2034

KERNEL_SERIES=7.3			# linux-source-$KERNEL_SERIES of Debian's backports
STOCK_FLAVOUR=cloud-amd64		# the stock kernel that check-stock boots
DEBIAN=trixie
LLVM_VERSION=19

# What is built once and reused lives here, outside the checkout.
CACHE=${LUSTRE_CACHE:-/var/cache/lustre-rs}

# What the machine itself needs (Debian 12 or 13).
HOST_PACKAGES="ca-certificates cpio debootstrap e2fsprogs iproute2 procps python3 qemu-system-x86 util-linux zstd"

# What the Debian 13 root needs, to build in and for cluster nodes to run in.
ROOT_PACKAGES="build-essential flex bison bc libelf-dev libssl-dev
	rustc rust-src rustfmt rust-clippy cargo bindgen pahole kmod cpio rsync zstd bzip2 xz-utils python3
	clang-$LLVM_VERSION libclang-$LLVM_VERSION-dev lld-$LLVM_VERSION llvm-$LLVM_VERSION
	e2fsprogs dmsetup iproute2 iputils-ping fuse3 fio iperf3 attr acl procps psmisc netcat-openbsd tshark
	util-linux ca-certificates git perl shellcheck busybox-static"

SOURCE_PACKAGES="linux-source-$KERNEL_SERIES"
