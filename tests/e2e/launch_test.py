#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""tinderbox-launch: one VM without a daemon, the same command line for Firecracker and QEMU."""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BUILD, process_gone, program, read, wait_for

NETNS, TAP = "tblaunch", "tap0"
GUESTS = BUILD / "guests"
FIRECRACKER = os.environ.get("TINDERBOX_FIRECRACKER", "")


class LaunchCase:
    """The tests, for either VMM."""

    vmm = ""

    @classmethod
    def setUpClass(cls):
        subprocess.run(["ip", "netns", "del", NETNS], capture_output=True)
        subprocess.run(["ip", "netns", "add", NETNS], check=True)
        cls.addClassCleanup(subprocess.run, ["ip", "netns", "del", NETNS], check=True)
        subprocess.run(["ip", "-n", NETNS, "tuntap", "add", TAP, "mode", "tap", "user", "30123", "vnet_hdr"], check=True)
        directory = tempfile.TemporaryDirectory(prefix="tinderbox-launch-", dir="/run")
        cls.addClassCleanup(directory.cleanup)
        cls.run_dir = directory.name

    def launch(self, *arguments, check=True):
        result = subprocess.run(
            [program("tinderbox-launch"), *map(str, arguments), "--run-dir", self.run_dir],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{arguments} exited {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def start(self, guest, *arguments, **options):
        return self.launch("start", "--id", f"e2e-{guest}", "--vmm", self.vmm, "--kernel", GUESTS / guest,
                           "--netns", NETNS, "--tap", TAP, "--uid", 30123, "--gid", 30123, *arguments, **options)

    def tearDown(self):
        for vm in json.loads(self.launch("ps", "--json").stdout):
            self.launch("stop", vm["id"], "--grace", "0s", check=False)
        for path in pathlib.Path(self.run_dir).iterdir():
            self.fail(f"left behind: {path}")

    def pid(self, guest):
        for vm in json.loads(self.launch("ps", "--json").stdout):
            if vm["id"] == f"e2e-{guest}":
                return vm["vmmPid"]
        raise AssertionError("not listed")

    def test_a_guest_speaks_and_its_exit_is_zero(self):
        result = self.start("hello", "--cmdline", "word=tinder")
        self.assertIn("hello", result.stdout)
        self.assertIn("word=tinder", result.stdout)

    def test_stop_says_which_rung_won(self):
        result = self.start("spin", "--detach")
        socket = result.stdout.strip().splitlines()[-1]
        self.assertTrue(os.path.exists(socket), result.stdout)
        pid = self.pid("spin")
        stopped = self.launch("stop", "e2e-spin")
        self.assertRegex(stopped.stdout + stopped.stderr, r"\bterm\b|TERM")
        self.assertTrue(process_gone(pid))

    def test_the_jail(self):
        self.start("spin", "--detach")
        pid = self.pid("spin")
        status = dict(re.findall(r"^(\w+):[ \t]*(.*)$", read(f"/proc/{pid}/status"), re.M))
        self.assertEqual(status["Uid"].split(), ["30123"] * 4)
        self.assertEqual(int(status["CapEff"], 16), 0)
        self.assertEqual(int(status["CapBnd"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1")
        # Firecracker's filters are per thread; the main thread's comes with the start of the guest.
        wait_for(lambda: "\nSeccomp:\t2" in read(f"/proc/{pid}/status"), 5, "a system call filter")
        for namespace in ("mnt", "net", "pid", "ipc", "uts"):
            self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{namespace}"), os.readlink(f"/proc/self/ns/{namespace}"))
        entries = set(os.listdir(f"/proc/{pid}/root"))
        self.assertIn("vmlinux", entries)
        self.assertFalse(entries & {"root", "home", "proc", "sys", "var", "work"}, entries)
        self.assertEqual(read(f"/proc/{pid}/environ"), "")

    def test_the_vm_outlives_its_launcher_and_death_by_kill_is_told(self):
        self.start("spin", "--detach")
        pid = self.pid("spin")
        waiter = subprocess.Popen([program("tinderbox-launch"), "wait", "e2e-spin", "--run-dir", self.run_dir],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(0.2)
        self.assertIsNone(waiter.poll())
        os.kill(pid, signal.SIGKILL)
        waiter.communicate(timeout=10)
        self.assertEqual(waiter.returncode, 137)

    def refused(self, words, *arguments):
        result = self.launch("start", "--id", "e2e-bad", "--vmm", self.vmm, *arguments, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(words, result.stderr)

    def test_bad_input(self):
        hello = GUESTS / "hello"
        self.refused("/nonesuch", "--kernel", "/nonesuch")
        self.refused("kernel", "--kernel", "/etc/passwd")
        self.refused("memory", "--kernel", hello, "--memory", "0")
        self.refused("memory", "--kernel", hello, "--memory", "90000000")
        self.refused("nonesuch", "--kernel", hello, "--netns", "nonesuch", "--tap", "tap0")
        self.refused("tap9", "--kernel", hello, "--netns", NETNS, "--tap", "tap9")
        self.refused("id", "--kernel", hello, "--id", "../x")

    def test_a_console_can_be_read_later(self):
        self.start("counter", "--detach")
        wait_for(lambda: len(self.launch("console", "e2e-counter").stdout.splitlines()) > 2, 10, "counted lines")


@unittest.skipUnless(FIRECRACKER, "TINDERBOX_FIRECRACKER is not set; ./test sets it")
class FirecrackerLaunch(LaunchCase, unittest.TestCase):
    vmm = "firecracker"


class QemuLaunch(LaunchCase, unittest.TestCase):
    vmm = "qemu"


if __name__ == "__main__":
    unittest.main(verbosity=2)
