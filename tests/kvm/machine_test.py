# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What only a host with KVM shows. Runs on the emulated machine (tests/kvm/run), with either VMM."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import BUILD, RUN, VMM, Daemon, read, wait_for  # noqa: E402
from snapshot_test import LifecycleTest  # noqa: E402


def cgroup_of(sandbox):
    """The directories of the sandbox's control group: one with v2, one for each controller with v1."""
    name = "vm-" + hashlib.sha256(sandbox.encode()).hexdigest()[:16]
    return sorted(pathlib.Path("/sys/fs/cgroup").glob(f"**/tinderbox-e2e/{name}"))


class ChoiceTest(unittest.TestCase):
    def test_auto_takes_firecracker_and_doctor_agrees(self):
        daemon = Daemon(vmm="auto")
        self.addCleanup(daemon.cleanup)
        daemon.start()
        info = daemon.json("info")
        self.assertEqual(info["kvm"]["verdict"], "whole")
        self.assertEqual([info["vmm"]["name"], info["vmm"]["accelerator"], info["vmm"]["isolation"]],
                         ["firecracker", "kvm", "hardware"])
        checks = json.loads(daemon.tb("--json", "doctor", check=False).stdout)
        failed = [check for check in checks["checks"] if check["status"] == "fail"]
        self.assertEqual(failed, [])


