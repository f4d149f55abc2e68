# SPDX-License-Identifier: GPL-2.0
"""Puts the measurements of scripts/bench side by side: bench-table.py DIRECTORY

Writes all.json there, and prints a table.
"""

import json
import os
import sys

FIO = {'write': 'seq_write', 'read': 'seq_read', 'randwrite': 'random_write', 'randread': 'random_read'}


def load(top, name):
    with open(os.path.join(top, name), encoding='utf-8') as f:
        return json.load(f)


def fio(runs):
    """MiB per second by kind of work and number of streams."""
    out = {}
    for run in runs:
        options = {**run.get('global options', {}), **run['jobs'][0]['job options']}
        rw = options['rw']
        side = run['jobs'][0]['write' if 'write' in rw else 'read']
        out[FIO[rw], int(options['numjobs'])] = side['bw_bytes'] / 2 ** 20
    return out


def network(run):
    return run['end']['sum_received']['bits_per_second'] / 8 / 2 ** 20


def main(top):
    disk, ext4 = fio(load(top, 'disk.json')), fio(load(top, 'ext4-data.json'))
    to, back = network(load(top, 'iperf-to.json')), network(load(top, 'iperf-from.json'))
    names = {(r['op'], r['threads']): r['per_second'] for r in load(top, 'ext4-names.json')['metadata']}
    lustre = load(top, 'lustre.json')
    rows = {'names': [], 'data': []}

    print(f"{'names, per second':24}{'threads':>8}{'Lustre':>10}{'ext4':>10}{'ratio':>8}")
    for r in lustre['metadata']:
        op, n, rate = r['op'], r['threads'], r['per_second']
        local = names[op, n]
        rows['names'].append({'op': op, 'threads': n, 'lustre': rate, 'ext4': local, 'ratio': rate / local})
        print(f'{op:24}{n:8}{rate:10.0f}{local:10.0f}{rate / local:8.2f}')

    print(f"{'data, MiB per second':24}{'streams':>8}{'Lustre':>10}{'network':>10}{'disk':>10}{'ext4':>10}{'ratio':>8}")
    for r in lustre['data']:
        op, n, rate = r['op'], r['streams'], r['mib_per_second']
        net = to if 'write' in op else back
        limit = min(net, disk[op, n])
        rows['data'].append({'op': op, 'streams': n, 'lustre': rate, 'network': net, 'disk': disk[op, n],
                             'ext4': ext4[op, n], 'ratio': rate / limit})
        print(f'{op:24}{n:8}{rate:10.1f}{net:10.1f}{disk[op, n]:10.1f}{ext4[op, n]:10.1f}{rate / limit:8.2f}')
    print('ratio: to ext4 on the same node; of data to the smaller of network and disk')
    with open(os.path.join(top, 'all.json'), 'w', encoding='utf-8') as f:
        json.dump(rows, f, indent=2)
    print('JSON:', os.path.join(top, 'all.json'))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
