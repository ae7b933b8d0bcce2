#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""A host whose disk is full: nothing is lost, what stands still says so, and all continues once there is space."""
import os
import subprocess
import unittest

from harness import RUN, STATE, Daemon, wait_for

BLOB = "/home/user/blob"
# Writes with fsync and notes what was written, on its own: the client may go away meanwhile.
WRITER = (f"rm -f {BLOB}.sum; nohup sh -c 'dd if=/dev/urandom of={BLOB} bs=1M count=96 conv=fsync && md5sum {BLOB} "
          f">{BLOB}.new && mv {BLOB}.new {BLOB}.sum' >/dev/null 2>&1 &")


class StorageTest(unittest.TestCase):
    """A state directory on a small file system of its own."""

    @classmethod
    def setUpClass(cls):
        cls.mount = RUN.with_name(RUN.name + "-full")
        image = STATE.with_name(STATE.name + "-full.img")
        cls.mount.mkdir(parents=True, exist_ok=True)
        cls.addClassCleanup(cls.mount.rmdir)
        with open(image, "wb") as file:
            file.truncate(3 << 30)
        cls.addClassCleanup(image.unlink)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(cls.mount)], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", str(cls.mount)], check=True)
        # The prepared state, whose pool is there while a daemon runs on it.
        source = Daemon()
        source.start()
        for part in ("kernels", "pool/templates"):
            (cls.mount / part).parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", "--sparse=always", STATE / part, cls.mount / part], check=True)
        source.cleanup()
        cls.daemon = Daemon(extra="[storage]\nreserve_mib = 64\nvolume_gib = 1\n")
        cls.daemon.config.write_text(cls.daemon.config.read_text().replace(str(STATE), str(cls.mount)))
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()

    def setUp(self):
        self.filler = self.mount / "filler"

    def tearDown(self):
        self.filler.unlink(missing_ok=True)
        self.daemon.tb("rm", "--all")
        self.assertEqual(list((self.mount / "pool/sandboxes").glob("*")), [])

    def fill(self, leave):
        """Takes what is free, but for about `leave` bytes."""
        with open(self.filler, "ab") as file:
            while (space := os.statvfs(self.mount).f_bavail * 4096 - leave) >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, space)
                except OSError:
                    leave += 256 << 10

    def state(self, sandbox):
        return self.daemon.inspect(sandbox)["state"]

    def sh(self, sandbox, script):
        return self.daemon.tb("exec", "-u", "root", sandbox, "--", "sh", "-c", script).stdout

    def check(self, sandbox):
        self.sh(sandbox, f"echo 3 >/proc/sys/vm/drop_caches; md5sum -c {BLOB}.sum")

    def refused(self, method, path, body, statuses):
        status, _, answer = self.daemon.api(method, path, body)
        self.assertIn(status, statuses, answer)
        self.assertRegex(answer["message"], "free", answer)
        self.assertRegex(answer["remedy"], "Free disk space", answer)

    def test_create_says_so_and_leaves_nothing(self):
        self.daemon.tb("run", "--rm", "--", "true")
        self.fill(32 << 20)
        self.refused("POST", "/v2/sandboxes", {"templateID": "base"}, [507])
        self.assertEqual(self.daemon.json("ls"), [])
        self.filler.unlink()
        self.daemon.tb("run", "--rm", "--", "true")

    def test_a_sandbox_without_space_stops_says_so_and_continues(self):
        sandbox = self.daemon.create("--timeout", "1h")
        paused = self.daemon.create("--timeout", "1h")
        self.daemon.tb("pause", paused)
        self.fill(8 << 20)
        self.sh(sandbox, WRITER)
        wait_for(lambda: self.state(sandbox) == "no-space", 60, "it is said to be without space")
        # Nothing that would end its life or keep half of it.
        self.refused("POST", f"/sandboxes/{sandbox}/pause", {}, [503])
        self.refused("POST", f"/sandboxes/{sandbox}/snapshots", {}, [503])
        self.refused("POST", f"/sandboxes/{sandbox}/fork", {"count": 1}, [503])
        self.refused("POST", "/v2/sandboxes", {"templateID": "base"}, [507])
        self.refused("POST", f"/v2/sandboxes/{paused}/connect", {"timeout": 60}, [503, 507])
        self.assertEqual(self.state(paused), "paused")
        answer = self.daemon.tb("exec", sandbox, "--", "true", check=False)
        self.assertNotEqual(answer.returncode, 0)
        self.assertIn("no free disk space", answer.stderr)
        # A new daemon finds it so.
        self.daemon.kill()
        self.daemon.start()
        wait_for(lambda: self.state(sandbox) == "no-space", 10, "the next daemon says so, too")
        self.filler.unlink()
        wait_for(lambda: self.state(sandbox) == "running", 20, "it continues")
        wait_for(lambda: self.sh(sandbox, f"ls {BLOB}.sum 2>/dev/null || true"), 60, "its write ends")
        self.check(sandbox)
        for command, which in (("pause", sandbox), ("resume", sandbox), ("resume", paused)):
            self.daemon.tb(command, which)
        self.check(sandbox)
        _, _, events = self.daemon.api("GET", f"/events/sandboxes/{sandbox}?limit=50")
        details = str(events)
        self.assertIn("no free space on the host", details)
        self.assertIn("has free space again", details)

    def test_a_volume_ends_at_its_limit_and_leaves_the_reserve(self):
        _, _, volume = self.daemon.api("POST", "/volumes", {"name": "limited"})
        self.addCleanup(self.daemon.api, "DELETE", f"/volumes/{volume['volumeID']}")
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {
            "templateID": "base", "timeout": 3600, "volumeMounts": [{"name": "limited", "path": "/mnt/v"}]})
        self.assertEqual(status, 201, body)
        sandbox = body["sandboxID"]
        out = self.sh(sandbox, "cd /mnt/v; fallocate -l 900M a && fallocate -l 200M b; ls; df -m . | tail -1")
        self.assertRegex(out, r"(?m)^a$")
        self.assertRegex(out, r" 1024 +9\d\d +1\d\d ")
        self.assertIn("quota", self.daemon.tb(
            "exec", "-u", "root", sandbox, "--", "sh", "-c", "LC_ALL=C fallocate -l 200M /mnt/v/c; true").stderr)
        self.assertRegex(self.daemon.tb("volume", "ls").stdout, r"limited +\S+ +9\d\d MiB of 1024 MiB")
        self.sh(sandbox, "rm /mnt/v/a; fallocate -l 900M /mnt/v/d; rm /mnt/v/*")
        # The last of the pool is for the sandboxes' own disks.
        self.fill(60 << 20)
        out = self.sh(sandbox, "dd if=/dev/zero of=/mnt/v/e bs=1M count=8 2>&1; true")
        self.assertIn("No space left", out)
        self.sh(sandbox, "dd if=/dev/urandom of=/var/tmp/x bs=1M count=4 conv=fsync")
        self.assertEqual(self.state(sandbox), "running")
        self.filler.unlink()
        # Its own disk is full: that is between the guest and its file system.
        out = self.sh(sandbox, "fallocate -l $(df --output=avail -B1 / | tail -1) /var/tmp/full; "
                      "su user -c 'dd if=/dev/zero of=/home/user/y bs=1M count=64 conv=fsync' 2>&1; rm /home/user/y")
        self.assertIn("No space left", out)
        self.daemon.tb("pause", sandbox)
        self.daemon.tb("resume", sandbox)
        self.sh(sandbox, "rm /var/tmp/full; su user -c 'dd if=/dev/zero of=/home/user/y bs=1M count=4 conv=fsync'")


if __name__ == "__main__":
    unittest.main(verbosity=2)
