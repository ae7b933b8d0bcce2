#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Lives and deaths: many at once, timeouts, and kill -9 of the daemon, the VMM and the warden."""
import concurrent.futures
import os
import pathlib
import re
import signal
import time
import unittest

from harness import DaemonTest, PREFIX, host_objects, process_gone, read, wait_for

MANY = int(os.environ.get("TINDERBOX_MANY", "20"))


class ManyTest(DaemonTest):
    def test_many_at_once_each_answers_and_nothing_is_left(self):
        with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
            sandboxes = list(pool.map(lambda i: self.daemon.create("--memory", "256"), range(MANY)))
            self.assertEqual(len(set(sandboxes)), MANY)
            answers = list(pool.map(lambda s: self.tb("exec", s, "--", "hostname").stdout.strip(), sandboxes))
        self.assertEqual(answers, sandboxes)
        self.assertEqual(len(self.daemon.json("ls")), MANY)
        pids = [self.daemon.inspect(s)["vmmPid"] for s in sandboxes]
        self.tb("rm", "--all")
        self.assertEqual(host_objects(), [])
        for pid in pids:
            self.assertTrue(process_gone(pid), pid)
        self.assertEqual(self.daemon.json("ls"), [])

    def test_sandboxes_are_apart(self):
        one, two = self.daemon.create(), self.daemon.create()
        memory = self.daemon.json("info")["capacity"]["memoryMib"]
        self.assertEqual(memory["reserved"], 2 * (512 + 64))
        self.assertGreater(memory["allocatable"], memory["reserved"])
        self.tb("exec", one, "--", "sh", "-c", "echo secret > /home/user/f")
        self.assertNotEqual(self.tb("exec", two, "--", "cat", "/home/user/f", check=False).returncode, 0)
        random = [self.tb("exec", s, "--", "cat", "/etc/machine-id").stdout for s in (one, two)]
        self.assertEqual(len(set(random)), 2)
        for text in random:
            self.assertRegex(text, r"^[0-9a-f]{32}\n$")


class SecrecyTest(DaemonTest):
    def test_other_users_of_the_host_see_no_ids(self):
        """Who knows an id reaches the sandbox's public ports."""
        sandbox = self.daemon.create("--cold")
        record = self.daemon.inspect(sandbox)
        for pid in (record["vmmPid"], record["wardenPid"]):
            for name in ("cmdline", "cgroup", "comm"):
                self.assertNotIn(sandbox, read(f"/proc/{pid}/{name}"), name)
        visible = [f"/proc/{pid}/{name}" for pid in os.listdir("/proc") if pid.isdigit() for name in ("cmdline", "cgroup")]
        self.assertEqual([path for path in [*visible, "/proc/net/unix", "/proc/mounts"] if sandbox in read(path)], [])
        self.assertTrue(list(pathlib.Path("/sys/fs/cgroup").glob(f"**/{record['cgroup']}")), "its cgroup is there")
        self.assertEqual(self.tb("exec", sandbox, "--", "hostname").stdout.strip(), sandbox)


class TimeTest(DaemonTest):
    def test_the_time_runs_out(self):
        sandbox = self.daemon.create("--timeout", "2s")
        pid = self.daemon.inspect(sandbox)["vmmPid"]
        wait_for(lambda: self.daemon.json("ls") == [], 6, "the sandbox has expired")
        self.assertTrue(process_gone(pid))

    def test_the_clock_is_right(self):
        sandbox = self.daemon.create()
        guest = float(self.tb("exec", sandbox, "--", "date", "+%s.%N").stdout)
        self.assertLess(abs(guest - time.time()), 2)


class DeathTest(DaemonTest):
    def test_sandboxes_outlive_the_daemon(self):
        sandbox = self.daemon.create()
        self.tb("exec", sandbox, "--", "sh", "-c", "echo kept > /home/user/f")
        pid = self.daemon.inspect(sandbox)["vmmPid"]
        self.daemon.kill()
        self.assertFalse(process_gone(pid), "the VM goes on")
        self.daemon.start()
        self.assertEqual([s["sandboxID"] for s in self.daemon.json("ls")], [sandbox])
        self.assertEqual(self.tb("exec", sandbox, "--", "cat", "/home/user/f").stdout, "kept\n")
        self.assertEqual(self.daemon.inspect(sandbox)["vmmPid"], pid)

    def test_the_death_of_a_vmm_is_noticed_at_once(self):
        sandbox = self.daemon.create()
        record = self.daemon.inspect(sandbox)
        # A restored VM's console begins empty.
        self.tb("exec", "-u", "root", sandbox, "--", "sh", "-c", "echo my last words > /dev/console")
        wait_for(lambda: "my last words" in self.tb("logs", sandbox).stdout, 5, "the console's log")
        os.kill(record["vmmPid"], signal.SIGKILL)
        wait_for(lambda: self.daemon.inspect(sandbox)["state"] == "dead", 1, "the sandbox is dead")
        dead = self.daemon.inspect(sandbox)
        self.assertEqual(dead["exitCode"], 137)
        self.assertIn("signal 9", dead["cause"])
        self.assertIn("my last words", self.tb("logs", sandbox).stdout)
        self.assertEqual(host_objects(), [])
        self.assertNotEqual(self.tb("exec", sandbox, "--", "true", check=False).returncode, 0)

    def test_the_death_of_a_warden_ends_everything_of_its_vm(self):
        sandbox = self.daemon.create()
        record = self.daemon.inspect(sandbox)
        os.kill(record["wardenPid"], signal.SIGKILL)
        wait_for(lambda: process_gone(record["vmmPid"]), 2, "the VMM is gone")
        wait_for(lambda: self.daemon.inspect(sandbox)["state"] == "dead", 2, "the sandbox is dead")
        self.assertIn("warden", self.daemon.inspect(sandbox)["cause"])
        self.assertEqual(host_objects(), [])

    def test_a_death_while_no_daemon_runs_is_found_at_start(self):
        living, dying = self.daemon.create(), self.daemon.create()
        pid = self.daemon.inspect(dying)["vmmPid"]
        self.daemon.kill()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: process_gone(pid), 5, "the VMM is gone")
        self.daemon.start()
        self.assertEqual(self.daemon.inspect(dying)["state"], "dead")
        self.assertEqual(self.daemon.inspect(dying)["exitCode"], 137)
        self.assertEqual(self.tb("exec", living, "--", "echo", "on").stdout, "on\n")

    def test_a_daemon_killed_in_mid_create_leaves_nothing(self):
        for delay in (0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0, 2.0):
            client = self.daemon.popen("create", stdout=-1, stderr=-1)
            time.sleep(delay)
            self.daemon.kill()
            client.communicate()
            self.daemon.start()
            # Either never made, or whole.
            for sandbox in self.daemon.json("ls"):
                self.assertEqual(self.tb("exec", sandbox["sandboxID"], "--", "echo", "on").stdout, "on\n")
                self.tb("rm", sandbox["sandboxID"])
            self.assertEqual(host_objects(), [], f"after {delay} s")

    def test_an_orderly_stop_leaves_sandboxes_running(self):
        sandbox = self.daemon.create()
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.tb("exec", sandbox, "--", "echo", "on").stdout, "on\n")


