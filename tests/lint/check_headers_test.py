#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Proves that tools/check-headers can fail, in a small tree of its own."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/check-headers"


class CheckHeaders(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="tinderbox-headers-")
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name).resolve()
        (self.root / "tools").mkdir()
        shutil.copy(CHECK, self.root / "tools")
        self.write("src/base/a.h", "#pragma once\nint A();\n")
        self.write("src/base/a.cc", '#include "base/a.h"\n#include "base/b.h"\n')
        self.write("src/base/b.h", "#pragma once\n#ifndef LIBRARY\n#error no flags\n#endif\n")
        source = str(self.root / "src/base/a.cc")
        command = f"c++ -std=c++20 -DLIBRARY=1 -iquote{self.root}/src -o a.o -c {source}"
        self.write("build/compile_commands.json", json.dumps([{"file": source, "command": command}]))

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check(self):
        return subprocess.run(
            [sys.executable, self.root / "tools/check-headers", self.root / "build"],
            capture_output=True, text=True, check=False)

    def test_headers_in_order_pass_and_the_build_shows_some(self):
        result = self.check()
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("1 headers, 0 that", result.stdout)

    def test_a_header_that_needs_another(self):
        self.write("src/base/c.h", "#pragma once\ninline std::string Name() { return {}; }\n")
        result = self.check()
        self.assertEqual(result.returncode, 1)
        self.assertIn("src/base/c.h does not compile alone", result.stdout)

    def test_a_folder_without_sources_is_checked_too(self):
        self.write("src/schema/d.h", "#pragma once\nUnknown d;\n")
        self.assertIn("src/schema/d.h does not compile alone", self.check().stdout)


if __name__ == "__main__":
    unittest.main()
