#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Pause, resume, snapshot, fork, rollback: what a sandbox held is there again, byte by byte."""
import pathlib
import subprocess
import time
import unittest
import urllib.parse

from harness import STATE, Daemon, DaemonTest, host_objects, wait_for

# Holds 24 MiB in a process and writes, zeroes and frees pages of it in patterns that follow from the
# round's number alone; every round first checks all pages. Commands come and answers go by FIFOs. It
# also writes a file a round, and checks all of those.
KEEPER = r"""
import mmap, os, random, zlib
PAGE, PAGES = 4096, 6144
memory = mmap.mmap(-1, PAGE * PAGES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
state = [0] * PAGES          # 0: zeros; else the seed of its content
def content(seed): return seed.to_bytes(8, "little") * (PAGE // 8)
def check():
    for page, seed in enumerate(state):
        found = memory[page * PAGE:(page + 1) * PAGE]
        if found != (content(seed) if seed else bytes(PAGE)):
            return f"BAD page {page}"
    for name in os.listdir("/home/user/rounds"):
        data = open(f"/home/user/rounds/{name}", "rb").read()
        if data != name.encode() * 20000: return f"BAD file {name}"
    return "good"
def change(number):
    chance = random.Random(number)
    for _ in range(1200):
        page = chance.randrange(PAGES)
        what = chance.randrange(4)
        if what < 2:
            state[page] = number * 100000 + page + 1
            memory[page * PAGE:(page + 1) * PAGE] = content(state[page])
        elif what == 2:
            state[page] = 0
            memory[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
        else:
            state[page] = 0
            memory.madvise(mmap.MADV_DONTNEED, page * PAGE, PAGE)
    open(f"/home/user/rounds/{number}", "wb").write(str(number).encode() * 20000)
os.makedirs("/home/user/rounds", exist_ok=True)
for name in ("ask", "tell"): os.mkfifo(f"/home/user/{name}")
open("/home/user/ready", "w").close()
while True:
    number = int(open("/home/user/ask").read())
    answer = check()
    change(number)
    open("/home/user/tell", "w").write(answer)
"""


class LifecycleTest(DaemonTest):
    def call(self, method, path, body=None, expect=None):
        status, headers, answer = self.daemon.api(method, path, body)
        if expect is not None:
            self.assertEqual(status, expect, answer)
        return answer

    def pause(self, sandbox, **body):
        self.call("POST", f"/sandboxes/{sandbox}/pause", body, expect=204)

    def resume(self, sandbox, **body):
        return self.call("POST", f"/v2/sandboxes/{sandbox}/connect", body, expect=201)

    def fork(self, sandbox, count=1):
        children = self.call("POST", f"/sandboxes/{sandbox}/fork", {"count": count, "timeout": 3600}, expect=201)
        for child in children:
            self.assertIn("sandbox", child, child)
        return [child["sandbox"]["sandboxID"] for child in children]

    def snapshot(self, sandbox, **body):
        return self.call("POST", f"/sandboxes/{sandbox}/snapshots", body, expect=201)["snapshotID"]

    def remove_snapshot(self, snapshot):
        self.call("DELETE", "/templates/" + urllib.parse.quote(snapshot, safe=""), expect=204)

    def sh(self, sandbox, script):
        return self.tb("exec", sandbox, "--", "sh", "-c", script).stdout

    def state(self, sandbox):
        return self.daemon.inspect(sandbox)["state"]

    def start_keeper(self, sandbox):
        source = pathlib.Path(self.daemon.config).parent / "keeper.py"
        source.write_text(KEEPER)
        self.tb("cp", str(source), f"{sandbox}:/home/user/keeper.py")
        self.sh(sandbox, "setsid python3 /home/user/keeper.py >/home/user/log 2>&1 </dev/null & "
                         "while [ ! -e /home/user/ready ]; do sleep 0.05; done")

    def round(self, sandbox, number):
        self.assertEqual(self.sh(sandbox, f"cd /home/user; echo {number} > ask; cat tell"), "good")


