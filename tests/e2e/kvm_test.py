#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""An unmodified Linux under Firecracker and under QEMU with KVM. Needs a host whose /dev/kvm can run
one; the daemon's own probe decides, and where it says no, its words are the reason for the skip (77)."""
import os
import sys
import unittest

from harness import Daemon


class KvmCase:
    vmm, extra = "", ""

    def test_a_command_in_a_linux_guest(self):
        daemon = Daemon(vmm=self.vmm, extra_top=self.extra)
        self.addCleanup(daemon.cleanup)
        daemon.start()
        info = daemon.json("info")
        self.assertEqual(info["vmm"]["name"], self.vmm)
        self.assertEqual(info["vmm"]["accelerator"], "kvm")
        result = daemon.tb("run", "--rm", "--", "sh", "-c", "uname -s; exit 7", check=False)
        self.assertEqual((result.returncode, result.stdout), (7, "Linux\n"), result.stderr)


class Firecracker(KvmCase, unittest.TestCase):
    vmm = "firecracker"
    extra = f'firecracker = "{os.environ.get("TINDERBOX_FIRECRACKER", "")}"\n'


class Qemu(KvmCase, unittest.TestCase):
    vmm = "qemu"


def verdict():
    daemon = Daemon()
    try:
        daemon.start()
        return daemon.json("info")["kvm"]
    finally:
        daemon.cleanup()


if __name__ == "__main__":
    kvm = verdict()
    if kvm["verdict"] != "whole":
        print(f"skipped: {kvm['detail'] or kvm['verdict']}")
        sys.exit(77)
    unittest.main(verbosity=2)
