#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Proof that tools/check-leftovers can fail: something of each kind is left, and it names each."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

TOOL = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/check-leftovers"


class LeftoversTest(unittest.TestCase):
    def call(self, *arguments):
        return subprocess.run([str(TOOL), *arguments], capture_output=True, text=True)

    def quietly(self, *command):
        subprocess.run(command, capture_output=True)

    def test_names_what_was_left_and_nothing_else(self):
        work = pathlib.Path(tempfile.mkdtemp(prefix="leftovers-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, work)
        before = work / "before.json"
        listing = self.call("--before")
        self.assertEqual(listing.returncode, 0)
        before.write_text(listing.stdout)

        image, mounted = work / "image", work / "pool"
        mounted.mkdir()
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
        self.addCleanup(self.quietly, "umount", str(mounted))
        (mounted / "sandboxes/canary").mkdir(parents=True)
        subprocess.run(["ip", "netns", "add", "tbx-canary"], check=True)
        self.addCleanup(self.quietly, "ip", "netns", "del", "tbx-canary")
        subprocess.run(["ip", "tuntap", "add", "tbxcanary", "mode", "tap"], check=True)
        self.addCleanup(self.quietly, "ip", "link", "del", "tbxcanary")
        subprocess.run(["nft", "add", "table", "inet", "tbx_canary"], check=True)
        self.addCleanup(self.quietly, "nft", "delete", "table", "inet", "tbx_canary")
        run = pathlib.Path("/run/tinderbox-canary/vm/canary")
        run.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, run.parent.parent)
        program = work / "tinderbox-canary"
        shutil.copy("/bin/sleep", program)
        process = subprocess.Popen([str(program), "100"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        time.sleep(0.1)

        after = self.call("--after", str(before))
        self.assertEqual(after.returncode, 1)
        for words in (f"process {process.pid} tinderbox-canar", "network namespace tbx-canary",
                      "network link tbxcanary", "inet tbx_canary", f"mount {mounted}", "loop device", f"path {mounted}/sandboxes/canary",
                      "path /run/tinderbox-canary/vm/canary"):
            self.assertIn(words, after.stdout)


if __name__ == "__main__":
    os.geteuid() == 0 or exit("needs root")
    unittest.main(verbosity=2)
