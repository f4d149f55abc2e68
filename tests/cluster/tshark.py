# SPDX-License-Identifier: GPL-2.0
"""What tshark complains of in a capture, by kind: tshark.py FILE, tshark.py --learn FILE...

A kind is the opcode and type of the message (4711 request, 4712 error, 4713 reply; - if there is none) and
the nature of the complaint.
"""

import os
import re
import subprocess
import sys
import tempfile

KNOWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tshark.known')
FIELDS = ['frame.number', 'lustre.ptlrpc_body.pb_opc', 'lustre.ptlrpc_body.pb_type', '_ws.expert.message',
          '_ws.malformed']
# Complaints that are the dissector's notion of conversations, or of TCP, and not of what is sent.
GUESSES = ('Mismatched: ', 'TCP ', 'This frame is ', 'Previous segment', 'ACKed segment', 'Duplicate ACK', 'Connection ')


def nature(text):
    """The complaint without what differs from message to message."""
    if re.match(r'Capture:\d+ offset:\d+ \(length:0\)', text):
        return 'bytes that the dissector leaves over'
    text = re.sub(r'\(match_bits:\w+\)', '', text)
    return re.sub(r' \(type: \d+\)', '', text).strip()


def tshark(path, *args):
    run = subprocess.run(['tshark', '-r', path, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, check=False)
    if run.returncode:
        sys.exit(f'tshark {path}: {run.stderr}')
    return run.stdout.splitlines()


def complaints(path):
    """Yields the frame's number and the kinds that its complaints may be of."""
    fields = [a for f in FIELDS for a in ('-e', f)]
    for line in tshark(path, '-Y', '(lnet || lustre) && (_ws.malformed || _ws.expert.severity >= 4194304)',
                       '-T', 'fields', '-E', 'separator=\t', '-E', 'occurrence=a', '-E', 'aggregator=\x1f',
                       *fields):
        frame, opcodes, types, messages, malformed = (line.split('\t') + [''] * 5)[:5]
        split = [x.split('\x1f') for x in (opcodes, types)]
        who = sorted(set(zip(*split))) if opcodes else [('-', '-')]
        for text in messages.split('\x1f') if messages else [malformed]:
            if not text.startswith(GUESSES):
                yield frame, [(o, t, nature(text)) for o, t in who]


def plain(path):
    if not path.endswith('.zst'):
        return path
    out = tempfile.mktemp(suffix='.pcap')
    with open(out, 'wb') as f:
        subprocess.run(['zstd', '-qdc', path], stdout=f, check=True)
    return out


def load():
    with open(KNOWN, encoding='utf-8') as f:
        return {tuple(line.rstrip('\n').split(' ', 2)) for line in f if not line.startswith('#')}


def learn(paths):
    known, unclear = set(), []
    for path in paths:
        for _, kinds in complaints(plain(path)):
            if len(kinds) == 1:
                known.update(kinds)
            else:
                unclear.append(kinds)
    # Of several messages in a frame any may be meant.
    for kinds in unclear:
        if not known.intersection(kinds):
            known.update(kinds)
    with open(KNOWN, 'w', encoding='utf-8') as f:
        f.write('# SPDX-License-Identifier: GPL-2.0\n')
        f.write('# What tshark complains of in the traffic of existing servers: opcode, type, complaint.\n')
        f.writelines(' '.join(k) + '\n' for k in sorted(known))
    print(len(known), 'kinds')


def check(path):
    known = load()
    frames = tshark(path, '-Y', 'lnet', '-T', 'fields', '-e', 'lustre.ptlrpc_body.pb_opc')
    messages = sum(1 for f in frames if f)
    bad = {}
    seen = 0
    for frame, kinds in complaints(path):
        seen += 1
        if not known.intersection(kinds):
            bad.setdefault(tuple(kinds), []).append(frame)
    for kinds, where in sorted(bad.items()):
        print('opcode', ' or '.join(f'{o} type {t}' for o, t, _ in kinds) + ':', kinds[0][2], '-',
              len(where), 'times, first in frame', where[0])
    print(f'{len(frames)} LNet frames, {messages} with RPC messages; {seen} complaints of known kinds or not, '
          f'{len(bad)} unknown kinds')
    if not messages:
        sys.exit('there is no Lustre traffic in the capture')
    sys.exit(bool(bad))


if sys.argv[1:2] == ['--learn'] and len(sys.argv) > 2:
    learn(sys.argv[2:])
elif len(sys.argv) == 2:
    check(plain(sys.argv[1]))
else:
    sys.exit(__doc__)
