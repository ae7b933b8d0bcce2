# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Delete, timeout, refreshes, connect, pause, resume and fork: statuses, and what they keep."""
import threading
import time
import unittest

from e2b import Sandbox, SandboxNotFoundException
from e2b.exceptions import GuestUnresponsiveException, SandboxException, SandboxNotRunningException, ServiceBusyException

from case import Case, api, detail, headers_for, made, own, raw, seconds, until

UNKNOWN = "i00000000000000000000"


def left(sandbox):
    """Seconds until its end."""
    return seconds(detail(sandbox)["endAt"]) - time.time()


def boot_id(sandbox):
    return sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout


def silent(sandbox):
    """Whether its agent does not answer within a second."""
    try:
        return raw("GET", "/health", headers=headers_for(sandbox), timeout=1).status != 204
    except OSError:
        return True


class Delete(Case):
    def test_is_204_and_empty_and_then_404(self):
        with made() as answer:
            path = f"/sandboxes/{answer['sandboxID']}"
            first = api("DELETE", path)
            self.assertEqual((first.status, first.body, first.headers["Transfer-Encoding"]), (204, b"", None))
            self.refused(api("DELETE", path), 404)
            self.refused(api("GET", path), 404)

    def test_the_sdk_says_true_and_then_false(self):
        sandbox = Sandbox.create(timeout=60)
        self.assertEqual([sandbox.kill(), sandbox.kill(), Sandbox.kill(sandbox.sandbox_id)], [True, False, False])

    def test_a_paused_one_goes_too_and_what_was_kept_of_it(self):
        sandbox = Sandbox.create(timeout=60)
        sandbox.pause()
        self.assertTrue(sandbox.kill())
        with self.assertRaises(SandboxNotFoundException):
            sandbox.connect()
        self.assertFalse(sandbox.kill())


class Timeout(Case):
    def test_is_from_now_on_and_may_shorten(self):
        with own() as sandbox:
            for timeout in (600, 100, 200):
                sandbox.set_timeout(timeout)
                self.assertAlmostEqual(left(sandbox), timeout, delta=3)

    def test_bounds_and_unknown_ones(self):
        with made() as answer:
            path = f"/sandboxes/{answer['sandboxID']}/timeout"
            for body in ({"timeout": -1}, {"timeout": "5"}, {}, {"timeout": 1.5}):
                self.refused(api("POST", path, body), 400, "timeout")
            self.assertEqual(api("POST", path, {"timeout": 0}).status, 204)
            until(lambda: api("GET", f"/sandboxes/{answer['sandboxID']}").status == 404, "nothing is left of its time", 5)
            self.refused(api("POST", path, {"timeout": 60}), 404)
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.set_timeout(UNKNOWN, 60)

    def test_refreshes_only_lengthen_and_by_15_seconds_at_least(self):
        with made(timeout=100) as answer:
            one = answer["sandboxID"]
            path = f"/sandboxes/{one}/refreshes"
            for body, wanted in (({"duration": 10}, 100), ({"duration": 200}, 200), ({"duration": 50}, 200)):
                self.assertEqual(api("POST", path, body).status, 204)
                self.assertAlmostEqual(left(one), wanted, delta=4)
            api("POST", f"/sandboxes/{one}/timeout", {"timeout": 5})
            self.assertEqual(api("POST", path, {"duration": 0}).status, 204)
            self.assertAlmostEqual(left(one), 15, delta=3)
            for duration in (-1, 3601):
                self.refused(api("POST", path, {"duration": duration}), 400, "duration")
        self.refused(api("POST", f"/sandboxes/{UNKNOWN}/refreshes", {"duration": 20}), 404)


class Connect(Case):
    def test_a_running_one_is_200_and_only_lengthened(self):
        with own() as sandbox:
            for path in ("", "/v2"):
                for timeout, wanted in ((20, 300), (400, 400), (100, 400)):
                    answer = api("POST", f"{path}/sandboxes/{sandbox.sandbox_id}/connect", {"timeout": timeout})
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(answer.json["envdAccessToken"], sandbox._envd_access_token)
                    self.assertAlmostEqual(left(sandbox), wanted, delta=4)
                sandbox.set_timeout(300)
            self.assertEqual(Sandbox.connect(sandbox.sandbox_id).sandbox_id, sandbox.sandbox_id)

    def test_a_paused_one_is_201_and_has_300_seconds_unless_said(self):
        with own() as sandbox:
            for body, wanted in (({}, 300), ({"timeout": 77}, 77)):
                sandbox.pause()
                answer = api("POST", f"/v2/sandboxes/{sandbox.sandbox_id}/connect", body)
                self.assertEqual(answer.status, 201)
                self.assertEqual(answer.json["envdAccessToken"], sandbox._envd_access_token)
                self.assertAlmostEqual(left(sandbox), wanted, delta=4)

    def test_the_old_connect_needs_its_timeout(self):
        with own() as sandbox:
            self.refused(api("POST", f"/sandboxes/{sandbox.sandbox_id}/connect", {}), 400, "timeout")

    def test_one_that_is_gone_is_404(self):
        for path in ("/sandboxes", "/v2/sandboxes"):
            self.refused(api("POST", f"{path}/{UNKNOWN}/connect", {"timeout": 5}), 404)
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.connect(UNKNOWN)

    def test_reboot_has_another_boot_the_same_data_id_and_token(self):
        with own(envs={"COLOUR": "green"}) as sandbox:
            sandbox.files.write("kept", "on disk")
            sandbox.files.write("/dev/shm/lost", "in memory")
            sandbox.commands.run("sync")  # it is as if the power had failed
            before = boot_id(sandbox)
            sandbox.pause()
            again = Sandbox.connect(sandbox.sandbox_id, on_resume="reboot")
            self.assertEqual((again.sandbox_id, again._envd_access_token), (sandbox.sandbox_id, sandbox._envd_access_token))
            self.assertNotEqual(boot_id(sandbox), before)
            self.assertEqual(sandbox.files.read("kept"), "on disk")
            self.assertFalse(sandbox.files.exists("/dev/shm/lost"))
            self.assertEqual(sandbox.commands.run("echo $COLOUR $E2B_SANDBOX_ID").stdout, f"green {sandbox.sandbox_id}\n")


