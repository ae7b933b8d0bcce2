#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The real E2B SDK of PyPI, unmodified, with nothing but the variables that `tinderbox env` prints.

The package comes from tests/e2b/packages.py, which installs it below the build directory, once.
"""
import json
import pathlib
import subprocess
import sys
import unittest

from harness import DaemonTest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2b"))
import packages  # noqa: E402

PROGRAM = r"""
import json, time
from e2b import Sandbox, CommandExitException, NotFoundException
facts = {}
sandbox = Sandbox.create(metadata={"who": "test"}, envs={"COLOUR": "green"}, timeout=120)
facts["id"] = sandbox.sandbox_id
facts["stdout"] = sandbox.commands.run("echo $COLOUR; uname -s").stdout
try:
    sandbox.commands.run("echo gone >&2; exit 5")
except CommandExitException as error:
    facts["exit"] = [error.exit_code, error.stderr]
lines = []
sandbox.commands.run("for i in 1 2 3; do echo $i; sleep 0.1; done", on_stdout=lines.append)
facts["streamed"] = "".join(lines)
sandbox.files.write("/home/user/deep/er/a.txt", "written")
facts["read"] = sandbox.files.read("/home/user/deep/er/a.txt")
facts["listed"] = [entry.name for entry in sandbox.files.list("/home/user/deep")]
facts["exists"] = [sandbox.files.exists("/home/user/deep"), sandbox.files.exists("/none")]
try:
    sandbox.files.read("/none")
except NotFoundException as error:
    facts["missing"] = str(error)
background = sandbox.commands.run("cat", background=True, stdin=True)
sandbox.commands.send_stdin(background.pid, "typed\n")
facts["pids"] = background.pid in [process.pid for process in sandbox.commands.list()]
facts["killed"] = sandbox.commands.kill(background.pid)
info = sandbox.get_info()
facts["info"] = [info.metadata, info.state.value, info.name]
sandbox.set_timeout(60)
facts["found"] = [s.sandbox_id for s in Sandbox.list().next_items()]
again = Sandbox.connect(sandbox.sandbox_id)
facts["again"] = again.commands.run("cat /home/user/deep/er/a.txt").stdout
facts["running"] = sandbox.is_running()
facts["ended"] = [sandbox.kill(), sandbox.is_running(), sandbox.kill()]
print(json.dumps(facts))
"""


class PythonSdk(DaemonTest):
    def test_a_program_as_users_write_it(self):
        environment = self.daemon.environment()
        for line in self.tb("env").stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value.strip("'\"")
        packages.prepare()
        result = subprocess.run([str(packages.PYTHON), "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=180)
        self.assertEqual(result.returncode, 0, result.stderr)
        facts = json.loads(result.stdout)
        self.assertEqual(facts["stdout"], "green\nLinux\n")
        self.assertEqual(facts["exit"], [5, "gone\n"])
        self.assertEqual(facts["streamed"], "1\n2\n3\n")
        self.assertEqual(facts["read"], "written")
        self.assertEqual(facts["listed"], ["er"])
        self.assertEqual(facts["exists"], [True, False])
        self.assertIn("/none", facts["missing"])
        self.assertEqual([facts["pids"], facts["killed"]], [True, True])
        self.assertEqual(facts["info"], [{"who": "test"}, "running", "base"])
        self.assertEqual(facts["found"], [facts["id"]])
        self.assertEqual(facts["again"], "written")
        self.assertTrue(facts["running"])
        self.assertEqual(facts["ended"], [True, False, False])


if __name__ == "__main__":
    unittest.main(verbosity=2)
