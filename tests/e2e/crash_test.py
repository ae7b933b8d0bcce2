#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The daemon killed (-9) at each stage of create, pause, resume, snapshot, fork, rollback and a change of network
rules, and clients that leave in the middle: what it finds at its next start is as before or as after, never lost, never twice."""
import http.client
import re
import socket
import subprocess
import time
import unittest

from harness import PREFIX, ROOT, STATE, host_objects, wait_for
from snapshot_test import LifecycleTest


def stages(*operations):
    """Those of src/sandbox/stage.h that begin with these words: all that there are, so that none is forgotten."""
    text = (ROOT / "src/sandbox/stage.h").read_text()
    known = re.findall(r'"([a-z]+\.[a-z]+)"', text)
    return [each for each in known if each.split(".")[0] in operations]


class CrashTest(LifecycleTest):
    def dying(self, stage, method, path, body=None):
        """Sends a request to a daemon that kills itself at `stage`, then starts the next one."""
        self.daemon.stop()
        self.daemon.start(die_at=stage)
        with self.assertRaises((OSError, http.client.HTTPException), msg=f"the daemon did not die at {stage}"):
            self.daemon.api(method, path, body)
        self.daemon.process.wait(10)
        self.daemon.process = None
        self.daemon.start()

    def only(self, sandbox):
        """The sandbox's state; it is the only one."""
        found = self.daemon.json("ls")
        self.assertEqual([each["sandboxID"] for each in found], [sandbox])
        return found[0]["state"]

    def told(self, sandbox):
        """Pauses and resumes among its events, in their order."""
        events = self.call("GET", f"/events/sandboxes/{sandbox}?orderAsc=true&limit=100", expect=200)
        kinds = [event["type"].removeprefix("sandbox.lifecycle.") for event in events]
        return [kind for kind in kinds if kind in ("paused", "resumed")]

    def kept(self):
        sandbox = self.daemon.create("--memory", "256", "--timeout", "1h")
        self.start_keeper(sandbox)
        self.number = 1
        self.round(sandbox, self.number)
        return sandbox

    def goes_on(self, sandbox):
        self.number += 1
        self.round(sandbox, self.number)

    def test_create(self):
        self.tb("rm", self.daemon.create("--memory", "256"))  # the boot snapshot is there from here on
        for stage in stages("create"):
            if stage == "create.pooled":
                continue  # below
            with self.subTest(stage):
                self.dying(stage, "POST", "/v2/sandboxes", {"templateID": "base", "memoryMB": 256})
                self.assertEqual(self.daemon.json("ls"), [])
                self.assertEqual(host_objects(), [])

    def test_pause(self):
        sandbox = self.kept()
        expected = []  # what came to pass is told, once
        for stage in stages("pause"):
            with self.subTest(stage):
                self.dying(stage, "POST", f"/sandboxes/{sandbox}/pause", {})
                committed = stage in ("pause.paused", "pause.ended")
                self.assertEqual(self.only(sandbox), "paused" if committed else "running")
                if committed:
                    self.assertEqual(host_objects(disks=False), [])
                    self.resume(sandbox)
                expected += ["paused", "resumed"] if committed else []
                self.assertEqual(self.told(sandbox), expected)
                self.goes_on(sandbox)
                self.assertEqual(list((STATE / "pool/captures").iterdir()), [])
                self.assertFalse((STATE / f"pool/sandboxes/{sandbox}/paused").exists())

    def test_pause_of_the_file_system_alone(self):
        sandbox = self.kept()
        for stage in ("pause.stopped", "pause.committed"):
            with self.subTest(stage):
                self.dying(stage, "POST", f"/sandboxes/{sandbox}/pause", {"memory": False})
                self.assertEqual(self.only(sandbox), "running")
                self.goes_on(sandbox)  # it writes a file, too

    def test_resume(self):
        sandbox = self.kept()
        for number, stage in enumerate(stages("resume"), 1):
            with self.subTest(stage):
                self.pause(sandbox)
                self.dying(stage, "POST", f"/v2/sandboxes/{sandbox}/connect", {})
                running = stage == "resume.running"
                self.assertEqual(self.only(sandbox), "running" if running else "paused")
                if not running:
                    self.assertEqual(host_objects(disks=False), [])
                    self.resume(sandbox)
                self.assertEqual(self.told(sandbox), ["paused", "resumed"] * number)
                self.goes_on(sandbox)

    def test_snapshot(self):
        sandbox = self.kept()
        for stage in stages("snapshot"):
            with self.subTest(stage):
                self.dying(stage, "POST", f"/sandboxes/{sandbox}/snapshots", {"name": "mine"})
                self.assertEqual(self.only(sandbox), "running")
                self.goes_on(sandbox)
                found = self.call("GET", f"/snapshots?sandboxID={sandbox}", expect=200)
                self.assertEqual(len(found), 1 if stage == "snapshot.committed" else 0)
                for each in found:
                    clone = self.daemon.create("--template", each["snapshotID"])
                    self.assertEqual(self.sh(clone, "echo on"), "on\n")
                    self.tb("rm", clone)
                    self.remove_snapshot(each["snapshotID"])

    def test_fork(self):
        sandbox = self.kept()
        for stage in ["snapshot.captured", *stages("fork"), "create.launched"]:
            with self.subTest(stage):
                self.dying(stage, "POST", f"/sandboxes/{sandbox}/fork", {"count": 2})
                self.assertEqual(self.only(sandbox), "running")
                self.goes_on(sandbox)
                self.assertEqual(list((STATE / "pool/forks").iterdir()), [])

    def test_rollback(self):
        sandbox = self.kept()
        snapshot = self.snapshot(sandbox)
        for stage in [*stages("rollback"), "resume.recorded", "resume.running"]:
            with self.subTest(stage):
                self.goes_on(sandbox)
                self.dying(stage, "POST", f"/tinderbox/v1/sandboxes/{sandbox}/rollback", {"snapshot": snapshot})
                if self.only(sandbox) == "paused":
                    self.resume(sandbox)
                if stage == "resume.running":
                    self.assertEqual(self.sh(sandbox, "ls /home/user/rounds").split(), ["1"])
                    self.number = 100
                self.goes_on(sandbox)
        self.tb("rm", sandbox)
        self.remove_snapshot(snapshot)


    def test_network(self):
        """The next daemon makes the kernel's rules those of the record, which has the new ones."""
        sandbox = self.kept()
        for number, stage in enumerate(stages("network"), 1):
            with self.subTest(stage):
                rules = {"denyOut": [f"203.0.113.{number}"]}
                self.dying(stage, "PUT", f"/sandboxes/{sandbox}/network", rules)
                self.assertEqual(self.only(sandbox), "running")
                self.assertEqual(self.daemon.inspect(sandbox)["network"], rules)
                kernels = subprocess.run(["ip", "netns", "exec", f"{PREFIX}-{self.daemon.inspect(sandbox)['slot']}", "nft", "list",
                                          "ruleset"], capture_output=True, text=True, check=True).stdout
                self.assertEqual(re.findall(r"203\.0\.113\.\d", kernels), [f"203.0.113.{number}"])
                self.goes_on(sandbox)


