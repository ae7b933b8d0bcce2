# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""POST /sandboxes and /v2/sandboxes: what a create takes, field by field, and what it answers."""
import unittest

from e2b import Sandbox, SandboxException

from case import Case, api, detail, made, own, seconds, shared, until

NEEDED = {"templateID", "sandboxID", "clientID", "envdVersion", "envdAccessToken", "trafficAccessToken", "domain"}


def boot_id(sandbox):
    return sandbox.commands.run("cat /proc/sys/kernel/random/boot_id").stdout


class Answers(Case):
    def test_a_bare_create_is_of_base_for_300_seconds_and_runs(self):
        with made() as answer:
            info = detail(answer["sandboxID"])
            self.assertEqual((info["alias"], info["state"]), ("base", "running"))
            self.assertAlmostEqual(seconds(info["endAt"]) - seconds(info["startedAt"]), 300, delta=2)
            self.assertTrue(info["allowInternetAccess"])
            self.assertEqual(info["lifecycle"], {"onTimeout": "kill", "autoResume": False})

    def test_the_answer_has_what_python_needs(self):
        with made() as answer:
            self.assertEqual(NEEDED - set(answer), set())
            self.assertIsNone(answer["trafficAccessToken"])
            self.assertRegex(answer["sandboxID"], "^[a-z0-9]+$")

    def test_the_old_create_has_15_seconds_and_is_secured_whatever_it_asks_for(self):
        for secure in ({}, {"secure": False}, {"secure": True}):
            with made(secure, path="/sandboxes") as answer:
                self.assertTrue(answer["envdAccessToken"], secure)
                info = detail(answer["sandboxID"])
                self.assertAlmostEqual(seconds(info["endAt"]) - seconds(info["startedAt"]), 15, delta=2)

    def test_the_sdk_may_say_secure_and_it_is_so_either_way(self):
        with own(secure=False) as sandbox:
            self.assertTrue(sandbox._envd_access_token)

    def test_a_detail_holds_no_null(self):
        for key, value in detail(shared()).items():
            self.assertIsNotNone(value, key)


class Fields(Case):
    def test_metadata(self):
        told = {"a b": "c&d=é", "empty": "", "quote\"": "\n"}
        with own(metadata=told) as sandbox:
            self.assertEqual(sandbox.get_info().metadata, told)

    def test_env_vars_are_the_default_of_every_process(self):
        with own(envs={"LINES_": "one\ntwo", "WORD": "ü $HOME 'x'"}) as sandbox:
            self.assertEqual(sandbox.commands.run('printf "%s|%s" "$LINES_" "$WORD"').stdout, "one\ntwo|ü $HOME 'x'")
            self.assertEqual(sandbox.commands.run('printf "%s" "$WORD"', user="root").stdout, "ü $HOME 'x'")
            self.assertEqual(sandbox.commands.run('printf "%s" "$WORD"', envs={"WORD": "mine"}).stdout, "mine")
        for name in ("", "A=B"):
            self.refused(api("POST", "/v2/sandboxes", {"templateID": "base", "envVars": {name: "x"}}), 400, "envVars")

    def test_timeout_is_seconds(self):
        with own() as sandbox:  # its 300
            info = sandbox.get_info()
            self.assertAlmostEqual((info.end_at - info.started_at).total_seconds(), 300, delta=2)

    def test_a_timeout_of_nothing_or_less_is_400(self):
        for path in ("/sandboxes", "/v2/sandboxes"):
            for timeout in (0, -1):
                self.refused(api("POST", path, {"templateID": "base", "timeout": timeout}), 400, "timeout")
        with self.assertRaises(SandboxException) as caught:
            Sandbox.create(timeout=0)
        self.assertEqual(caught.exception.status_code, 400)

    def test_template_id_is_needed(self):
        self.refused(api("POST", "/v2/sandboxes", {}), 400, "templateID")

    def test_allow_internet_access_is_shown_and_kept(self):
        with own(allow_internet_access=False) as sandbox:
            self.assertIs(sandbox.get_info().allow_internet_access, False)
            code = sandbox.commands.run("curl -s -m 3 http://203.0.113.1; echo $?", timeout=20).stdout
            self.assertNotEqual(code, "0\n")

    def test_network_rules_are_shown_in_the_detail(self):
        with own(network={"deny_out": ["203.0.113.0/24"], "allow_out": ["203.0.113.7"]}) as sandbox:
            network = sandbox.get_info().network
            self.assertEqual((network["deny_out"], network["allow_out"]), (["203.0.113.0/24"], ["203.0.113.7"]))

    def test_mcp_is_for_the_record_alone(self):
        with made(mcp={"exa": {"apiKey": "x"}}) as answer:
            self.assertEqual(detail(answer["sandboxID"])["state"], "running")


