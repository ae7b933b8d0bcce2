# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The agent's routes that are the host's alone, called as the host: from inside the sandbox's namespace."""
import datetime
import json
import os
import subprocess
import time
import unittest

from case import Case, own, raw

GUEST = "http://169.254.0.21:49983"


class HostOnly(Case):
    def call(self, sandbox, path, token=None, body="{}"):
        """The status of POST `path` on the agent, by the host."""
        slot = raw("GET", f"/tinderbox/v1/sandboxes/{sandbox.sandbox_id}",
                   headers={"X-API-KEY": os.environ["E2B_API_KEY"]}).json["slot"]
        program = ("import sys, urllib.request, urllib.error\n"
                   "ask = urllib.request.Request(sys.argv[1], sys.argv[3].encode(), {'X-Access-Token': sys.argv[2]})\n"
                   "try: print(urllib.request.urlopen(ask, timeout=60).status)\n"
                   "except urllib.error.HTTPError as error: print(error.code)")
        done = subprocess.run(["ip", "netns", "exec", f"{os.environ['TINDERBOX_PREFIX']}-{slot}", "python3", "-c", program,
                               GUEST + path, sandbox._envd_access_token if token is None else token, body],
                              capture_output=True, text=True, check=True)
        return int(done.stdout)

    def test_a_frozen_disk_takes_no_writes_until_the_thaw(self):
        with own() as sandbox:
            self.assertEqual(self.call(sandbox, "/fsfreeze"), 204)
            self.assertEqual(self.call(sandbox, "/fsfreeze"), 204, "a second time")
            writer = sandbox.commands.run("touch /dev/shm/began; echo x > ~/written; touch /dev/shm/written", background=True)
            sandbox.commands.run("until [ -e /dev/shm/began ]; do sleep 0.05; done; sleep 0.3")
            # What only reads goes on; what would write through the agent waits instead of stopping it.
            self.assertEqual(sandbox.commands.run("ls /dev/shm").stdout, "began\n")
            with self.assertRaises(Exception):
                sandbox.files.write("late", "x", request_timeout=0.5)
            self.assertTrue(sandbox.is_running())
            self.assertEqual(self.call(sandbox, "/fsthaw"), 204)
            writer.wait()
            self.assertEqual(self.call(sandbox, "/fsthaw"), 204, "a second time")
            sandbox.files.write("late", "now")
            self.assertEqual(sandbox.files.read("late"), "now")

    def test_init_sets_a_clock_that_is_wrong_and_leaves_one_that_is_a_little_ahead(self):
        def off():
            return float(sandbox.commands.run("date +%s.%N").stdout) - time.time()

        with own() as sandbox:
            for wrong, stays in (("-1 hour", False), ("+1 hour", False), ("+3 seconds", True)):
                sandbox.commands.run(f"date -s '{wrong}'", user="root")
                now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
                self.assertEqual(self.call(sandbox, "/init", body=json.dumps({"timestamp": now})), 204)
                self.assertAlmostEqual(off(), 3 if stays else 0, delta=1.5, msg=wrong)

    def test_the_token_is_needed(self):
        with own() as sandbox:
            for path in ("/init", "/freeze", "/fsfreeze", "/fsthaw", "/tunnel?port=22"):
                self.assertEqual(self.call(sandbox, path, token="wrong"), 401, path)
            self.assertEqual(self.call(sandbox, "/init"), 204)


if __name__ == "__main__":
    unittest.main()
