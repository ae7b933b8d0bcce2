# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The host loses its power and starts again, once with the same processor and once with another one. Each class runs on a machine of its own;
they share the state disk, and run in this order (SEQUENCES in scenarios.py)."""
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import STATE, Daemon, host_objects  # noqa: E402

NOTES = STATE / "reboot-test"


class RebootTest(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.daemon.start()
        self.addCleanup(self.daemon.stop)

    def sandboxes(self):
        return NOTES.read_text().split()

    def content(self, sandbox):
        return self.daemon.tb("exec", sandbox, "--", "cat", "/dev/shm/f", "/home/user/f").stdout


class Before(RebootTest):
    def test_sandboxes_are_paused_and_run(self):
        made = [self.daemon.create("--timeout", "1h") for _ in range(3)]
        for sandbox in made:
            self.daemon.tb("exec", sandbox, "--", "sh", "-c", "echo memory >/dev/shm/f; echo disk >/home/user/f; sync")
        for sandbox in made[:2]:
            self.daemon.tb("pause", sandbox)
        # The machine ends like one that loses its power: the daemon itself must have flushed the sandboxes.
        with open(NOTES, "w") as notes:
            notes.write(" ".join(made))
            notes.flush()
            os.fsync(notes.fileno())


class After(RebootTest):
    def test_a_paused_sandbox_resumes_and_a_running_one_is_dead(self):
        first, second, running = self.sandboxes()
        self.assertEqual(self.daemon.inspect(running)["state"], "dead")
        self.daemon.tb("resume", first)
        self.assertEqual(self.content(first), "memory\ndisk\n")
        self.daemon.tb("rm", first, running)
        self.assertEqual(host_objects(disks=False), [])
        self.assertEqual(self.daemon.inspect(second)["state"], "paused")
        # The boot snapshot of before the restart fits, too.
        self.assertEqual(self.daemon.inspect(self.daemon.create())["startedBy"], "restore")


class OnAnotherProcessor(RebootTest):
    def test_saved_memory_is_refused_with_the_reason_and_the_disk_boots(self):
        _, sandbox, _ = self.sandboxes()
        refused = self.daemon.tb("resume", sandbox, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("features that this host lacks: ", refused.stderr)
        self.assertIn("avx2", refused.stderr)
        self.assertEqual(self.daemon.inspect(sandbox)["state"], "paused")
        self.daemon.tb("resume", "--reboot", sandbox)
        self.assertEqual(self.daemon.tb("exec", sandbox, "--", "cat", "/home/user/f").stdout, "disk\n")
        # A boot snapshot of this processor is taken instead of the one that does not fit.
        self.assertEqual(self.daemon.inspect(self.daemon.create())["startedBy"], "restore")
        self.daemon.tb("rm", "--all")
        self.assertEqual(host_objects(), [])


del RebootTest  # it has no tests of its own
if __name__ == "__main__":
    unittest.main(verbosity=2)