class MemoryTest(LifecycleTest):
    def test_every_byte_is_right_over_twenty_rounds_of_pause_and_resume(self):
        sandbox = self.daemon.create("--memory", "256")
        self.start_keeper(sandbox)
        for number in range(1, 21):
            self.round(sandbox, number)
            self.pause(sandbox)
            self.assertEqual(self.state(sandbox), "paused")
            self.assertEqual(host_objects(disks=False), [], "a paused sandbox holds nothing but its files")
            self.resume(sandbox)
        self.round(sandbox, 21)
        self.assertEqual(self.fsck(sandbox), 0)

    def fsck(self, sandbox):
        """Of a file system that was written out and frozen: it must be clean as it is."""
        self.pause(sandbox, memory=False)
        return subprocess.run(
            ["e2fsck", "-fn", str(STATE / f"pool/sandboxes/{sandbox}/paused/disk.img")], capture_output=True,
        ).returncode

    def test_three_generations_of_forks(self):
        first = self.daemon.create("--memory", "256")
        self.start_keeper(first)
        self.round(first, 1)
        second, sibling = self.fork(first, 2)
        self.round(second, 2)
        (third,) = self.fork(second)
        self.round(third, 3)
        (fourth,) = self.fork(third)
        # Each has gone a way of its own since.
        for number, sandbox in enumerate((first, sibling, second, third, fourth, first), 10):
            self.round(sandbox, number)
        self.pause(third)
        self.round(fourth, 20)
        self.resume(third)
        self.round(third, 21)
        self.assertEqual(self.fsck(fourth), 0)

    def test_a_snapshot_is_what_was_when_it_was_taken(self):
        sandbox = self.daemon.create("--memory", "256")
        self.start_keeper(sandbox)
        self.round(sandbox, 1)
        snapshot = self.snapshot(sandbox, name="kept")
        self.round(sandbox, 2)
        self.tb("rm", sandbox)
        clones = [self.daemon.create("--template", "kept"), self.daemon.create("--template", snapshot)]
        for clone in clones:
            self.assertEqual(self.daemon.inspect(clone)["startedBy"], "restore")
            self.round(clone, 5)
        self.assertEqual(self.sh(clones[0], "ls /home/user/rounds").split(), ["1", "5"])
        for clone in clones:
            self.tb("rm", clone)
        self.remove_snapshot(snapshot)

    def test_a_start_command_runs_in_all_that_come_from_the_snapshot(self):
        sandbox = self.daemon.create("--memory", "256")
        failed = self.tb("snapshot", "create", "--start", "exit 3", "--ready", "false", sandbox, check=False)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("status 3", failed.stderr)
        late = self.tb("snapshot", "create", "--ready", "false", "--ready-timeout", "1s", sandbox, check=False)
        self.assertIn("in time", late.stderr)
        self.assertEqual(self.call("GET", f"/snapshots?sandboxID={sandbox}", expect=200), [])
        snapshot = self.tb("snapshot", "create", "--name", "served", "--start", "python3 -m http.server 8000",
                           "--ready", "curl -sf localhost:8000 >/dev/null", sandbox).stdout.strip()
        for clone in (self.daemon.create("-T", "served"), self.daemon.create("-T", "served")):
            self.assertIn("Directory listing", self.sh(clone, "curl -sf localhost:8000"))
        self.tb("rm", "--all")
        self.tb("snapshot", "rm", snapshot)

    def test_rollback_goes_back_in_place(self):
        sandbox = self.daemon.create("--memory", "256")
        self.start_keeper(sandbox)
        self.round(sandbox, 1)
        token = self.call("POST", f"/v2/sandboxes/{sandbox}/connect", {}, expect=200)["envdAccessToken"]
        snapshot = self.snapshot(sandbox)
        self.round(sandbox, 2)
        self.round(sandbox, 3)
        self.call("POST", f"/tinderbox/v1/sandboxes/{sandbox}/rollback", {"snapshot": snapshot}, expect=200)
        self.assertEqual(self.sh(sandbox, "ls /home/user/rounds").split(), ["1"])
        self.round(sandbox, 7)
        again = self.call("POST", f"/v2/sandboxes/{sandbox}/connect", {}, expect=200)["envdAccessToken"]
        self.assertEqual(again, token)
        self.assertEqual(self.sh(sandbox, "hostname").strip(), sandbox)
        other = self.daemon.create("--memory", "256")
        status, _, answer = self.daemon.api(
            "POST", f"/tinderbox/v1/sandboxes/{other}/rollback", {"snapshot": snapshot})
        self.assertEqual(status, 400, answer)
        self.tb("rm", "--all")
        self.remove_snapshot(snapshot)


