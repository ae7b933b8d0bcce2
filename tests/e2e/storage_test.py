#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""A host whose disk is full: nothing is lost, what stands still says so, and all continues once there is space."""
import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import RUN, STATE, Daemon, wait_for

BLOB = "/home/user/blob"
# Writes with fsync and notes what was written, on its own: the client may go away meanwhile.
WRITER = (f"rm -f {BLOB}.sum; nohup sh -c 'dd if=/dev/urandom of={BLOB} bs=1M count=96 conv=fsync && md5sum {BLOB} "
          f">{BLOB}.new && mv {BLOB}.new {BLOB}.sum' >/dev/null 2>&1 &")


def small_state(test, mkfs, storage):
    """A daemon whose state directory is a small file system of its own, with the prepared kernel and templates, and where
    that is mounted. `test`: has addClassCleanup."""
    mount = RUN.with_name(RUN.name + "-full")
    image = STATE.with_name(STATE.name + "-full.img")
    mount.mkdir(parents=True, exist_ok=True)
    test.addClassCleanup(mount.rmdir)
    with open(image, "wb") as file:
        file.truncate(3 << 30)
    test.addClassCleanup(image.unlink)
    subprocess.run([*mkfs, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    test.addClassCleanup(subprocess.run, ["umount", str(mount)], check=True)
    kept = tempfile.TemporaryDirectory(dir=STATE.parent)
    test.addClassCleanup(kept.cleanup)
    copy = ["cp", "-a", "--sparse=always", "--reflink=auto"]
    # The prepared state, whose pool is there while a daemon runs on it; and the other, whose pool may be an image.
    source = Daemon()
    source.start()
    subprocess.run([*copy, STATE / "kernels", mount / "kernels"], check=True)
    subprocess.run([*copy, STATE / "pool/templates", kept.name], check=True)
    source.cleanup()
    daemon = Daemon(extra=f"[storage]\nreserve_mib = 64\n{storage}\n")
    daemon.config.write_text(daemon.config.read_text().replace(str(STATE), str(mount)))
    test.addClassCleanup(daemon.cleanup)
    daemon.start()
    subprocess.run([*copy, f"{kept.name}/templates/.", mount / "pool/templates"], check=True)
    return daemon, mount


class FullTest(unittest.TestCase):
    """What the tests share; each class has its own file system."""

    daemon: Daemon
    mount: pathlib.Path

    def setUp(self):
        self.filler = self.mount / "filler"

    def tearDown(self):
        self.filler.unlink(missing_ok=True)
        self.daemon.tb("rm", "--all")
        self.assertEqual(list((self.mount / "pool/sandboxes").glob("*")), [])

    def fill(self, leave):
        """Takes what is free, but for about `leave` bytes."""
        space = os.statvfs(self.mount).f_bavail * 4096 - leave
        with open(self.filler, "ab") as file:
            while space >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, space)
                except OSError:
                    space //= 2
                space = min(space, os.statvfs(self.mount).f_bavail * 4096 - leave)

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


class StorageTest(FullTest):
    """On a file system with reflinks, where the pool has no image."""

    @classmethod
    def setUpClass(cls):
        cls.daemon, cls.mount = small_state(cls, ["mkfs.xfs", "-q", "-m", "reflink=1"], "volume_gib = 1")

    def test_create_says_so_and_leaves_nothing(self):
        self.daemon.tb("run", "--rm", "--", "true")
        self.fill(32 << 20)
        self.refused("POST", "/v2/sandboxes", {"templateID": "base"}, [507])
        self.assertEqual(self.daemon.json("ls"), [])
        self.filler.unlink()
        self.daemon.tb("run", "--rm", "--", "true")

    def test_a_sandbox_without_space_stops_says_so_and_continues(self):
        if self.daemon.json("info")["vmm"]["name"] != "qemu":
            self.skipTest("only QEMU stops a guest; Firecracker gives it the error")
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
        status, _, answer = self.daemon.api("GET", "/", headers={"Host": f"8080-{sandbox}.localhost"})
        self.assertEqual(status, 507, answer)
        self.assertIn("no free disk space", answer["message"])
        # A new daemon starts although no block is free, and sees the sandbox in that state.
        self.daemon.kill()
        self.fill(0)
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
        def is_refused():
            self.fill(60 << 20)
            return "No space left" in self.sh(sandbox, "dd if=/dev/zero of=/mnt/v/e bs=1M count=8 2>&1; rm -f /mnt/v/e")

        # XFS frees in the background what was removed, so the fill may be too small at first.
        wait_for(is_refused, 20, "a volume leaves the reserve")
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


class BelowThePool(FullTest):
    """On ext4, where the pool is an image: something else fills the host's disk."""

    storage = ""

    @classmethod
    def setUpClass(cls):
        if cls is BelowThePool:
            raise unittest.SkipTest("its subclasses are the tests")
        if not os.environ.get("TINDERBOX_TEST_LONG"):
            raise unittest.SkipTest("half a minute each; TINDERBOX_TEST_LONG is not set")
        cls.daemon, cls.mount = small_state(cls, ["mkfs.ext4", "-q", "-m", "0"], cls.storage)

    def write_on_a_full_host(self):
        """The guest syncs a file with success, and the host writes it out: what it wrote, and what it reads then."""
        sandbox = self.daemon.create("--timeout", "1h")
        self.fill(0)
        summed = f"md5sum {BLOB}"
        wrote = self.sh(sandbox, f"dd if=/dev/urandom of={BLOB} bs=1M count=40 conv=fsync 2>/dev/null && {summed}")
        subprocess.run(["sync", "-f", self.mount / "pool"], capture_output=True)
        disk = os.open(self.mount / f"pool/sandboxes/{sandbox}/disk.img", os.O_RDONLY)
        os.posix_fadvise(disk, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(disk)
        return sandbox, wrote, lambda: self.sh(sandbox, f"echo 3 >/proc/sys/vm/drop_caches; {summed}")


class AllocatedImageTest(BelowThePool):
    def test_nothing_is_lost(self):
        sandbox, wrote, read = self.write_on_a_full_host()
        self.assertEqual(read(), wrote)
        self.refused("POST", f"/sandboxes/{sandbox}/pause", {}, [503])
        self.assertEqual(self.state(sandbox), "running")
        self.filler.unlink()
        self.daemon.tb("pause", sandbox)
        self.daemon.tb("resume", sandbox)
        self.assertEqual(read(), wrote)


class SparseImageTest(BelowThePool):
    storage = "sparse = true"

    def test_what_is_lost_ends_the_sandbox(self):
        sandbox, _, _ = self.write_on_a_full_host()
        wait_for(lambda: self.state(sandbox) == "dead", 30, "it is dead")
        self.assertIn("the host lost writes of the disk", self.daemon.inspect(sandbox)["cause"])
        self.filler.unlink()
        self.daemon.tb("run", "--rm", "--", "true")


if __name__ == "__main__":
    unittest.main(verbosity=2)
