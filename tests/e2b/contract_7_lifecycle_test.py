# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What the agent and the proxy keep and lose over pause, resume and fork (contract §7)."""
import threading
import time
import unittest

import httpx
from e2b import Sandbox
from e2b.exceptions import SandboxNotRunningException

from case import Case, own, raw, headers_for, start, until


class Paused(Case):
    def test_paused_without_auto_resume_is_not_running_and_not_found(self):
        with own() as sandbox:
            sandbox.pause()
            self.assertFalse(sandbox.is_running())
            answer = raw("GET", "/health", headers=headers_for(sandbox))
            self.assertEqual((answer.status, answer.json["message"]), (502, "The sandbox was not found"))
            with self.assertRaises(SandboxNotRunningException):
                sandbox.commands.run("true")

    def test_tokens_processes_and_signed_urls_survive(self):
        with own() as sandbox:
            sandbox.files.write("kept", "before")
            url = sandbox.download_url("kept")
            process = sandbox.commands.run("exec cat", background=True, stdin=True, timeout=0)
            sandbox.pause()
            again = Sandbox.connect(sandbox.sandbox_id, timeout=120)
            self.assertEqual(again._envd_access_token, sandbox._envd_access_token)
            self.assertEqual(sandbox.files.read("kept"), "before", "by the object that was there before")
            self.assertEqual(httpx.get(url).text, "before")
            attached = sandbox.commands.connect(process.pid)
            sandbox.commands.send_stdin(process.pid, "still here")
            sandbox.commands.close_stdin(process.pid)
            self.assertEqual(attached.wait().stdout, "still here")
            self.assertLess(abs(float(sandbox.commands.run("date +%s.%N").stdout) - time.time()), 1.5)

    def test_a_pause_ends_the_streams_that_are_open(self):
        with own() as sandbox:
            stream = start("echo x; sleep 60", sandbox=sandbox)
            frames = stream.frames()
            next(frames), next(frames)
            threading.Timer(0.2, sandbox.pause).start()
            with self.assertRaises(OSError):
                next(frames)

    def test_any_request_resumes_where_auto_resume_is_set(self):
        with own(lifecycle={"on_timeout": "pause", "auto_resume": True}) as sandbox:
            sandbox.files.write("kept", "before")
            sandbox.pause()
            self.assertEqual(sandbox.files.read("kept"), "before")
            self.assertTrue(sandbox.is_running())

    def test_a_watcher_goes_on_after_the_resume(self):
        with own() as sandbox:
            watch = sandbox.files.watch_dir("/home/user")
            sandbox.pause()
            sandbox.connect(timeout=120)
            sandbox.files.write("made", "x")
            until(lambda: any(e.name == "made" for e in watch.get_new_events()), "its event")


class Forks(Case):
    def test_forks_have_tokens_of_their_own(self):
        with own() as sandbox:
            sandbox.files.write("kept", "shared")
            fork, = sandbox.fork(count=1, timeout=120)
            try:
                self.assertNotEqual(fork._envd_access_token, sandbox._envd_access_token)
                self.assertEqual(fork.files.read("kept"), "shared")
                stolen = raw("GET", "/files?path=kept", headers=headers_for(fork, token=sandbox._envd_access_token))
                self.assertEqual(stolen.status, 401)
                self.assertEqual(fork.commands.run("echo $E2B_SANDBOX_ID").stdout.strip(), fork.sandbox_id)
            finally:
                fork.kill()


if __name__ == "__main__":
    unittest.main()
