#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Processes that do everything to a few names in one directory: racer.py DIRECTORY SEED PROCESSES SECONDS

Several of these, on several clients, have the same directory. They end after SECONDS, or when there is a file
/tmp/racer-stop. An error that comes from what others do at the same time is fine, any other is told, and the exit
status is 1. Each process also appends lines to DIRECTORY/log and tells at the end how many: they must be there.
"""

import collections
import errno
import fcntl
import os
import random
import shutil
import signal
import sys
import time

STOP = '/tmp/racer-stop'
NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
FILE_MAX = 256 << 10
FINE = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ESTALE, errno.ELOOP,
        errno.EINVAL, errno.EPERM, errno.ENODATA,
        None}  # shutil's own, of symlinks


class Racer:
    def __init__(self, top, seed, number):
        self.top = top
        self.tree = os.path.join(top, 'tree')
        self.random = random.Random(seed * 1000 + number)
        self.who = f'{seed}-{number}'
        self.lines = 0
        self.slowest = (0.0, '')
        self.done = collections.Counter()

    def path(self):
        # Most are at the top, where the others are, too.
        depth = self.random.choice([1, 1, 1, 2, 2, 3])
        return os.path.join(self.tree, *(self.random.choice(NAMES) for _ in range(depth)))

    def bytes(self):
        return os.urandom(1) * self.random.choice([1, 100, 4096, 5000, 70000])

    def opened(self, flags, use):
        fd = os.open(self.path(), flags, 0o644)
        try:
            use(fd)
        finally:
            os.close(fd)

    def create(self):
        flags = self.random.choice([0, os.O_EXCL, os.O_TRUNC])
        self.opened(os.O_CREAT | os.O_RDWR | flags, lambda fd: os.write(fd, self.bytes()))

    def append(self):
        def use(fd):
            if os.fstat(fd).st_size < FILE_MAX:
                os.write(fd, self.bytes())
        self.opened(os.O_WRONLY | os.O_APPEND, use)

    def write(self):
        at = self.random.randrange(FILE_MAX)
        self.opened(os.O_WRONLY, lambda fd: os.pwrite(fd, self.bytes(), at))

    def read(self):
        def use(fd):
            size = os.fstat(fd).st_size
            os.pread(fd, size + 1, 0)
        self.opened(os.O_RDONLY, use)

    def locked(self):
        def use(fd):
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.pread(fd, 100, 0)
        self.opened(os.O_RDWR, use)

    def sync(self):
        self.opened(os.O_RDWR, os.fsync)

    def truncate(self):
        os.truncate(self.path(), self.random.choice([0, self.random.randrange(FILE_MAX)]))

    def rename(self):
        os.rename(self.path(), self.path())

    def link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def unlink(self):
        os.unlink(self.path())

    def mkdir(self):
        os.mkdir(self.path())

    def rmdir(self):
        os.rmdir(self.path())

    def clear(self):
        shutil.rmtree(self.path())

    def chmod(self):
        os.chmod(self.path(), self.random.choice([0o600, 0o644, 0o700, 0o755]))

    def utime(self):
        t = 1_000_000_000 + self.random.randrange(1000)
        os.utime(self.path(), (t, t))

    def symlink(self):
        os.symlink(self.random.choice(NAMES), self.path())

    def readlink(self):
        os.readlink(self.path())

    def list(self):
        with os.scandir(os.path.dirname(self.path())) as entries:
            for e in entries:
                e.stat(follow_symlinks=False)

    def stat(self):
        os.stat(self.path())

    def setfattr(self):
        os.setxattr(self.path(), self.random.choice(['user.a', 'user.b']), self.bytes()[:1000])

    def getfattr(self):
        os.getxattr(self.path(), self.random.choice(['user.a', 'user.b']))

    def log(self):
        line = f'{self.who} {self.lines} '.encode()
        with open(os.path.join(self.top, 'log'), 'ab', buffering=0) as f:
            f.write(line + b'x' * (self.random.randrange(20, 200) - len(line)) + b'\n')
        self.lines += 1

    def run(self, end):
        work = [self.create] * 3 + [self.append, self.write, self.read, self.rename, self.unlink] * 2 + [
            self.locked, self.sync, self.truncate, self.link, self.mkdir, self.rmdir, self.clear,
            self.chmod, self.utime, self.symlink, self.readlink, self.list,
             self.stat, self.setfattr, self.getfattr, self.log]
        while time.monotonic() < end and not os.path.exists(STOP):
            op = self.random.choice(work)
            name, start = op.__name__, time.monotonic()
            try:
                op()
                self.done[name] += 1
            except OSError as e:
                self.done[errno.errorcode.get(e.errno, str(e.errno))] += 1
                if e.errno not in FINE:
                    print(f'{self.who}: {name}: {e}', file=sys.stderr)
                    return 1
            self.slowest = max(self.slowest, (time.monotonic() - start, name))
        counts = ' '.join(f'{n} {k}' for k, n in sorted(self.done.items()))
        print(f'{self.who}: {self.lines} lines; slowest {self.slowest[1]}, {self.slowest[0]:.1f} s; {counts}')
        return 0


def main():
    top, seed, processes, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    os.makedirs(os.path.join(top, 'tree'), exist_ok=True)
    end = time.monotonic() + seconds
    # A program that hangs should be seen to, not ended by the terminal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    children = []
    for n in range(processes):
        pid = os.fork()
        if pid == 0:
            rc = 1
            try:
                rc = Racer(top, seed, n).run(end)
            finally:
                sys.stdout.flush()
                os._exit(rc)
        children.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) != 0 for c in children)


sys.exit(main())
