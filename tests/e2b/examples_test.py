# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Every program below examples/ is run as it stands, with the real packages."""
import pathlib
import shutil
import subprocess
import sys
import unittest

import packages

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent.parent / "examples"
# What each must print, in this order.
RUN = {
    "quickstart": ["42\n", "Linux ", "exit code 3 and it said: this fails", "running: "],
    "streaming": ["out: step 1", "out: step 2", "out: step 3", "apple\nfig\npear\n"],
    "pty": ["40 120", "hello from /dev/pts/"],
    "files": ["fig,3", "a.txt", "data.csv", "create out", "remove a.txt", "download: http"],
    "pause_resume": ["running: ", "the same process counts on: "],
    "fork": ["expensive to make / child 0", "expensive to make / child 1", "expensive to make / child 2",
             "the source has none of it: "],
    "agent": ["attempt 1: ModuleNotFoundError", "attempt 2: SyntaxError", "attempt 3: [937, 941, "],
}


class Examples(unittest.TestCase):
    def check(self, name, command, cwd=None):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
        self.assertEqual(done.returncode, 0, f"{name}\n{done.stdout}\n{done.stderr}")
        said, at = done.stdout.replace("\r\n", "\n"), 0
        for wanted in RUN[name]:
            found = said.find(wanted, at)
            self.assertGreaterEqual(found, 0, f"{wanted!r} in order in\n{said}")
            at = found + len(wanted)
        if name == "pause_resume":
            self.assertIn("counts on: true true", said.lower())
        if name in ("pause_resume", "quickstart"):
            self.assertIn("running: false", said.lower())

    def test_python(self):
        for name in RUN:
            with self.subTest(name):
                self.check(name, [sys.executable, str(EXAMPLES / "python" / f"{name}.py")])

    def test_javascript(self):
        # Where the packages are: node looks for them from the program's own place.
        for name in RUN:
            with self.subTest(name):
                program = packages.JS / f"example_{name}.mjs"
                shutil.copy(EXAMPLES / "js" / f"{name}.mjs", program)
                self.check(name, [packages.node(), str(program)])

    def test_none_is_left_out(self):
        for folder, suffix in (("python", ".py"), ("js", ".mjs")):
            self.assertEqual({p.stem for p in (EXAMPLES / folder).glob(f"*{suffix}")}, set(RUN), folder)


if __name__ == "__main__":
    unittest.main()
