# SPDX-License-Identifier: GPL-2.0
"""Sends what is no good to port 988 of servers: garbage.py ADDRESS...

Bytes without sense, handshakes with one field wrong, messages whose every field is wrong in turn, requests of
every opcode with buffers that are too short, too long or random. What counts is that the server still takes
connections afterwards, and closes the ones it does not understand.
"""

import os
import random
import socket
import struct
import sys

PORT = 988
ACCEPTOR = 0xACCE7100
MAGIC = 0x45726963
US = socket.inet_aton('10.9.0.254')
PORTALS = [6, 7, 11, 12, 13, 14, 16, 17, 18, 19, 23, 25, 26, 27, 29, 31, 32, 33]
OPCODES = (list(range(0, 26)) + list(range(33, 65)) + [101, 102, 103, 104, 105, 106, 107] +
           [250, 251, 252, 253, 254, 255, 256] + [400, 401, 402] + list(range(501, 510)) + [600, 601, 602] +
           [700, 801, 900, 901, 1000, 0xffffffff])


def nid(address, net=0x20000):
    return net << 32 | struct.unpack('>I', socket.inet_aton(address))[0]


def connect(server):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(5)
    # Servers may insist on a privileged port.
    for port in random.sample(range(700, 1023), 100):
        try:
            s.bind(('', port))
            break
        except OSError:
            continue
    s.connect((server, PORT))
    return s


def request(server):
    return struct.pack('<IIQ', ACCEPTOR, 1, nid(server))


def hello(server, **other):
    f = {'magic': MAGIC, 'version': 3, 'src': nid('10.9.0.254'), 'dst': nid(server), 'pid': 12345, 'dpid': 12345,
         'inc': random.getrandbits(48), 'dinc': 0, 'ctype': 1, 'nips': 0}
    f.update(other)
    return struct.pack('<IIQQIIQQII', *f.values())


def frame(header):
    # The frame's head: type, checksum, two cookies.
    return struct.pack('<IIQQ', 0xC1, 0, 0, 0) + header


def put(server, payload, portal, **other):
    f = {'dst': nid(server), 'src': nid('10.9.0.254'), 'dpid': 12345, 'spid': 12345, 'type': 1, 'len': len(payload),
         'ack': 2 ** 64 - 1, 'ack2': 2 ** 64 - 1, 'match': random.getrandbits(63) & ~0xffff, 'hdr': 0, 'portal': portal,
         'offset': 0}
    f.update(other)
    return frame(struct.pack('<QQIIIIQQQQII', *f.values())) + payload


def message(opcode, buffers, **other):
    """An RPC request."""
    body = {'handle': random.getrandbits(64), 'type': 4711, 'version': 0x00030003, 'opc': opcode, 'status': 0,
            'xid': random.getrandbits(63), 'tag': 0, 'pad': 0, 'pad2': 0, 'committed': 0, 'transno': 0, 'flags': 0,
            'op_flags': 0, 'conn': 0, 'timeout': 10, 'service': 0, 'limit': 0, 'slv': 0}
    body.update({k: v for k, v in other.items() if k in body})
    b = struct.pack('<QIIIiQHHIQQIIIIIIQ', *body.values()).ljust(184, b'\0')
    buffers = [b] + buffers
    head = {'count': len(buffers), 'flavor': 0, 'magic': 0x0BD00BD3, 'repsize': 1024, 'cksum': 0, 'flags': 0, 'p2': 0,
            'p3': 0}
    head.update({k[2:]: v for k, v in other.items() if k.startswith('h_')})
    lens = other.get('lens') or [len(x) for x in buffers]
    out = struct.pack('<8I', *head.values()) + struct.pack(f'<{len(lens)}I', *lens)
    out = out.ljust((len(out) + 7) & ~7, b'\0')
    for x in buffers:
        out += x.ljust((len(x) + 7) & ~7, b'\0')
    return out


def raw(server, data):
    """Sends bytes on a fresh connection; whether the server closes it or answers does not matter."""
    s = connect(server)
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        s.settimeout(2)
        while s.recv(4096):
            pass
    except OSError:
        pass
    finally:
        s.close()


def established(server):
    s = connect(server)
    # Those that say nothing may be before us, each for a few seconds.
    s.settimeout(90)
    s.sendall(request(server) + hello(server))
    answer = b''
    while len(answer) < 56:
        got = s.recv(56 - len(answer))
        if not got:
            sys.exit(f'{server}: closes a good connection')
        answer += got
    if struct.unpack('<I', answer[:4])[0] != MAGIC:
        sys.exit(f'{server}: answers a good HELLO with {answer.hex()}')
    return s


def on_established(server, messages):
    """Sends messages; a new connection whenever the server has closed the last."""
    s = established(server)
    closed = 0
    for m in messages:
        try:
            s.setblocking(False)
            try:
                while s.recv(65536):
                    pass
                raise ConnectionError
            except BlockingIOError:
                pass
            s.settimeout(5)
            s.sendall(m)
        except OSError:
            closed += 1
            s.close()
            s = established(server)
    s.close()
    return closed


