#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Proves that tools/check-layers can fail: breaks each of its rules in a small tree of its own."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/check-layers"


class CheckLayers(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="tinderbox-layers-")
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)
        self.write("src/layers.txt", "base:\nsys: base\nvmm: base sys\nnetwork: base sys\n")
        self.write("src/base/a.h", "#pragma once\n")
        self.write("src/vmm/b.cc", '#include "base/a.h"\n#include "sys/c.h"\n#include <vector>\n')
        self.write("src/sys/c.h", '#include "base/a.h"\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self):
        return subprocess.run([sys.executable, CHECK, self.root], capture_output=True, text=True)

    def assert_breach(self, words):
        result = self.check()
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(words, result.stdout)

    def test_a_tree_in_order_passes(self):
        result = self.check()
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_include_of_a_forbidden_component(self):
        self.write("src/network/d.cc", '#include "vmm/b.h"\n')
        self.assert_breach("src/network/d.cc:1: network may not include vmm")

    def test_include_upwards(self):
        self.write("src/base/e.cc", '#include <base/a.h>\n  #  include "sys/c.h"\n')
        self.assert_breach("src/base/e.cc:2: base may not include sys")

    def test_folder_missing_from_the_table(self):
        self.write("src/stray/f.cc", "\n")
        self.assert_breach("src/stray: not in src/layers.txt")

    def test_folder_missing_from_the_map(self):
        self.write("ARCHITECTURE.md", "`base` `sys`\n")
        self.assert_breach("does not name the component `vmm`")

    def test_long_file(self):
        self.write("src/sys/long.cc", "// line\n" * 801)
        self.assert_breach("src/sys/long.cc: 801 lines")

    def test_long_function(self):
        body = "  Step();\n" * 90
        self.write("src/sys/g.cc", f"namespace x {{\n\nvoid Short() {{\n}}\n\nvoid Long() {{\n{body}}}\n}}\n")
        self.assert_breach("src/sys/g.cc:6: a function of 92 lines")
        exempt = "// size-exempt: a table\n"
        self.write("src/sys/g.cc", f"namespace x {{\n\n{exempt}void Long() {{\n{body}}}\n}}\n")
        self.assertEqual(self.check().returncode, 0)


if __name__ == "__main__":
    unittest.main()