class Pause(Case):
    def test_true_then_409_and_false_and_404(self):
        with own() as sandbox:
            self.assertTrue(sandbox.pause())
            again = self.refused(api("POST", f"/sandboxes/{sandbox.sandbox_id}/pause"), 409)
            self.assertEqual(again.headers["Should-Retry"], "false")
            self.assertFalse(sandbox.pause())
            self.assertFalse(sandbox.is_running())
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.pause(UNKNOWN)

    def test_is_204_and_empty_with_any_body(self):
        for body in (None, {}, {"memory": True}, {"memory": True, "requireHealthyGuest": True}):
            with made() as answer:
                paused = api("POST", f"/sandboxes/{answer['sandboxID']}/pause", body)
                self.assertEqual((paused.status, paused.body), (204, b""), body)

    def test_without_memory_the_disk_is_kept_and_the_resume_boots(self):
        with own() as sandbox:
            sandbox.files.write("kept", "on disk")
            before = boot_id(sandbox)
            self.assertTrue(sandbox.pause(keep_memory=False))
            self.assertEqual(detail(sandbox)["pauseMode"], "filesystem")
            again = sandbox.connect()
            self.assertEqual(again._envd_access_token, sandbox._envd_access_token)
            self.assertNotEqual(boot_id(sandbox), before)
            self.assertEqual(sandbox.files.read("kept"), "on disk")

    def test_a_healthy_guest_can_be_demanded(self):
        with own() as sandbox:
            self.assertTrue(sandbox.pause(strict=True))
            self.assertNotIn("envdUnresponsiveAtPause", detail(sandbox))

    def test_a_silent_guest_is_refused_if_demanded_and_marked_if_not_and_can_be_rebooted(self):
        with own() as sandbox:
            sandbox.files.write("kept", "on disk")
            sandbox.commands.run("sync", user="root")
            sandbox.commands.run("sleep 0.3; ip link set eth0 down", user="root", background=True)
            until(lambda: silent(sandbox), "its agent is out of reach")
            for options in ({"strict": True}, {"keep_memory": False}):
                with self.assertRaises(ServiceBusyException):
                    sandbox.pause(**options)
                self.assertEqual(detail(sandbox)["state"], "running")
            refused = self.refused(api("POST", f"/sandboxes/{sandbox.sandbox_id}/pause", {"requireHealthyGuest": True}), 503)
            self.assertEqual(refused.headers["Should-Retry"], "false", "or each costs four of them")
            self.assertTrue(sandbox.pause())
            self.assertIs(detail(sandbox)["envdUnresponsiveAtPause"], True)
            self.assertTrue(sandbox.get_info().envd_unresponsive_at_pause)
            with self.assertRaises(GuestUnresponsiveException):
                sandbox.connect()
            for path in ("/sandboxes", "/v2/sandboxes"):
                refused = api("POST", f"{path}/{sandbox.sandbox_id}/connect", {"timeout": 60})
                self.refused(refused, 409)
                self.assertEqual(refused.json["error_code"], "sandbox_snapshot_guest_agent_unresponsive")
            sandbox.connect(on_resume="reboot")
            self.assertEqual(sandbox.files.read("kept"), "on disk")
            self.assertNotIn("envdUnresponsiveAtPause", detail(sandbox))


