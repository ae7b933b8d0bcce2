#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The real `@e2b/cli` of npm, unmodified, with nothing but the variables that `tinderbox env` prints.

It is installed below the build directory, once, as e2b-cli/package-lock.json says, and runs on the Node
of the SDKs' tests.
"""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import unittest

from harness import BUILD, DaemonTest, wait_for

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2b"))
import packages  # noqa: E402

HOME = BUILD / "e2b-cli"
# What follows ESC [ to colour, move and clear.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def install():
    """The command that starts the CLI."""
    packages.prepare()
    node = packages.node()
    lock = (HERE / "e2b-cli/package-lock.json").read_text()
    stamp = HOME / "installed"
    if not stamp.exists() or stamp.read_text() != lock:
        HOME.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "e2b-cli" / name, HOME / name)
        npm = pathlib.Path(node).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
        subprocess.run([node, str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *packages.PATIENCE], cwd=HOME, check=True)
        stamp.write_text(lock)
    return [node, str(HOME / "node_modules/@e2b/cli/dist/index.js")]


class E2bCli(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.command = install()
        super().setUpClass()

    def environment(self):
        environment = self.daemon.environment()
        for line in self.tb("env").stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value.strip("'\"")
        environment |= {"NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "TERM": "xterm"}
        return environment

    def e2b(self, *arguments, check=True, stdin=None):
        result = subprocess.run(
            [*self.command, *arguments], env=self.environment(), text=True, input=stdin or "",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
        )
        if check:
            self.assertEqual(result.returncode, 0, f"{arguments}\n{result.stdout}\n{result.stderr}\n{self.daemon.log_tail()}")
        result.stdout = ESCAPES.sub("", result.stdout)
        return result

    def create(self, *arguments):
        """Creates a sandbox with the CLI and returns its id."""
        out = self.e2b("sandbox", "create", "base", "-d", *arguments).stdout
        found = re.search(r"\bi[a-z0-9]{19,20}\b", out)
        self.assertTrue(found, out)
        return found.group(0)

    def state(self, sandbox):
        return json.loads(self.e2b("sandbox", "info", "-f", "json", sandbox).stdout)["state"]

    def test_create_list_info_exec_kill(self):
        sandbox = self.create()
        listed = json.loads(self.e2b("sandbox", "list", "-f", "json").stdout)
        self.assertEqual([s["sandboxId"] for s in listed], [sandbox])
        self.assertIn(sandbox, self.e2b("sandbox", "list").stdout)
        info = json.loads(self.e2b("sandbox", "info", "-f", "json", sandbox).stdout)
        self.assertEqual((info["sandboxId"], info["state"], info["name"]), (sandbox, "running", "base"))
        self.assertIn(sandbox, self.e2b("sandbox", "info", sandbox).stdout)
        self.assertIn("base", self.e2b("template", "list").stdout)

        done = self.e2b("sandbox", "exec", "-u", "root", "-e", "A=b", "-c", "/tmp", sandbox, "echo $A; id -un; pwd; echo err >&2")
        self.assertEqual(done.stdout, "b\nroot\n/tmp\n")
        self.assertEqual(done.stderr, "err\n")
        self.assertEqual(self.e2b("sandbox", "exec", sandbox, "exit 7", check=False).returncode, 7)
        self.assertEqual(self.e2b("sandbox", "exec", sandbox, "wc -c", stdin="x" * 200_000).stdout.strip(), "200000")

        self.assertIn(sandbox, self.e2b("sandbox", "kill", sandbox).stdout)
        self.assertEqual(json.loads(self.e2b("sandbox", "list", "-f", "json").stdout), [])
        gone = self.e2b("sandbox", "info", sandbox, check=False)
        self.assertNotEqual(gone.returncode, 0)
        self.assertIn("wasn't found", gone.stderr + gone.stdout)

    def test_kill_all_takes_those_that_match(self):
        first = self.create()
        second = self.tb("create", "-m", "who=cli").stdout.strip()
        self.e2b("sandbox", "kill", "--all", "-m", "who=cli")
        self.assertEqual([s["sandboxID"] for s in self.daemon.json("ls")], [first])
        self.e2b("sandbox", "kill", "--all")
        self.assertEqual(self.daemon.json("ls"), [], second)

    def test_a_terminal(self):
        sandbox = self.create("--timeout", "120")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(self.command[0], [*self.command, "sandbox", "connect", sandbox], self.environment())
        seen = b""

        def read_until(mark, seconds=60):
            nonlocal seen
            deadline = time.monotonic() + seconds
            while mark not in seen:
                self.assertLess(time.monotonic(), deadline, f"no {mark!r} in {seen!r}")
                if select.select([terminal], [], [], 0.2)[0]:
                    try:
                        seen += os.read(terminal, 65536)
                    except OSError:  # its end
                        self.assertIn(mark, seen)

        try:
            read_until(b"$ ")
            os.write(terminal, b"echo $((6 * 7))-answer; tty\n")
            read_until(b"42-answer")
            read_until(b"/dev/pts/")
            os.write(terminal, b"exit\n")
            _, status = wait_for(lambda: (w := os.waitpid(pid, os.WNOHANG))[0] and w, 60, "the CLI ends")
            self.assertEqual(os.waitstatus_to_exitcode(status), 0, seen)
        finally:
            os.close(terminal)
        # It goes on without its terminal.
        self.assertEqual(self.state(sandbox), "running")

    def test_logs_and_metrics(self):
        # Where it came from, and the console, on which a booting guest writes and a restored one hardly ever.
        sandbox = self.tb("create", "--cold").stdout.strip()
        logs = self.e2b("sandbox", "logs", "--format", "json", sandbox).stdout
        lines = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
        self.assertTrue(lines, logs)
        self.assertIn("console", logs)
        self.assertIn("created: from template 'base'", logs)
        metrics = self.e2b("sandbox", "metrics", "--format", "json", sandbox).stdout
        self.assertIn("cpuUsedPct", metrics)
        self.assertIn("memTotal", metrics)

    def test_pause_and_resume(self):
        sandbox = self.create("--timeout", "300")
        self.e2b("sandbox", "exec", "-b", sandbox, "sleep 1000")
        self.e2b("sandbox", "exec", sandbox, "echo kept > /tmp/kept")
        before = self.e2b("sandbox", "exec", sandbox, "cat /proc/sys/kernel/random/boot_id; pgrep -x sleep").stdout
        self.e2b("sandbox", "pause", sandbox)
        self.assertEqual(self.state(sandbox), "paused")
        again = self.e2b("sandbox", "pause", sandbox, check=False)
        self.assertIn("already paused", (again.stdout + again.stderr).lower())
        self.assertEqual([s["sandboxId"] for s in json.loads(self.e2b("sandbox", "list", "-s", "paused", "-f", "json").stdout)], [sandbox])
        self.e2b("sandbox", "resume", sandbox)
        self.assertEqual(self.state(sandbox), "running")
        after = self.e2b("sandbox", "exec", sandbox, "cat /proc/sys/kernel/random/boot_id; pgrep -x sleep").stdout
        self.assertEqual(after, before)
        self.assertEqual(self.e2b("sandbox", "exec", sandbox, "cat /tmp/kept").stdout, "kept\n")

    def test_its_timeout_pauses_it(self):
        sandbox = self.create("--lifecycle.ontimeout", "pause", "--lifecycle.autoresume", "--timeout", "30")
        detail = self.daemon.api("GET", f"/sandboxes/{sandbox}")[2]
        self.assertEqual(detail["lifecycle"], {"onTimeout": "pause", "autoResume": True})
        self.tb("timeout", sandbox, "1s")
        wait_for(lambda: self.state(sandbox) == "paused", 30, "its timeout pauses it")
        # Traffic wakes it.
        self.assertEqual(self.tb("exec", sandbox, "--", "echo", "awake").stdout, "awake\n")

    def test_snapshots(self):
        sandbox = self.create("--timeout", "300")
        self.e2b("sandbox", "exec", sandbox, "echo one > /home/user/state")
        self.e2b("sandbox", "snapshot", "create", "-n", "from-the-cli", sandbox)
        self.addCleanup(self.tb, "snapshot", "rm", "-f", "from-the-cli")
        listed = json.loads(self.e2b("sandbox", "snapshot", "list", "-f", "json", sandbox).stdout)
        self.assertEqual(len(listed), 1, listed)
        identifier = listed[0]["snapshotId"]
        self.assertEqual(identifier, "tinderbox/from-the-cli:default")
        self.assertEqual(len(json.loads(self.e2b("sandbox", "snapshot", "list", "-f", "json", "-n", "from-the-cli").stdout)), 1)
        out = self.e2b("sandbox", "create", identifier, "-d").stdout
        child = re.search(r"\bi[a-z0-9]{19,20}\b", out).group(0)
        self.assertEqual(self.e2b("sandbox", "exec", child, "cat /home/user/state").stdout, "one\n")
        refused = self.e2b("sandbox", "snapshot", "delete", identifier, check=False)
        self.assertNotEqual(refused.returncode, 0, refused.stdout)
        self.e2b("sandbox", "kill", child, sandbox)
        self.e2b("sandbox", "snapshot", "delete", identifier)
        left = json.loads(self.e2b("sandbox", "snapshot", "list", "-f", "json").stdout)
        self.assertNotIn(identifier, [snapshot["snapshotId"] for snapshot in left])


if __name__ == "__main__":
    unittest.main(verbosity=2)
