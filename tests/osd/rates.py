#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A table of the rates in a log of osd_test.ko's speed test, and all of them as JSON: rates.py LOG JSON"""
import json
import re
import sys

rates = {}
for line in open(sys.argv[1], errors="replace"):
    m = re.search(r"rate\|(.*)$", line.rstrip())
    if m:
        kind, what, threads, where, count, kib, per_second = m[1].split("|")
        rates[what, int(kib), int(threads), where, kind] = int(per_second)

with open(sys.argv[2], "w") as f:
    json.dump([{"what": w, "KiB": k, "threads": t, "directories": d, "of": kind, "per second": n}
               for (w, k, t, d, kind), n in rates.items()], f, indent=1)


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |")


row("operation", "threads", "store, 1/s", "ext4 alone, 1/s", "ratio", "store with many, 1/s", "ratio to few")
row(*["---"] * 7)
for (what, kib, threads, where, kind), n in rates.items():
    if kind != "store":
        continue
    key = what, kib, threads, where
    bare, many = rates.get((*key, "bare")), rates.get((*key, "store, many"))
    name = what
    if kib:
        name += f" of {kib} KiB" if kib < 1024 else f" of {kib // 1024} MiB"
    elif threads > 1:
        name += ", each in its directory" if where == "apart" else ", all in one"
    row(name, threads, n, bare or "", f"{n / bare:.2f}" if bare else "", many or "", f"{many / n:.2f}" if many else "")
