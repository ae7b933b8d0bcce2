#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""A second daemon on the same state, another run directory, a damaged and a lost database: a running sandbox runs on,
and no data is lost."""
import os
import pathlib
import shutil
import subprocess
import unittest

from harness import RUN, STATE, Daemon, DaemonTest, host_objects, process_gone, program, wait_for

MOVED = RUN.with_name(RUN.name + "-moved")
DATABASE = STATE / "tinderbox.db"


class RecoverTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(shutil.rmtree, MOVED, ignore_errors=True)
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.addClassCleanup(cls.daemon.write_config)
        cls.daemon.start()

    def refused(self, config=None, *arguments):
        """The error of a daemon that does not start."""
        run = subprocess.run(
            [program("tinderboxd"), "run", "--config", str(config or self.daemon.config), *arguments],
            capture_output=True, text=True, timeout=60,
        )
        self.assertEqual(run.returncode, 1, run.stderr)
        return run.stderr

    def tinderboxd(self, *arguments):
        return subprocess.run(
            [program("tinderboxd"), *arguments, "--config", str(self.daemon.config)],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout

    def check(self, sandbox):
        """Disk and volume hold what was written. A new daemon mounts the volume again in the background."""

        def is_whole():
            command = ["exec", sandbox, "--", "cat", "/home/user/kept", "/mnt/v/kept"]
            return self.tb(*command, check=False).stdout == "a\nb\n"

        wait_for(is_whole, 20, "disk and volume hold what was written")

    def test_nothing_is_lost(self):
        daemon = self.daemon
        self.tb("volume", "create", "keep")
        self.addCleanup(lambda: self.tb("volume", "rm", "-f", "keep"))
        sandbox = daemon.create("--memory", "256", "--timeout", "1h", "-v", "keep:/mnt/v")
        vmm = daemon.inspect(sandbox)["vmmPid"]
        self.tb("exec", sandbox, "--", "sh", "-c", "echo a > /home/user/kept; echo b > /mnt/v/kept; sync")

        # A second daemon, which shares the state directory by accident.
        second = RUN / "second.toml"
        text = daemon.config.read_text().replace(f'run_dir = "{RUN}"', f'run_dir = "{MOVED}"')
        second.write_text(text.replace('prefix = "tbe"', 'prefix = "tbf"'))
        error = self.refused(second)
        self.assertIn(f"process {daemon.process.pid} ({program('tinderboxd')} run", error)
        self.assertIn("nothing was changed", error)
        self.check(sandbox)

        # The daemon refuses to change what a VM depends on; the run directory may change.
        daemon.stop()
        self.assertIn("network.prefix from 'tbe' to 'tbf' while 1 sandboxes run", self.refused(second))
        daemon.config.write_text(text)
        daemon.start()
        self.assertEqual(daemon.inspect(sandbox)["vmmPid"], vmm)
        self.check(sandbox)

        # Its database is damaged: the remedy that is printed destroys nothing.
        daemon.stop()
        for suffix in ("-wal", "-shm"):
            DATABASE.with_name(DATABASE.name + suffix).unlink(missing_ok=True)
        os.truncate(DATABASE, 0)
        with open(DATABASE, "wb") as file:
            file.write(b"x" * 8192)
        self.assertIn("tinderboxd restore", self.refused())
        self.tinderboxd("restore", "--none")
        error = self.refused()
        self.assertIn("holds 1 volumes and 1 sandboxes", error)
        self.assertIn("--adopt", error)
        daemon.start(arguments=["--adopt"])
        daemon.key = None
        self.assertEqual(daemon.inspect(sandbox)["vmmPid"], vmm)
        self.check(sandbox)
        self.assertEqual(daemon.json("recover", "ls"), [])

        # Without --adopt volumes and disks wait in lost+found.
        self.tinderboxd("backup")
        daemon.stop()
        self.tinderboxd("restore", "--none")
        daemon.start(arguments=["--discard"])
        self.assertTrue(process_gone(vmm))
        self.assertEqual(daemon.json("ls"), [])
        entries = {entry["kind"]: entry["name"] for entry in daemon.json("recover", "ls")}
        self.assertEqual(sorted(entries), ["sandbox", "volume"])
        self.assertIn("lost+found", self.tb("doctor", check=False).stdout)
        self.assertEqual(self.tb("recover", "adopt", entries["volume"]).stdout, "keep\n")
        self.assertEqual(self.tb("recover", "adopt", entries["sandbox"]).stdout, f"{sandbox}\n")
        self.tb("resume", sandbox)  # a boot: its VM was lost
        self.check(sandbox)

        # A backup that is older than all that.
        daemon.stop()
        self.tinderboxd("restore")
        daemon.start()
        self.check(sandbox)
        self.assertEqual([each["sandboxID"] for each in daemon.json("ls")], [sandbox])
        self.tb("rm", sandbox)
        self.assertEqual(host_objects(), [])
        self.assertEqual(list(MOVED.glob("vm/*")), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