class Resume(Case):
    def test_of_a_paused_one_is_201_for_15_seconds_and_of_a_running_one_409(self):
        with own() as sandbox:
            path = f"/sandboxes/{sandbox.sandbox_id}/resume"
            self.refused(api("POST", path, {}), 409)
            sandbox.pause()
            answer = api("POST", path)
            self.assertEqual((answer.status, answer.json["sandboxID"]), (201, sandbox.sandbox_id))
            self.assertAlmostEqual(left(sandbox), 15, delta=3)
            sandbox.pause()
            answer = api("POST", path, {"timeout": 90, "autoPause": True})
            self.assertEqual(answer.status, 201)
            self.assertAlmostEqual(left(sandbox), 90, delta=3)
            self.assertEqual(detail(sandbox)["lifecycle"]["onTimeout"], "pause")
        self.refused(api("POST", f"/sandboxes/{UNKNOWN}/resume", {}), 404)


class AutoResume(Case):
    def test_a_request_waits_for_the_resume_and_gives_300_seconds(self):
        with own(lifecycle={"on_timeout": "pause", "auto_resume": True}) as sandbox:
            sandbox.set_timeout(20)
            server = sandbox.commands.run("exec python3 -m http.server --bind 127.0.0.1 8000", background=True, timeout=0)
            until(lambda: raw("GET", "/", headers=headers_for(sandbox, 8000, False)).status == 200, "it serves")
            sandbox.pause()
            self.assertEqual(raw("GET", "/", headers=headers_for(sandbox, 8000, False)).status, 200, "by any port")
            self.assertGreater(left(sandbox), 290)
            self.assertTrue(any(p.pid == server.pid for p in sandbox.commands.list()))

    def test_not_what_has_to_boot(self):
        with own(lifecycle={"on_timeout": "pause", "auto_resume": True}) as sandbox:
            sandbox.pause(keep_memory=False)
            self.assertFalse(sandbox.is_running())
            self.assertEqual(detail(sandbox)["state"], "paused")


class Fork(Case):
    def test_many_at_once_each_with_id_and_token_of_its_own(self):
        with own(metadata={"of": "fork"}) as sandbox:
            sandbox.files.write("kept", "shared")
            sandbox.set_timeout(500)
            forks = sandbox.fork(count=3, timeout=120)
            try:
                everyone = [sandbox, *forks]
                self.assertEqual(len({one.sandbox_id for one in everyone}), 4)
                self.assertEqual(len({one._envd_access_token for one in everyone}), 4)
                for number, fork in enumerate(forks):
                    self.assertAlmostEqual(left(fork), 120, delta=8)
                    fork.files.write("kept", str(number))
                self.assertEqual([one.files.read("kept") for one in everyone], ["shared", "0", "1", "2"])
                self.assertAlmostEqual(left(sandbox), 500, delta=10, msg="the source's end is what it was")
            finally:
                for fork in forks:
                    fork.kill()

    def test_by_default_one_and_for_15_seconds(self):
        with own() as sandbox:
            answer = api("POST", f"/sandboxes/{sandbox.sandbox_id}/fork")
            self.assertEqual((answer.status, len(answer.json)), (201, 1))
            child = answer.json[0]["sandbox"]
            self.assertAlmostEqual(left(child["sandboxID"]), 15, delta=4)
            self.assertTrue(child["envdAccessToken"])
            api("DELETE", f"/sandboxes/{child['sandboxID']}")

    def test_refusals(self):
        with own() as sandbox:
            path = f"/sandboxes/{sandbox.sandbox_id}/fork"
            for body in ({"count": 0}, {"count": 101}, {"timeout": 0}):
                self.refused(api("POST", path, body), 400)
            sandbox.pause()
            self.refused(api("POST", path, {}), 409)
            with self.assertRaises(SandboxException):
                sandbox.fork()
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.fork(UNKNOWN)


class Transition(Case):
    """While it changes state: whoever would change it too waits and is told 409, traffic waits for what comes of it."""

    def test_nothing_is_lost_or_answered_wrongly_in_a_long_pause(self):
        with own() as sandbox:
            sandbox.commands.run("python3 -c 'import time; x = b\"x\" * (100 << 20); time.sleep(600)'", background=True, timeout=0)
            until(lambda: int(sandbox.commands.run("grep MemFree /proc/meminfo | tr -dc 0-9").stdout) < 340_000, "it is filled")
            answers = []
            changes = [threading.Thread(target=lambda: answers.append(api("POST", f"/sandboxes/{sandbox.sandbox_id}/pause").status))
                       for _ in range(3)]
            for change in changes:
                change.start()
            traffic, timeouts = set(), set()
            while any(change.is_alive() for change in changes):
                traffic.add(raw("GET", "/health", headers=headers_for(sandbox)).status)
                timeouts.add(api("POST", f"/sandboxes/{sandbox.sandbox_id}/timeout", {"timeout": 300}).status)
            self.assertEqual(sorted(answers), [204, 409, 409], "one of them paused it")
            self.assertLessEqual(traffic, {204, 502})
            self.assertLessEqual(timeouts, {204, 409})
            self.refused(api("POST", f"/sandboxes/{sandbox.sandbox_id}/timeout", {"timeout": 300}), 409)
            with self.assertRaises(SandboxNotRunningException):
                sandbox.commands.run("true")


if __name__ == "__main__":
    unittest.main()