def handshakes(server):
    good = request(server) + hello(server)
    yield b''
    yield os.urandom(4096)
    yield b'GET / HTTP/1.0\r\n\r\n'
    yield b'\0' * 4096
    for n in range(0, len(good), 3):
        yield good[:n]
    yield struct.pack('<IIQ', ACCEPTOR, 9, nid(server)) + hello(server)
    yield struct.pack('<IIQ', ACCEPTOR, 1, nid('10.9.0.77')) + hello(server)
    yield struct.pack('>IIQ', ACCEPTOR, 1, nid(server)) + hello(server)
    for wrong in ({'magic': 0}, {'version': 0}, {'version': 2 ** 31}, {'src': 0}, {'src': 2 ** 64 - 1}, {'dst': 0},
                  {'dst': nid('10.9.0.77')}, {'ctype': 0}, {'ctype': 77}, {'ctype': 2 ** 32 - 1}, {'nips': 16},
                  {'nips': 2 ** 32 - 1}, {'pid': 0}, {'inc': 0}):
        yield request(server) + hello(server, **wrong) + os.urandom(256)


def lnet_messages(server):
    p = message(400, [])
    limits = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
    for portal in PORTALS + limits:
        yield put(server, p, portal % 2 ** 32)
    for field in ('type', 'len', 'offset', 'dpid', 'spid'):
        for v in limits:
            yield put(server, p, 12, **{field: v})
    for field in ('dst', 'src', 'match', 'hdr'):
        for v in limits + [2 ** 64 - 1]:
            yield put(server, p, 12, **{field: v})
    # Replies and acknowledgments that nobody waits for, requests to read what is not there.
    for kind in (0, 2, 3, 4):
        yield put(server, b'', 12, type=kind)
        yield put(server, os.urandom(64), 0, type=kind)
    yield struct.pack('<IIQQ', 0xC0, 0, 0, 0)
    yield struct.pack('<IIQQ', 0xC0, 0, 2 ** 64 - 1, 2 ** 64 - 1)
    yield struct.pack('<IIQQ', 0xFF, 0, 0, 0)


def rpcs(server):
    for opcode in OPCODES:
        for buffers in ([], [b''] * 8, [os.urandom(8)], [os.urandom(n) for n in (64, 208, 40, 24, 512)],
                        [b'\xff' * 208] * 6, [b'\0' * 208] * 6):
            portal = random.choice(PORTALS)
            yield put(server, message(opcode, buffers), portal)
    good = [b'\0' * 40] * 3
    for wrong in ({'h_count': 0}, {'h_count': 2 ** 32 - 1}, {'h_count': 40}, {'h_magic': 0}, {'h_magic': 0x0BD00BD1},
                  {'h_magic': 0xD30BD00B}, {'h_repsize': 2 ** 32 - 1}, {'h_flags': 2 ** 32 - 1}, {'h_flavor': 99},
                  {'type': 0}, {'type': 4713}, {'version': 0}, {'version': 2 ** 32 - 1}, {'timeout': 2 ** 32 - 1},
                  {'flags': 2 ** 32 - 1}, {'op_flags': 2 ** 32 - 1}, {'transno': 2 ** 64 - 1}, {'xid': 0},
                  {'xid': 2 ** 64 - 1}, {'lens': [2 ** 32 - 1] * 4}, {'lens': [184, 2 ** 31, 2 ** 31, 8]},
                  {'lens': [0, 0, 0, 0]}, {'lens': [8, 0, 0, 0]}):
        for opcode in (8, 38, 101, 250, 400, 36, 4):
            for portal in (6, 12, 17, 26, 28):
                yield put(server, message(opcode, good, **wrong), portal)
    # Connects to every kind of target, by names that are none.
    for opcode in (8, 38, 250):
        for name in (b'', b'MGS\0', b'lustre-MDT0000_UUID\0', b'lustre-OST0000_UUID\0', b'x' * 4096, os.urandom(40)):
            for data in (b'', os.urandom(192), b'\xff' * 192, os.urandom(72)):
                yield put(server, message(opcode, [name, b'garbage\0', os.urandom(8), data]), random.choice(PORTALS))
    for n in (0, 1, 7, 31, 32, 40, 100):
        yield put(server, message(400, [])[:n], 12)
    yield put(server, os.urandom(65536), 12)


def main(servers):
    random.seed(int(os.environ.get('SEED', '1')))
    for server in servers:
        n = 0
        for data in handshakes(server):
            raw(server, data)
            n += 1
        many = list(lnet_messages(server)) + list(rpcs(server))
        closed = on_established(server, many)
        # Half a message, and silence.
        s = established(server)
        s.sendall(put(server, b'', 12, len=100))
        held = [connect(server) for _ in range(50)]
        established(server).close()
        for h in held:
            h.close()
        s.close()
        print(f'{server}: {n} handshakes, {len(many)} messages, {closed} of them ended their connection')


if len(sys.argv) < 2:
    sys.exit(__doc__)
main(sys.argv[1:])
