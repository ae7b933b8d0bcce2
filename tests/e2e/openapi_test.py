#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""src/schema/openapi.yaml is true: schemathesis makes requests out of it, good ones and bad ones, and
compares a real daemon's answers with what it says.

The package is installed into a virtual environment below the build directory, once. The seed is fixed, so
that a failure can be looked at.
"""
import subprocess
import sys
import unittest

from harness import BUILD, ROOT, RUN, DaemonTest

VENV = BUILD / "schemathesis"
PACKAGE = "schemathesis==4.32.5"
CHECKS = ",".join([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "ignored_auth",
])

# The tool also tries methods that a path does not have. 501 is the answer to those that E2B has and we have not.
UNSUPPORTED = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 501]\n'


def program():
    if not (VENV / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    subprocess.run(pip, check=True)
    return str(VENV / "bin/schemathesis")


class OpenApi(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.program = program()
        super().setUpClass()

    def compare(self, *arguments, parameters=""):
        config = RUN / "schemathesis.toml"
        config.write_text(UNSUPPORTED + parameters)
        command = [
            self.program, "--config-file", str(config), "run", str(ROOT / "src/schema/openapi.yaml"),
            "--url", f"http://127.0.0.1:{self.daemon.port}", "--header", f"X-API-KEY: {self.daemon.api_key()}",
            "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", "7", "--generation-database", "none",
            "--request-timeout", "30", "--suppress-health-check", "all", "--no-color", *arguments,
        ]
        result = subprocess.run(command, cwd=RUN, capture_output=True, text=True, timeout=400)
        self.assertEqual(result.returncode, 0, result.stdout[-20000:] + result.stderr[-4000:] + self.daemon.log_tail())

    def test_what_is_not_there(self):
        """Random ids and names: every route, and nothing that takes long or makes VMs without end."""
        # Making a sandbox takes a template that random words do not hit.
        # The tool learns names from answers: it must not find the way to remove the template of all tests.
        self.compare("--max-examples", "5", "--exclude-path", "/tinderbox/v1/doctor", "--exclude-path", "/templates/{template}")

    def test_one_that_is_there(self):
        sandbox = self.tb("create", "--timeout", "1h").stdout.strip()
        parameters = f'[parameters]\n"path.sandboxID" = "{sandbox}"\n"path.template" = "base"\n"path.alias" = "base"\n'
        # Reading, and what does it no harm. (Filters that include add to each other.)
        self.compare("--max-examples", "5", "--exclude-method", "POST", "--exclude-method", "DELETE", "--exclude-path",
                     "/tinderbox/v1/doctor", parameters=parameters)
        self.compare("--max-examples", "5", "--include-path", "/sandboxes/{sandboxID}/connect", "--include-path",
                     "/v2/sandboxes/{sandboxID}/connect", "--include-path", "/sandboxes/{sandboxID}/refreshes", parameters=parameters)
        self.assertEqual(self.daemon.inspect(sandbox)["state"], "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