class IdentityTest(LifecycleTest):
    def facts(self, sandbox):
        script = ("head -c 32 /dev/urandom | base64 -w0; echo; python3 -c 'import secrets; print(secrets.token_hex(16))';"
                  "cat /etc/machine-id /etc/hostname; hostname; cat /proc/sys/kernel/random/uuid; cat /home/user/same")
        return self.sh(sandbox, script).split()

    def clock_error(self, sandbox):
        """Seconds, at most: the guest's reading lies between two of ours, and the best of three counts."""
        errors = []
        for _ in range(3):
            before = time.time()
            guest = float(self.tb("exec", sandbox, "--", "date", "+%s.%N").stdout)
            after = time.time()
            errors.append(max(before - guest, guest - after, 0))
        return min(errors)

    def test_clones_of_one_snapshot_are_not_the_same(self):
        sandbox = self.daemon.create("--memory", "256")
        self.sh(sandbox, "echo content > /home/user/same")
        snapshot = self.snapshot(sandbox)
        time.sleep(2)  # a clock that was not set would be behind by this
        clones = [self.daemon.create("--template", snapshot) for _ in range(2)] + self.fork(sandbox, 2)
        facts = [self.facts(clone) for clone in clones]
        for number in range(6):
            self.assertEqual(len({each[number] for each in facts}), 4, facts)
        for clone, each in zip(clones, facts):
            self.assertEqual(each[3:5], [clone, clone])
            self.assertEqual(each[6], "content")
            self.assertLess(self.clock_error(clone), 0.05)
        self.sh(clones[0], "echo other > /home/user/same; dd if=/dev/zero of=/home/user/big bs=1M count=20 2>&1")
        self.assertEqual(self.sh(clones[1], "cat /home/user/same"), "content\n")
        self.assertEqual(self.sh(sandbox, "cat /home/user/same; ls /home/user/big 2>&1 || true").split()[0], "content")
        self.assertEqual(self.sh(self.daemon.create("--template", snapshot), "cat /home/user/same"), "content\n")
        self.tb("rm", "--all")
        self.remove_snapshot(snapshot)

    def test_every_create_is_a_restore_and_cold_is_a_boot(self):
        ids = [self.daemon.create("--memory", "256") for _ in range(2)]
        self.assertEqual(self.daemon.inspect(ids[1])["startedBy"], "restore")
        # The machine's own clock began when the one boot was: seconds before it was restored.
        up = [float(self.sh(each, "cat /proc/uptime").split()[0]) for each in ids]
        self.assertLess(up[1], up[0] + 30)
        cold = self.call("POST", "/v2/sandboxes", {"templateID": "base", "memoryMB": 256, "cold": True}, expect=201)["sandboxID"]
        self.assertEqual(self.daemon.inspect(cold)["startedBy"], "boot")
        self.pause(cold)
        self.resume(cold)
        self.assertEqual(self.sh(cold, "echo on"), "on\n")


