#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Proof that tools/check-leftovers can fail: the test leaves one thing of each kind, and the tool names each. And proof that
a leftover of an interrupted run does not hide a new one, because the tool removes it first."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

TOOL = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/check-leftovers"


def load():
    loader = importlib.machinery.SourceFileLoader("check_leftovers", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_leftovers", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


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

    def test_the_root_that_it_runs_in_is_no_leftover(self):
        work = pathlib.Path(tempfile.mkdtemp(prefix="leftovers-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, work)
        image, root = work / "image", work / "root"
        root.mkdir()
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        # The list shows everything on the host, so only lines about this root count.
        script = f"""
            set -e
            mount -o loop {image} {root}
            cd {root}
            mkdir -p usr proc sys dev tmp checkout/tools
            for each in usr proc sys dev; do mount --rbind /$each $each; done
            for each in bin lib lib64; do ln -s usr/$each $each; done
            cp {TOOL} checkout/tools/
            chroot . /usr/bin/python3 /checkout/tools/check-leftovers --before
        """
        listing = subprocess.run(["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True)
        self.assertEqual(listing.returncode, 0, listing.stderr)
        lines = json.loads(listing.stdout)
        self.assertNotIn("mount /", lines)
        self.assertEqual([line for line in lines if str(image) in line], [])


class RemoveTestsTest(unittest.TestCase):
    """--remove-tests, on canaries alone: the ./test that this runs in has things of its own on the host."""

    def setUp(self):
        self.tool = load()
        everything = self.tool.everything
        self.tool.everything = lambda: [line for line in everything() if "canary" in line]
        self.tool.runs_of_ctest = lambda: []

    def make_directory(self, path):
        os.makedirs(path)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)

    def make_namespace(self, name):
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", name], capture_output=True)

    def remove_tests(self):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = self.tool.remove_tests()
        return status, output.getvalue()

    def test_removes_what_only_tests_make(self):
        self.make_directory("/tmp/tinderbox-canary-abc123/inside")
        self.addCleanup(shutil.rmtree, "/tmp/tinderbox-canary-abc123", ignore_errors=True)
        self.make_namespace("tbe-canary")
        subprocess.run(["nft", "add", "table", "inet", "tbe_canary"], check=True)
        self.addCleanup(subprocess.run, ["nft", "delete", "table", "inet", "tbe_canary"], capture_output=True)
        subprocess.run(["ip", "tuntap", "add", "tbecanary", "mode", "tap"], check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "tbecanary"], capture_output=True)
        status, output = self.remove_tests()
        self.assertEqual(status, 0, output)
        self.assertEqual(self.tool.everything(), [], output)
        # So the same leftover counts when the next run makes it again.
        before = self.tool.everything()
        self.make_directory("/tmp/tinderbox-canary-abc123")
        self.assertEqual([line for line in self.tool.everything() if line not in before], ["path /tmp/tinderbox-canary-abc123"])

    def test_a_file_that_no_test_makes_stays_and_is_reported(self):
        self.make_directory("/tmp/tinderbox-canary")
        status, output = self.remove_tests()
        self.assertEqual(status, 1)
        self.assertIn("/tmp/tinderbox-canary", output)
        self.assertTrue(os.path.isdir("/tmp/tinderbox-canary"))

    def test_a_checkout_is_not_a_leftover(self):
        self.make_directory("/tmp/tinderbox-canary-abc123")
        pathlib.Path("/tmp/tinderbox-canary-abc123/CMakeLists.txt").touch()
        self.assertEqual(self.tool.everything(), [])

    def test_while_a_process_of_the_tests_lives_everything_stays(self):
        self.make_directory("/tmp/tinderbox-canary-abc123")
        program = "/tmp/tinderbox-canary-abc123/tinderbox-canar"
        shutil.copy("/bin/sleep", program)
        process = subprocess.Popen([program, "100"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        time.sleep(0.1)
        status, output = self.remove_tests()
        self.assertEqual(status, 1)
        self.assertIn(f"kill {process.pid}", output)
        self.assertTrue(os.path.exists(program))

    def test_knows_the_tests_things_from_an_installed_daemons(self):
        for line in ("network namespace tb-3", "network link tbv3", "nftables table inet tb_net", "cgroup /sys/fs/cgroup/tinderbox",
                     "cgroup /sys/fs/cgroup/cpu/tinderbox/i1", "mount /var/lib/tinderbox/pool", "mount /run/netns/tb-3",
                     "path /run/tinderbox/vm/i1", "path /var/lib/tinderbox/pool/sandboxes/i1", "installed /usr/local/bin/tinderbox",
                     "network namespace a-persons", "mount /elsewhere/build/test-state/pool", "loop device loop0: /elsewhere/image"):
            self.assertFalse(self.tool.is_of_tests(line), line)
        for line in ("network namespace tbe-3", "network namespace tbinternet", "network namespace n1a2b-1", "network link tbev3",
                     "nftables table inet tbe_net", "cgroup /sys/fs/cgroup/cpu/tinderbox-e2e", "mount /run/netns/tbe-3",
                     f"mount {self.tool.ROOT}/build/test-state/pool", "path /tmp/tinderbox-fuse-fuzz", "path /run/tinderbox-e2e/vm/i1",
                     f"mount {self.tool.ROOT}/build/test-state-b/pool", "path /run/tinderbox-e2e-b/vm/i1",
                     f"loop device loop0: {self.tool.ROOT}/build/test-state/pool.img"):
            self.assertTrue(self.tool.is_of_tests(line), line)


if __name__ == "__main__":
    os.geteuid() == 0 or exit("needs root")
    unittest.main(verbosity=2)