class LeavingClientTest(LifecycleTest):
    """A client that hangs up in mid-operation changes nothing: what was begun is finished."""

    def leave(self, method, path, body, after):
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port)
        connection.request(method, path, body, {"X-API-KEY": self.daemon.api_key(), "Content-Type": "application/json"})
        time.sleep(after)
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    def test_in_mid_create(self):
        self.tb("rm", self.daemon.create("--memory", "256"))
        for after in (0.001, 0.01, 0.03, 0.1):
            self.leave("POST", "/v2/sandboxes", '{"templateID":"base","memoryMB":256}', after)
        wait_for(lambda: [s["state"] for s in self.daemon.json("ls")] == ["running"] * 4, 20, "all four came to be")
        for each in self.daemon.json("ls"):
            self.assertEqual(self.sh(each["sandboxID"], "echo on"), "on\n")

    def test_in_mid_pause_and_mid_fork(self):
        sandbox = self.daemon.create("--memory", "256")
        for after in (0.001, 0.005, 0.02, 0.05):
            self.leave("POST", f"/sandboxes/{sandbox}/pause", "{}", after)
            wait_for(lambda: self.state(sandbox) == "paused", 10, "the pause is finished")
            self.leave("POST", f"/v2/sandboxes/{sandbox}/connect", "{}", after)
            wait_for(lambda: self.state(sandbox) == "running", 10, "the resume is finished")
            self.assertEqual(self.sh(sandbox, "echo on"), "on\n")
        for number, after in enumerate((0.001, 0.02), 1):
            self.leave("POST", f"/sandboxes/{sandbox}/fork", '{"count":2,"timeout":600}', after)
            wait_for(lambda: [s["state"] for s in self.daemon.json("ls")] == ["running"] * (1 + 2 * number), 20, "forked")
        wait_for(lambda: list((STATE / "pool/forks").iterdir()) == [], 5, "nothing is left of the forks")


if __name__ == "__main__":
    del LifecycleTest  # it has no tests of its own
    unittest.main(verbosity=2)
