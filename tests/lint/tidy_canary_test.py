#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Proves that every check of .clang-tidy fires: a list with a slip in it silently checks nothing."""
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CANARY = ROOT / "tests/lint/canary/canary.cc"


class TidyCanary(unittest.TestCase):
    def test_every_check_fires(self):
        listed = re.findall(r"^  ((?:[a-z]+-)[a-z0-9-]+),?$", (ROOT / ".clang-tidy").read_text(), re.M)
        self.assertGreater(len(listed), 15)
        run = subprocess.run(
            ["clang-tidy-19", f"--config-file={ROOT / '.clang-tidy'}", str(CANARY), "--", "-std=c++23"],
            capture_output=True, text=True,
        )
        fired = set(re.findall(r"\[([a-z0-9.,-]+)\]$", run.stdout, re.M))
        fired = {name for group in fired for name in group.split(",")}
        self.assertEqual([check for check in listed if check not in fired], [], run.stdout + run.stderr)
        self.assertNotEqual(run.returncode, 0)


if __name__ == "__main__":
    unittest.main()