class PauseTest(LifecycleTest):
    def test_the_file_system_alone(self):
        sandbox = self.daemon.create("--memory", "256")
        before = self.sh(sandbox, "echo kept > /home/user/f; cat /proc/sys/kernel/random/boot_id")
        self.pause(sandbox, memory=False)
        self.assertFalse((STATE / f"pool/sandboxes/{sandbox}/paused/memory.img").exists())
        self.resume(sandbox)
        self.assertEqual(self.sh(sandbox, "cat /home/user/f"), "kept\n")
        self.assertNotEqual(self.sh(sandbox, "cat /proc/sys/kernel/random/boot_id"), before)

    def test_memory_can_be_dropped_at_resume(self):
        sandbox = self.daemon.create("--memory", "256")
        before = self.sh(sandbox, "echo kept > /home/user/f; sync; cat /proc/sys/kernel/random/boot_id")
        self.pause(sandbox)
        self.resume(sandbox, memory=False)
        self.assertEqual(self.sh(sandbox, "cat /home/user/f"), "kept\n")
        self.assertNotEqual(self.sh(sandbox, "cat /proc/sys/kernel/random/boot_id"), before)

    def test_wrong_states_are_told(self):
        sandbox = self.daemon.create("--memory", "256")
        self.call("POST", f"/sandboxes/{sandbox}/resume", {}, expect=409)
        self.pause(sandbox)
        self.call("POST", f"/sandboxes/{sandbox}/pause", {}, expect=409)
        self.call("POST", f"/sandboxes/{sandbox}/fork", {}, expect=409)
        self.assertNotEqual(self.tb("exec", sandbox, "--", "true", check=False).returncode, 0)
        self.assertEqual(self.state(sandbox), "paused")
        self.call("DELETE", f"/sandboxes/{sandbox}", expect=204)
        self.call("POST", f"/v2/sandboxes/{sandbox}/connect", {}, expect=404)

    def test_time_pauses_and_traffic_resumes(self):
        body = {"templateID": "base", "timeout": 1, "memoryMB": 256, "autoPause": True, "autoResume": {"enabled": True}}
        sandbox = self.call("POST", "/v2/sandboxes", body, expect=201)["sandboxID"]
        wait_for(lambda: self.state(sandbox) == "paused", 5, "paused at the end of its time")
        self.assertEqual(self.sh(sandbox, "echo awake"), "awake\n")
        self.assertEqual(self.state(sandbox), "running")
        # Without auto-resume it stays as it is.
        body["autoResume"] = {"enabled": False}
        other = self.call("POST", "/v2/sandboxes", body, expect=201)["sandboxID"]
        wait_for(lambda: self.state(other) == "paused", 5, "paused at the end of its time")
        self.assertNotEqual(self.tb("exec", other, "--", "true", check=False).returncode, 0)
        self.assertEqual(self.state(other), "paused")

    def test_a_full_disk_leaves_it_running(self):
        sandbox = self.daemon.create("--memory", "256")
        self.start_keeper(sandbox)
        self.round(sandbox, 1)
        # As if the host's disk had been filled: more is to stay free than there is.
        self.daemon.stop()
        self.daemon.extra = "[storage]\nreserve_mib = 900000000\n"
        self.daemon.write_config()
        self.daemon.start()
        try:
            status, _, answer = self.daemon.api("POST", f"/sandboxes/{sandbox}/pause", {})
            self.assertIn(status, (429, 503, 507), answer)
            self.assertIn("runs on", answer["message"])
            self.assertIn("Free disk space", answer["remedy"])
            self.assertEqual(self.state(sandbox), "running")
            self.assertEqual(list((STATE / "pool/captures").iterdir()), [])
            self.assertFalse((STATE / f"pool/sandboxes/{sandbox}/paused").exists())
            self.round(sandbox, 2)
        finally:
            self.daemon.stop()
            self.daemon.extra = ""
            self.daemon.write_config()
            self.daemon.start()
        self.pause(sandbox)
        self.resume(sandbox)
        self.round(sandbox, 3)

    def test_a_damaged_pause_is_refused_and_stays(self):
        sandbox = self.daemon.create("--memory", "256")
        self.sh(sandbox, "echo kept > /home/user/f; sync")
        self.pause(sandbox)
        folder = STATE / f"pool/sandboxes/{sandbox}/paused"
        state = folder / "vmm.state"
        whole = state.read_bytes()
        flipped = bytearray(whole)
        flipped[len(flipped) // 2] ^= 1
        state.chmod(0o600)
        state.write_bytes(flipped)
        status, _, answer = self.daemon.api("POST", f"/v2/sandboxes/{sandbox}/connect", {})
        self.assertEqual(status, 500, answer)
        self.assertIn(str(state), answer["message"])
        self.assertEqual(self.state(sandbox), "paused")
        self.assertEqual(host_objects(disks=False), [])
        state.write_bytes(whole)
        self.resume(sandbox)
        self.assertEqual(self.sh(sandbox, "cat /home/user/f"), "kept\n")


class PoolTest(LifecycleTest):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(ready=2)
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()

    def tearDown(self):
        self.daemon.tb("rm", "--all")

    def test_ready_vms_are_handed_out_and_made_again(self):
        self.daemon.create()  # makes the template hot
        for _ in range(2):
            wait_for(lambda: self.ready() == 2, 30, "two VMs are ready")
            self.assertEqual(self.daemon.json("info")["readyVmsTarget"], 2)
            one, two = self.daemon.create(), self.daemon.create("--no-internet")
            for sandbox in (one, two):
                self.assertEqual(self.daemon.inspect(sandbox)["startedBy"], "pool")
                self.assertEqual(self.sh(sandbox, "hostname").strip(), sandbox)
            random = {self.sh(each, "head -c 16 /dev/urandom | base64; cat /etc/machine-id") for each in (one, two)}
            self.assertEqual(len(random), 2)
            self.pause(one)
            self.resume(one)
            self.assertEqual(self.sh(one, "echo on"), "on\n")
            self.tb("rm", "--all")

    def test_a_daemon_that_is_killed_leaves_none(self):
        self.daemon.create()
        wait_for(lambda: self.ready() == 2, 30, "two VMs are ready")
        self.daemon.kill()
        self.daemon.ready = 0
        self.daemon.write_config()
        self.daemon.start()
        self.daemon.tb("rm", "--all")
        self.assertEqual(host_objects(), [])
        self.daemon.stop()
        self.daemon.ready = 2
        self.daemon.write_config()
        self.daemon.start()

    def ready(self):
        return self.call("GET", "/tinderbox/v1/info", expect=200)["readyVms"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