class Templates(Case):
    def test_by_id_name_tag_namespace_and_in_any_spelling(self):
        by_id = detail(shared())["templateID"]
        for name in (by_id, "base", "base:default", " BASE "):
            with made(templateID=name) as answer:
                self.assertEqual(answer["templateID"], by_id, name)

    def test_by_a_snapshots_id_and_name(self):
        with own() as sandbox:
            sandbox.files.write("kept", "in it")
            snapshot = sandbox.create_snapshot(name="create-by:v1")
            try:
                self.assertRegex(snapshot.snapshot_id, "^[a-z0-9-_/]+:[a-z0-9-_.]+$")
                for name in [snapshot.snapshot_id, "create-by:v1", *snapshot.names]:
                    child = Sandbox.create(name, timeout=60)
                    try:
                        self.assertEqual(child.files.read("kept"), "in it", name)
                    finally:
                        child.kill()
            finally:
                Sandbox.delete_snapshot(snapshot.snapshot_id)

    def test_an_unknown_one_is_404_in_e2bs_words(self):
        for name in ("no-such", "no-such:v1", "base:no-such-tag"):
            answer = self.refused(api("POST", "/v2/sandboxes", {"templateID": name}), 404)
            self.assertEqual(answer.json["message"], f"template '{name}' not found")
        with self.assertRaises(SandboxException) as caught:
            Sandbox.create("no-such")
        self.assertIn("template 'no-such' not found", str(caught.exception))

    def test_a_name_that_is_none_is_400(self):
        for name in ("", "a b", "a:b:c", "ü", "a/b/c", "../base"):
            self.refused(api("POST", "/v2/sandboxes", {"templateID": name}), 400, "templateID")


class Lifecycle(Case):
    """What happens at the end of its time, as it was said at the create."""

    def paused_at_its_end(self, sandbox):
        sandbox.set_timeout(1)
        until(lambda: detail(sandbox)["state"] == "paused", "it is paused", 6)

    def test_auto_pause_keeps_memory_by_default(self):
        for pause in ("pause", {"action": "pause"}, {"action": "pause", "mode": "full"}):
            with self.subTest(pause), own(lifecycle={"on_timeout": pause}) as sandbox:
                self.assertEqual(sandbox.get_info().lifecycle, {"on_timeout": "pause", "auto_resume": False})
                before = boot_id(sandbox)
                self.paused_at_its_end(sandbox)
                self.assertEqual(detail(sandbox)["pauseMode"], "full")
                self.assertFalse(sandbox.is_running(), "and traffic does not wake it")
                sandbox.connect(timeout=60)
                self.assertEqual(boot_id(sandbox), before)

    def test_auto_pause_memory_false_keeps_the_disk_alone(self):
        with own(lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}}) as sandbox:
            sandbox.files.write("kept", "on disk")
            before = boot_id(sandbox)
            self.paused_at_its_end(sandbox)
            self.assertEqual(detail(sandbox)["pauseMode"], "filesystem")
            sandbox.connect(timeout=60)
            self.assertEqual(sandbox.files.read("kept"), "on disk")
            self.assertNotEqual(boot_id(sandbox), before)

    def test_auto_resume_is_shown_and_wakes(self):
        with own(lifecycle={"on_timeout": "pause", "auto_resume": True}) as sandbox:
            self.assertEqual(sandbox.get_info().lifecycle, {"on_timeout": "pause", "auto_resume": True})
            self.paused_at_its_end(sandbox)
            self.assertTrue(sandbox.is_running(), "the question itself wakes it")

    def test_kill_is_the_default_and_can_be_said(self):
        with own(lifecycle={"on_timeout": "kill", "auto_resume": False}) as sandbox:
            self.assertEqual(sandbox.get_info().lifecycle, {"on_timeout": "kill", "auto_resume": False})
            sandbox.set_timeout(1)
            until(lambda: api("GET", f"/sandboxes/{sandbox.sandbox_id}").status == 404, "it is gone", 6)

    def test_what_cannot_be_together_is_400(self):
        base = {"templateID": "base"}
        for wish in ({"autoPauseMemory": False}, {"autoPause": False, "autoPauseMemory": False},
                     {"autoPause": True, "autoPauseMemory": False, "autoResume": {"enabled": True}}):
            answer = self.refused(api("POST", "/v2/sandboxes", {**base, **wish}), 400, "auto")
            self.assertEqual(answer.headers["Should-Retry"], "false")
        with made(autoPause=True, autoPauseMemory=False, autoResume={"enabled": False}) as answer:
            self.assertEqual(detail(answer["sandboxID"])["lifecycle"], {"onTimeout": "pause", "autoResume": False})


if __name__ == "__main__":
    unittest.main()
