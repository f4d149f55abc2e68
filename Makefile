# SPDX-License-Identifier: GPL-2.0
#
# A Lustre server in Rust. `make help` says what there is.

# Which kernel the module is built for: uml, debug, kasan (User Mode Linux), or stock (Debian's).
KERNEL ?= stock
DESTDIR ?=
SHELL := /bin/bash
BUILD := $(shell . scripts/lib.sh && echo $$BUILD)

.PHONY: all module tools demo bench check check-stock lint test-host fuzz modules_install install \
	clean help

all: module tools

help:
	@echo "make                    lustre.ko for KERNEL=$(KERNEL), and the tools"
	@echo "make KERNEL=uml         the same for another kernel: uml, debug, kasan, stock"
	@echo "make demo               the main job: a real tree on a cluster, power cuts and all"
	@echo "make bench              rates, beside those of the disks and the network"
	@echo "make check              all tests; KERNEL=debug, KERNEL=kasan: on a debug kernel;"
	@echo "                        KERNEL='uml debug': one after the other"
	@echo "make check-stock        the module on Debian's own kernel, in QEMU"
	@echo "make lint test-host     parts of check"
	@echo "make fuzz               fuzzers of all decoders, FUZZ_SECONDS (60) each"
	@echo "./cluster               a cluster to try things on"
	@echo "make modules_install install    puts module and tools into place (DESTDIR)"
	@echo "make clean              removes what was built, but not kernels and root"

module:
	@scripts/build-module $(KERNEL)

tools:
	@scripts/build-tools

lint:
	@tests/lint

test-host:
	@tests/host/run

demo:
	@scripts/demo

bench:
	@scripts/bench

fuzz:
	@scripts/setup root
	@tests/fuzz/run

check:
	@tests/check $(or $(filter uml debug kasan,$(KERNEL)),uml)

check-stock:
	@scripts/build-module stock
	@scripts/build-tools
	@tests/stock/run tests/kernel/load.sh
	@tests/stock/run tests/stock/smoke.sh 3

modules_install: module
	@scripts/install modules "$(DESTDIR)"

install: tools
	@scripts/install tools "$(DESTDIR)"

clean:
	rm -rf "$(BUILD)"