def status_of(pid):
    return dict(re.findall(r"^(\w+):[ \t]*(.*)$", read(f"/proc/{pid}/status"), re.M))


class JailTest(DaemonTest):
    def check_memory(self, pid, vmm):
        """Guest memory is neither merged with other guests' nor part of a core dump."""
        flags = {}  # of the largest mapping: guest memory
        largest = 0
        for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", read(f"/proc/{pid}/smaps"), flags=re.M)[1:]:
            size = int(re.search(r"^Size: +(\d+)", block, re.M)[1])
            if size > largest and " rw-p " in block.splitlines()[0]:
                largest, flags = size, set(re.search(r"^VmFlags: (.*)$", block, re.M)[1].split())
        self.assertNotIn("mg", flags, "mergeable")
        if vmm == "qemu":
            self.assertIn("dd", flags, "not dumped")

    def test_what_the_host_sees_of_the_vmm(self):
        sandbox = self.daemon.create()
        record = self.daemon.inspect(sandbox)
        pid = record["vmmPid"]
        status = status_of(pid)
        uids = set(status["Uid"].split())
        self.assertEqual(len(uids), 1)
        self.assertGreaterEqual(int(uids.pop()), 1900000000)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status.get("Groups", "").strip(), "")
        for namespace in ("mnt", "net", "pid", "ipc", "uts"):
            mine = os.readlink(f"/proc/self/ns/{namespace}")
            self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/{namespace}"), mine, namespace)
        self.assertEqual(read(f"/proc/{pid}/environ"), "")
        inside = set(os.listdir(f"/proc/{pid}/root/"))
        self.assertIn("rootfs.ext4", inside)
        # Its VMM needs these, and it was booted or restored from these.
        self.assertTrue(inside & {"vmlinux", "memory.img"}, inside)
        of_vmm = {"firecracker": {"vmm", "vmm.state", "snapshots"},
                  "qemu": {"etc", "usr", "lib", "lib64", "qemu-memory.so"}}[record["vmm"]["name"]]
        self.assertLessEqual(inside, {"vmlinux", "initrd.img", "memory.img", "rootfs.ext4", "dev", "run"} | of_vmm)
        self.assertNotEqual(os.stat(f"/proc/{pid}/root/").st_dev, os.stat("/").st_dev, "a file system of its own")
        self.assertLessEqual(set(os.listdir(f"/proc/{pid}/root/dev")), {"net", "kvm", "urandom", "null"})
        mounts = [line.split()[4:6] for line in read(f"/proc/{pid}/mountinfo").splitlines()]
        writable = {point for point, flags in mounts if "ro" not in flags.split(",")}
        self.assertLessEqual(writable, {"/", "/rootfs.ext4", "/memory.img", "/snapshots"})
        if record["vmm"]["name"] == "qemu":
            self.assertEqual(os.listdir(f"/proc/{pid}/root/usr/bin"), ["qemu-system-x86_64"])
            self.assertFalse({"/usr", "/lib", "/lib64", "/etc"} & {point for point, _ in mounts}, "none of them as a whole")
        else:
            self.assertLess(len(mounts), 16, "the mount table is pruned")
        self.check_memory(pid, record["vmm"]["name"])
        limits = read(f"/proc/{pid}/limits")
        disk = os.stat(f"/proc/{pid}/root/rootfs.ext4").st_size
        self.assertRegex(limits, rf"Max file size +{disk} +{disk} ")
        self.assertRegex(limits, r"Max core file size +1 +1 ", "none, even if a program takes core dumps")
        other = self.daemon.inspect(self.daemon.create())
        self.assertNotEqual(status_of(other["vmmPid"])["Uid"], status["Uid"], "a uid of its own")


if __name__ == "__main__":
    unittest.main(verbosity=2)
