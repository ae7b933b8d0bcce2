#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Hundreds of sandboxes come and go, some of them paused, resumed and forked: nothing adds up.

TINDERBOX_CYCLES=1000 for a long run.
"""
import concurrent.futures
import os
import pathlib
import re
import unittest

from harness import CGROUP, RUN, STATE, DaemonTest, host_objects, read

CYCLES = int(os.environ.get("TINDERBOX_CYCLES", "300"))


class LeakTest(DaemonTest):
    def counts(self):
        pid = self.daemon.process.pid
        return {
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "mounts": len(read("/proc/self/mountinfo").splitlines()),
            "namespaces": len(os.listdir("/run/netns")),
            "links": len(os.listdir("/sys/class/net")),
            "cgroups": len([p for p in pathlib.Path("/sys/fs/cgroup").glob(f"*/{CGROUP}/*/")]),
            "loop devices": len([p for p in pathlib.Path("/sys/block").glob("loop*/loop/backing_file")]),
            "files": sum(len(files) for folder in (RUN, STATE) for _, _, files in os.walk(folder)),
            "processes": len(list(filter(str.isdigit, os.listdir("/proc")))),
        }

    def memory_kib(self):
        return int(re.search(r"^RssAnon:\s+(\d+)", read(f"/proc/{self.daemon.process.pid}/status"), re.M)[1])

    def cycle(self, number):
        def call(method, path, body=None, expect=(200, 201, 204)):
            status, _, answer = self.daemon.api(method, path, body)
            self.assertIn(status, expect, f"{method} {path}: {answer}")
            return answer

        sandbox = call("POST", "/v2/sandboxes", {"templateID": "base", "memoryMB": 128})["sandboxID"]
        if number % 20 == 0:
            call("POST", f"/sandboxes/{sandbox}/pause", {})
            if number % 40 == 0:
                call("POST", f"/v2/sandboxes/{sandbox}/connect", {})
        elif number % 20 == 10:
            for child in call("POST", f"/sandboxes/{sandbox}/fork", {"count": 1}):
                call("DELETE", f"/sandboxes/{child['sandbox']['sandboxID']}")
        call("DELETE", f"/sandboxes/{sandbox}")

    def cycles(self, count):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(self.cycle, range(count)))
        self.assertEqual(host_objects(), [])

    def test_many_cycles_leave_everything_level(self):
        self.daemon.api_key()
        # Threads, caches, what the allocator keeps for each thread, the boot snapshot.
        self.cycles(CYCLES // 2)
        before, memory = self.counts(), self.memory_kib()
        self.cycles(CYCLES // 2)
        after = self.counts()
        for what, count in before.items():
            # Threads and connections of the moment come and go; a leak would show a hundredfold.
            self.assertLessEqual(after[what], count + (20 if what in ("descriptors", "processes") else 4), what)
        grown = self.memory_kib() - memory
        self.assertLess(grown, 6144, "KiB that the daemon has grown by")


if __name__ == "__main__":
    unittest.main(verbosity=2)
