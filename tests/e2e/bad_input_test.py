#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Bad input: each a clear error with its remedy, an exit code that is not 0, and nothing left."""
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import STATE, Daemon, DaemonTest, host_objects, program


class RequestTest(DaemonTest):
    def refused(self, words, *arguments):
        result = self.tb(*arguments, check=False)
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertIn(words, result.stderr)
        self.assertEqual(self.daemon.json("ls"), [])
        self.assertEqual(host_objects(), [])
        return result

    def test_unknown_template(self):
        result = self.refused("template 'nonesuch' not found", "run", "-T", "nonesuch", "--", "true")
        self.assertEqual(result.returncode, 125)

    def test_memory(self):
        self.refused("--memory: '0' is not", "create", "--memory", "0")
        self.refused("more than this host", "create", "--memory", "9000000")

    def test_cpus(self):
        self.refused("--cpus: '0' is not", "create", "--cpus", "0")

    def test_unknown_sandbox(self):
        self.refused("inothere", "exec", "inothere", "--", "true")
        self.refused("inothere", "rm", "inothere")

    def test_bad_arguments(self):
        self.refused("'soon' is not a duration", "create", "--timeout", "soon")
        self.refused("bogus", "run", "--bogus", "--", "true")

    def test_the_api_itself_says_no(self):
        for field, value in (("memoryMB", 0), ("memoryMB", 9_000_000), ("cpuCount", 0), ("timeout", 0), ("timeout", -1),
                             ("templateID", 7), ("volumeMounts", [{"name": "v", "path": "/v"}])):
            status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", field: value})
            self.assertEqual((status, body["code"]), (400, 400), (field, value, body))
            self.assertTrue(body["message"], field)
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "nonesuch"})
        self.assertEqual((status, body["code"]), (404, 404))
        self.assertEqual(self.daemon.json("ls"), [])

    def test_wrong_key(self):
        status, _, body = self.daemon.api("GET", "/v2/sandboxes", key="e2b_" + "0" * 40)
        self.assertEqual(status, 401)
        self.assertEqual(body["code"], 401)

    def test_corrupt_disk(self):
        # The template's, and that of its first boot, which is made again where it is damaged.
        disks = [d for d in STATE.glob("pool/*/*/disk.img") if d.parent.parent.name != "sandboxes"]
        self.assertTrue(disks)
        good = {}
        for disk in disks:
            with open(disk, "r+b") as file:
                file.seek(1024)
                good[disk] = file.read(1024)
                file.seek(1024)
                file.write(os.urandom(1024))
        try:
            result = self.refused("template", "create")
            self.assertIn("prepare", result.stderr)
        finally:
            for disk, superblock in good.items():
                if not disk.exists():
                    continue
                with open(disk, "r+b") as file:
                    file.seek(1024)
                    file.write(superblock)
        self.tb("run", "--rm", "--", "true")

    def test_missing_kernel_and_a_kernel_that_is_none(self):
        kernel = next(STATE.glob("kernels/6*/vmlinux"))
        kept = kernel.with_suffix(".kept")
        kernel.rename(kept)
        try:
            result = self.refused("kernel", "create")
            self.assertIn("prepare", result.stderr)
            kernel.write_bytes(b"#!/bin/sh\necho I am no kernel\n" * 1000)
            self.refused("kernel", "create")
        finally:
            kept.rename(kernel)
        self.tb("run", "--rm", "--", "true")


class DaemonStartTest(unittest.TestCase):
    """Starts that must fail, and say why."""

    def start(self, daemon, tinderboxd=program("tinderboxd"), **options):
        return subprocess.run(
            [str(tinderboxd), "run", "--config", str(daemon.config)],
            capture_output=True, text=True, timeout=60, **options,
        )

    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.cleanup)

    def test_port_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.daemon.port))
            taken.listen()
            result = self.start(self.daemon)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(str(self.daemon.port), result.stderr)
        self.assertIn("listen", result.stderr)

    def test_no_root(self):
        # A copy, because the build tree may lie in a home directory that only its owner may enter.
        with tempfile.TemporaryDirectory(prefix="tinderbox-start-") as directory:
            os.chmod(directory, 0o755)
            copy = shutil.copy(program("tinderboxd"), directory)
            result = self.start(self.daemon, copy, user=65534, group=65534)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("root", result.stderr)

    def test_unknown_key_in_the_configuration(self):
        good = self.daemon.config.read_text()
        self.daemon.config.write_text(good + "\nmemroy = 3\n")
        result = self.start(self.daemon)
        self.daemon.config.write_text(good)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("memroy", result.stderr)

    def test_a_second_daemon(self):
        self.daemon.start()
        result = self.start(self.daemon)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("already", result.stderr)

    def test_client_without_a_daemon(self):
        result = self.daemon.tb("ls", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("start", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
