#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of a running guest draw different random numbers from their first instruction on.

TINDERBOX_RANDOM_FORKS=ROUNDSxCHILDREN sets how many forks are made (default 1x3; a long run is 5x10).
"""
import base64
import collections
import os
import pathlib
import struct
import unittest

from snapshot_test import LifecycleTest

ROUNDS, CHILDREN = map(int, os.environ.get("TINDERBOX_RANDOM_FORKS", "1x3").split("x"))
RECORD = struct.Struct("=Q16s16s")  # a mark; a draw by kernel uuid and one by getrandom(2)
MOST = 100_000  # records that are read of one guest
ENOUGH = 50     # draws that a guest must have made on its own

# Draws for ever. The mark of a record is from the CPU's own generator (RDRAND), which no snapshot holds: two
# copies of a guest have the same mark in a record exactly if it was made before they were copied.
DRAWER = r"""
import ctypes, mmap, os, struct, sys
if "rdrand" not in open("/proc/cpuinfo").read(): sys.exit("the CPU has no RDRAND")
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("480fc7f073fac3"))  # again: rdrand rax; jnc again; ret
mark = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
out = os.open("/dev/shm/draws", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
uuid = os.open("/proc/sys/kernel/random/uuid", os.O_RDONLY)
while True:
    first = mark()
    drawn = bytes.fromhex(os.pread(uuid, 36, 0).decode().replace("-", ""))
    os.write(out, struct.pack("=Q16s16s", first, drawn, os.getrandom(16)))
"""


def shared(guests):
    """How many draws two or more of the guests (lists of records) made alike after they were copied, and the least
    number of draws that one of them made on its own."""
    seen = collections.Counter(mark for records in guests for mark, _, _ in records)
    draws = collections.Counter()
    alone = []
    for records in guests:
        own = [record for record in records if seen[record[0]] == 1]
        alone.append(len(own))
        draws.update(draw for _, *both in own for draw in both)
    return sum(count > 1 for count in draws.values()), min(alone)


class RandomTest(LifecycleTest):
    def prepare(self):
        sandbox = self.daemon.create("--memory", "256", "--timeout", "1h")
        source = pathlib.Path(self.daemon.config).parent / "drawer.py"
        source.write_text(DRAWER)
        self.tb("cp", str(source), f"{sandbox}:/home/user/drawer.py")
        return sandbox

    def records(self, sandbox, since=0):
        """The records behind the first `since`, MOST at most, once it has made some more."""
        text = self.sh(sandbox, f"""
            cd /dev/shm
            goal=$(($(stat -c %s draws) + {2 * ENOUGH * RECORD.size}))
            until [ $(stat -c %s draws) -ge $goal ]; do sleep 0.05; done
            tail -c +{since * RECORD.size + 1} draws | head -c {MOST * RECORD.size} | base64 -w0""")
        raw = base64.b64decode(text)
        return list(RECORD.iter_unpack(raw[:len(raw) // RECORD.size * RECORD.size]))

    def assert_apart(self, guests, what):
        alike, alone = shared(guests)
        print(f"{what}: {len(guests)} guests, each with {alone} draws or more of its own: {alike} shared")
        self.assertGreater(alone, ENOUGH, "draws after the copy")
        self.assertEqual(alike, 0, f"{what}: draws that guests share")

    def test_forks(self):
        parent = self.prepare()
        self.sh(parent, "setsid python3 /home/user/drawer.py >/dev/null 2>&1 </dev/null & "
                        "until [ -s /dev/shm/draws ]; do sleep 0.05; done")
        for number in range(ROUNDS):
            since = int(self.sh(parent, "stat -c %s /dev/shm/draws")) // RECORD.size
            children = self.fork(parent, CHILDREN)
            guests = [self.records(guest, since) for guest in (parent, *children)]
            self.assert_apart(guests, f"forks, round {number + 1}")
            for each in (parent, *children[1:]):
                self.tb("rm", each)
            parent = children[0]  # the next generation

    def test_snapshot_with_a_start_command_and_rollback(self):
        origin = self.prepare()
        snapshot = self.tb("snapshot", "create", "--name", "drawing", "--start", "exec python3 /home/user/drawer.py",
                           "--ready", "test -s /dev/shm/draws", origin).stdout.strip()
        guests = [self.records(origin)]
        for _ in range(2):
            clone = self.daemon.create("--template", "drawing")
            guests.append(self.records(clone))
            self.tb("rm", clone)
        self.call("POST", f"/tinderbox/v1/sandboxes/{origin}/rollback", {"snapshot": snapshot}, expect=200)
        guests.append(self.records(origin))
        self.assert_apart(guests, "snapshot, two clones, rollback")
        # A paused sandbox, and a snapshot of it, go on from the same memory.
        self.pause(origin)
        of_paused = self.snapshot(origin)
        self.resume(origin)
        clone = self.daemon.create("--template", of_paused)
        self.assert_apart([self.records(origin), self.records(clone)], "pause, resume, a snapshot of it")
        self.tb("rm", "--all")
        for each in (snapshot, of_paused):
            self.remove_snapshot(each)


if __name__ == "__main__":
    unittest.main()