class SmokeTest(LifecycleTest):
    """A sandbox's whole life, each step once. Quick: ./test runs it."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(ready=1)
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()

    def tearDown(self):
        self.tb("rm", "--all")

    def test_1_cold_create(self):
        info = self.daemon.json("info")["vmm"]
        self.assertEqual([info["name"], info["accelerator"]], [VMM, "kvm"])
        sandbox = self.daemon.create("--cold")
        self.assertEqual(self.daemon.inspect(sandbox)["startedBy"], "boot")
        self.assertEqual(self.sh(sandbox, "uname -s"), "Linux\n")

    def test_2_create_by_restore_then_from_the_pool(self):
        first = self.daemon.create()
        self.assertIn(self.daemon.inspect(first)["startedBy"], ("restore", "pool"))
        wait_for(lambda: self.call("GET", "/tinderbox/v1/info", expect=200)["readyVms"] == 1, 60, "a VM is ready")
        second = self.daemon.create()
        self.assertEqual(self.daemon.inspect(second)["startedBy"], "pool")
        seen = {self.sh(each, "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | base64") for each in (first, second)}
        self.assertEqual(len(seen), 2)

    def test_3_pause_resume_fork(self):
        sandbox = self.daemon.create("--timeout", "1h")
        self.start_keeper(sandbox)
        boot = self.sh(sandbox, "cat /proc/sys/kernel/random/boot_id")
        for number in (1, 2, 3):
            self.round(sandbox, number)
            self.pause(sandbox)
            self.assertEqual(host_objects_of(sandbox), [], "a paused sandbox holds nothing but its files")
            self.resume(sandbox)
            self.assertEqual(self.sh(sandbox, "cat /proc/sys/kernel/random/boot_id"), boot)
        self.round(sandbox, 4)
        for child in self.fork(sandbox, 2):
            self.round(child, 5)
            self.tb("rm", child)

    def test_4_snapshot_verify_rollback(self):
        sandbox = self.daemon.create("--timeout", "1h")
        self.start_keeper(sandbox)
        self.round(sandbox, 1)
        snapshot = self.snapshot(sandbox)
        self.assertEqual(self.tb("snapshot", "verify", snapshot).returncode, 0)
        clone = self.daemon.create("--template", snapshot)
        self.round(clone, 2)
        self.tb("rm", clone)
        self.round(sandbox, 3)
        self.call("POST", f"/tinderbox/v1/sandboxes/{sandbox}/rollback", {"snapshot": snapshot})
        self.assertEqual(self.sh(sandbox, "ls /home/user/rounds").split(), ["1"])
        self.round(sandbox, 2)
        self.tb("rm", sandbox)
        self.remove_snapshot(snapshot)

    def test_5_clock_entropy_and_network_after_a_pause(self):
        sandbox = self.daemon.create("--timeout", "1h")
        before = float(self.sh(sandbox, "cut -d' ' -f1 /proc/uptime"))
        self.pause(sandbox)
        time.sleep(8)
        self.resume(sandbox)
        offset = float(self.sh(sandbox, "date +%s.%N")) - time.time()
        self.assertLess(abs(offset), 5, "the wall clock is right")
        self.assertGreater(float(self.sh(sandbox, "cut -d' ' -f1 /proc/uptime")), before, "the uptime never goes back")
        self.assertIn("virtio_rng", self.sh(sandbox, "cat /sys/devices/virtual/misc/hw_random/rng_current"))
        kernel = self.tb("exec", "-u", "root", sandbox, "--", "dmesg").stdout
        # Not "Call Trace": the emulation does not intercept XSETBV, and Linux warns about that at boot.
        for trouble in ("soft lockup", "self-detected stall", "timekeeping watchdog", "BUG:"):
            self.assertNotIn(trouble, kernel)
        # Checksum and segmentation offload of the TAP are part of a snapshot: whole frames must still pass.
        data = os.urandom(3_000_001)
        with tempfile.NamedTemporaryFile() as source, tempfile.NamedTemporaryFile() as back:
            source.write(data)
            source.flush()
            self.tb("cp", source.name, f"{sandbox}:/home/user/data")
            self.tb("cp", f"{sandbox}:/home/user/data", back.name)
            self.assertEqual(pathlib.Path(back.name).read_bytes(), data)

    def test_6_limits_are_those_of_the_sandbox(self):
        sandbox = self.daemon.create()
        record = self.daemon.inspect(sandbox)
        guest = 512 << 20
        groups = cgroup_of(sandbox)
        self.assertTrue(groups, "a control group")
        for group in groups:
            processes = read(group / "cgroup.procs").split()
            self.assertIn(str(record["vmmPid"]), processes, group)
        values = {path.name: read(path).strip() for group in groups for path in group.iterdir()
                  if path.name in ("memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_quota_us", "pids.max")}
        memory = int(values.get("memory.max") or values["memory.limit_in_bytes"])
        self.assertTrue(guest < memory <= guest + (512 << 20), values)
        self.assertTrue(values.get("cpu.max", "").startswith("200000") or int(values["cpu.cfs_quota_us"]) > 0, values)
        self.assertLessEqual(int(values["pids.max"]), 128, values)

    def test_7_time_pauses_and_traffic_resumes(self):
        sandbox = self.call("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3, "autoPause": True,
                                                      "autoResume": {"enabled": True}}, expect=201)["sandboxID"]
        wait_for(lambda: self.state(sandbox) == "paused", 15, "paused at the end of its time")
        self.assertEqual(self.sh(sandbox, "echo awake"), "awake\n")

    def test_8_a_daemon_killed_in_mid_pause(self):
        sandbox = self.daemon.create("--timeout", "1h")
        self.sh(sandbox, "echo kept >/home/user/f")
        self.daemon.stop()
        self.daemon.start(die_at="pause.captured")
        with self.assertRaises(OSError):
            self.daemon.api("POST", f"/sandboxes/{sandbox}/pause", {})
        self.daemon.process.wait(30)
        self.daemon.process = None
        self.daemon.start()
        self.assertEqual(self.state(sandbox), "running")
        self.assertEqual(self.sh(sandbox, "cat /home/user/f"), "kept\n")


def host_objects_of(sandbox):
    return [str(path) for path in [*RUN.glob(f"vm/{sandbox}"), *cgroup_of(sandbox)]]


class ForkTest(LifecycleTest):
    def test_ten_children(self):
        sandbox = self.daemon.create("--memory", "128", "--timeout", "1h")
        self.sh(sandbox, "echo kept >/tmp/f")
        children = self.fork(sandbox, 10)
        self.assertEqual(len(set(children)), 10)
        for child in children:
            self.assertEqual(self.sh(child, "cat /tmp/f; hostname"), f"kept\n{child}\n")


class UpgradeTest(LifecycleTest):
    """Programs are replaced under running and paused sandboxes, as a package upgrade does."""

    def setUp(self):
        self.old = pathlib.Path(tempfile.mkdtemp(prefix="tinderbox-old-", dir="/run"))
        self.addCleanup(shutil.rmtree, self.old)

    def restart_with(self, **settings):
        """`settings`: keys of the configuration's top level, instead of those that are there."""
        self.daemon.stop()
        self.daemon.write_config()
        text = self.daemon.config.read_text()
        for key, value in settings.items():
            lines = [f'{key} = "{value}"' if line.startswith(f"{key} = ") else line for line in text.splitlines()]
            text = "\n".join(lines) + "\n"
        self.daemon.config.write_text(text)
        self.daemon.start()

    def one_paused_and_one_running(self):
        paused, running = self.daemon.create("--timeout", "1h"), self.daemon.create("--timeout", "1h")
        for sandbox in (paused, running):
            self.sh(sandbox, "echo kept >/dev/shm/f")
        self.pause(paused)
        return paused, running

    def both_live_on(self, paused, running):
        self.assertEqual(self.sh(running, "cat /dev/shm/f"), "kept\n")
        self.resume(paused)
        self.assertEqual(self.sh(paused, "cat /dev/shm/f"), "kept\n")
        self.pause(running)
        self.resume(running)
        self.assertEqual(self.sh(running, "cat /dev/shm/f"), "kept\n")

    def test_of_the_daemon(self):
        """The old daemon's programs are gone when the new one starts; the new ones differ in content."""
        for name in ("warden", "agent"):
            shutil.copy(BUILD / f"src/{name}/tinderbox-{name}", self.old / name)
        # The memory opener of QEMU is found beside the warden.
        for name in ("tinderbox-qemu-memory.so", "tinderbox-qemu-memory.preload"):
            if (BUILD / "src/warden" / name).exists():
                shutil.copy(BUILD / "src/warden" / name, self.old / name)
        self.restart_with(warden=self.old / "warden", agent=self.old / "agent")
        paused, running = self.one_paused_and_one_running()
        self.daemon.stop()
        for path in self.old.iterdir():
            path.unlink()
        self.restart_with()
        self.both_live_on(paused, running)

    @unittest.skipUnless(VMM == "firecracker", "about Firecracker's snapshot format")
    def test_of_firecracker(self):
        """The program says that it is a newer version, and reads the same snapshot format."""
        newer = self.old / "firecracker"
        program = pathlib.Path(os.environ["TINDERBOX_FIRECRACKER"]).read_bytes()
        self.assertEqual(program.count(b"1.12.1"), 1)
        newer.write_bytes(program.replace(b"1.12.1", b"1.12.9"))
        newer.chmod(0o755)
        paused, running = self.one_paused_and_one_running()
        self.restart_with(firecracker=newer)
        self.assertEqual(self.daemon.json("info")["vmm"]["version"], "1.12.9")
        self.both_live_on(paused, running)
        self.tb("rm", "--all")
        self.restart_with()


class ProgramsTest(unittest.TestCase):
    """The C++ tests that touch control groups, KVM or a VMM, on this machine's kernel."""

    def run_tests(self, program, gtest_filter="*"):
        environment = {**os.environ, "GTEST_FILTER": gtest_filter, "GTEST_BRIEF": "1"}
        done = subprocess.run([str(BUILD / "src" / program)], env=environment, capture_output=True, text=True)
        self.assertIn(done.returncode, (0, 77), done.stdout[-3000:] + done.stderr[-1000:])
        self.assertNotIn("0 tests from 0", done.stdout)

    def test_control_groups(self):
        self.run_tests("sys/sys_root_tests", "*Cgroup*")

    def test_the_launcher(self):
        self.run_tests("vmm/vmm_root_tests")

    def test_the_drivers(self):
        self.run_tests("vmm/vmm_vm_tests", "*Firecracker*" if VMM == "firecracker" else "*Qemu*")


del LifecycleTest  # it has no tests of its own
if __name__ == "__main__":
    unittest.main(verbosity=2)
