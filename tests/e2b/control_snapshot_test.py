# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Snapshots, metrics, logs and network rules, each over its whole life."""
import datetime
import json
import time
import unittest
import urllib.parse

from e2b import ALL_TRAFFIC, Sandbox, SandboxException, SandboxNotFoundException

from case import Case, api, detail, made, own, seconds, shared, until

UNKNOWN = "i00000000000000000000"


def listed(**options):
    """Ids of snapshots, page by page."""
    paginator, found = Sandbox.list_snapshots(**options), []
    while paginator.has_next:
        found.append([snapshot.snapshot_id for snapshot in paginator.next_items()])
    return found


class Snapshots(Case):
    @classmethod
    def setUpClass(cls):
        cls.source = Sandbox.create(timeout=300)
        cls.addClassCleanup(cls.source.kill)
        cls.source.files.write("kept", "first")
        cls.taken = []
        for name in (None, "conform-one:v1", "conform-one:v2"):
            snapshot = cls.source.create_snapshot(name=name)
            cls.addClassCleanup(Sandbox.delete_snapshot, snapshot.snapshot_id)
            cls.taken.append(snapshot)
        cls.ids = [snapshot.snapshot_id for snapshot in reversed(cls.taken)]

    def test_ids_are_of_a_tag_and_names_of_a_namespace(self):
        for snapshot in self.taken:
            self.assertRegex(snapshot.snapshot_id, "^([a-z0-9-_]+/)?[a-z0-9-_]+:[a-z0-9-_.]+$")
        self.assertEqual(self.taken[0].names, [])
        for snapshot, tag in zip(self.taken[1:], ("v1", "v2")):
            self.assertEqual([name.partition("/")[2] for name in snapshot.names], [f"conform-one:{tag}"])

    def test_a_body_may_be_empty_and_the_status_is_201(self):
        for body in (None, {}):
            answer = api("POST", f"/sandboxes/{self.source.sandbox_id}/snapshots", body)
            self.assertEqual((answer.status, sorted(answer.json)), (201, ["names", "snapshotID"]))
            self.assertTrue(Sandbox.delete_snapshot(answer.json["snapshotID"]))

    def test_lists_are_the_newest_first_and_in_pages(self):
        one = self.source.sandbox_id
        self.assertEqual(listed(sandbox_id=one), [self.ids])
        self.assertEqual(listed(sandbox_id=one, limit=1), [[each] for each in self.ids])
        self.assertEqual(listed(sandbox_id=one, limit=2), [self.ids[:2], self.ids[2:]])
        self.assertEqual(self.source.list_snapshots().next_items()[0].snapshot_id, self.ids[0])
        first = api("GET", f"/snapshots?sandboxID={one}&limit=2")
        last = api("GET", f"/snapshots?sandboxID={one}&limit=2&nextToken=" + urllib.parse.quote(first.headers["X-Next-Token"]))
        self.assertIsNone(last.headers["X-Next-Token"])
        for query in ("limit=0", "limit=101", "limit=x", "nextToken=nonsense"):
            self.refused(api("GET", f"/snapshots?{query}"), 400)

    def test_lists_by_name(self):
        self.assertEqual(listed(name="conform-one"), [self.ids[:2]])
        self.assertEqual(listed(name="conform-one:v1"), [[self.ids[1]]])
        self.assertEqual(listed(sandbox_id=UNKNOWN), [[]])

    def test_it_is_what_was_when_it_was_taken(self):
        self.source.files.write("kept", "later")
        child = Sandbox.create(self.ids[0], timeout=60)
        try:
            self.assertEqual(child.files.read("kept"), "first")
            self.assertNotEqual(child._envd_access_token, self.source._envd_access_token)
        finally:
            child.kill()

    def test_deleted_is_true_and_then_false(self):
        snapshot = self.source.create_snapshot()
        self.assertEqual([Sandbox.delete_snapshot(snapshot.snapshot_id) for _ in range(2)], [True, False])
        self.refused(api("DELETE", "/templates/" + urllib.parse.quote(snapshot.snapshot_id, safe="")), 404)
        self.refused(api("POST", "/v2/sandboxes", {"templateID": snapshot.snapshot_id}), 404)

    def test_one_in_use_is_400(self):
        child = Sandbox.create(self.ids[1], timeout=60)
        try:
            self.refused(api("DELETE", "/templates/" + urllib.parse.quote(self.ids[1], safe="")), 400)
        finally:
            child.kill()

    def test_of_the_disk_alone(self):
        snapshot = self.source.create_snapshot(mode="filesystem")
        try:
            child = Sandbox.create(snapshot.snapshot_id, timeout=60)
            try:
                self.assertTrue(child.files.exists("kept"))
                self.assertNotEqual(*(one.files.read("/proc/sys/kernel/random/boot_id") for one in (child, self.source)))
            finally:
                child.kill()
        finally:
            Sandbox.delete_snapshot(snapshot.snapshot_id)

    def test_of_a_paused_one(self):
        with own() as sandbox:
            sandbox.files.write("kept", "paused")
            sandbox.pause()
            snapshot = sandbox.create_snapshot()
            self.assertEqual(detail(sandbox)["state"], "paused")
            child = Sandbox.create(snapshot.snapshot_id, timeout=60)
            self.assertEqual(child.files.read("kept"), "paused")
            child.kill()
            Sandbox.delete_snapshot(snapshot.snapshot_id)

    def test_refusals(self):
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.create_snapshot(UNKNOWN)
        path = f"/sandboxes/{self.source.sandbox_id}/snapshots"
        self.refused(api("POST", path, {"name": "a b"}), 400, "name")
        self.refused(api("POST", path, {"name": "base"}), 409)


class Metrics(Case):
    def test_items_have_every_field_and_make_sense(self):
        items = until(shared().get_metrics, "a sample")
        item = items[-1]
        info = detail(shared())
        self.assertEqual(item.cpu_count, info["cpuCount"])
        self.assertLess(item.mem_used, item.mem_total)
        self.assertLess(item.disk_used, item.disk_total)
        self.assertLess(abs(item.timestamp.timestamp() - time.time()), 30)
        raw_item = api("GET", f"/sandboxes/{shared().sandbox_id}/metrics").json[-1]
        self.assertEqual(set(raw_item), {"timestamp", "timestampUnix", "cpuCount", "cpuUsedPct", "memUsed", "memTotal",
                                         "memCache", "diskUsed", "diskTotal"})

    def test_a_range_before_it_existed_is_empty(self):
        started = shared().get_info().started_at
        self.assertEqual(shared().get_metrics(start=started - datetime.timedelta(hours=2),
                                              end=started - datetime.timedelta(hours=1)), [])
        self.assertTrue(until(lambda: shared().get_metrics(start=started), "one within"))
        self.refused(api("GET", f"/sandboxes/{shared().sandbox_id}/metrics?start=x"), 400, "start")

    def test_an_unknown_one_is_404(self):
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.get_metrics(UNKNOWN)

    def test_of_many_at_once(self):
        with own() as other:
            ids = [shared().sandbox_id, other.sandbox_id]
            answer = api("GET", "/sandboxes/metrics?sandbox_ids=" + ",".join([*ids, UNKNOWN]))
            self.assertEqual(sorted(answer.json["sandboxes"]), sorted(ids))
        self.refused(api("GET", "/sandboxes/metrics"), 400, "sandbox_ids")


class Logs(Case):
    def test_they_tell_where_it_came_from_and_that_it_is_paused(self):
        with own() as sandbox:
            sandbox.commands.run("echo said-on-the-console > /dev/ttyS0", user="root")
            path = f"/v2/sandboxes/{sandbox.sandbox_id}/logs"
            lines = until(lambda: [entry for entry in api("GET", path).json["logs"]
                                   if entry["message"] == "said-on-the-console"] and api("GET", path).json["logs"], "its console")
            self.assertIn("created: from template 'base'", lines[0]["message"])
            self.assertEqual(lines[0]["fields"], {"logger": "sandbox"})
            sandbox.pause()
            self.assertIn("paused: memory and disk are kept", api("GET", path).json["logs"][-1]["message"])

    def test_what_happens_to_it_stands_in_its_place(self):
        with own() as sandbox:
            path = f"/v2/sandboxes/{sandbox.sandbox_id}/logs"

            def say(word):
                sandbox.commands.run(f"echo {word} > /dev/ttyS0", user="root")
                until(lambda: [entry for entry in api("GET", path).json["logs"] if entry["message"] == word], word)

            say("before-the-change")
            sandbox.update_network({"deny_out": ["203.0.113.0/24"]})
            seen = api("GET", path).json["logs"]
            say("after-the-change")
            lines = api("GET", path).json["logs"]
            words = [entry["message"] for entry in lines]
            at = next(i for i, word in enumerate(words) if "network rules" in word)
            self.assertLess(words.index("before-the-change"), at)
            self.assertGreater(words.index("after-the-change"), at)
            self.assertEqual(lines[:len(seen)], seen, "what was there keeps its place and its time")
            times = [entry["timestamp"] for entry in lines]
            self.assertEqual(times, sorted(set(times)), "each has a time of its own")
            sandbox.pause()
            sandbox.connect()
            self.assertIn(f"sandbox {sandbox.sandbox_id} resumed", api("GET", path).json["logs"][-1]["message"])

    def test_the_old_form_has_lines_that_are_json_of_a_level(self):
        answer = api("GET", f"/sandboxes/{shared().sandbox_id}/logs")
        self.assertEqual(answer.status, 200)
        for entry in answer.json["logs"]:
            self.assertGreater(seconds(entry["timestamp"]), time.time() - 3600)
            self.assertIn("level", json.loads(entry["line"]))
        self.assertEqual(len(answer.json["logEntries"]), len(answer.json["logs"]))

    def test_limit_and_start(self):
        path = f"/sandboxes/{shared().sandbox_id}/logs"
        self.assertEqual(api("GET", path + "?limit=0").json["logs"], [])
        late = int((time.time() + 3600) * 1000)
        self.assertEqual(api("GET", f"{path}?start={late}").json["logs"], [])
        self.refused(api("GET", path + "?limit=-1"), 400, "limit")

    def test_the_new_form(self):
        path = f"/v2/sandboxes/{shared().sandbox_id}/logs"
        for entry in api("GET", path).json["logs"]:
            self.assertEqual({"timestamp", "level", "message", "fields"} - set(entry), set())
        forward, backward = (api("GET", f"{path}?direction={way}").json["logs"] for way in ("forward", "backward"))
        self.assertEqual(forward, backward[::-1])
        self.assertEqual(api("GET", path + "?search=never-said-by-anybody").json["logs"], [])
        for query in ("direction=up", "level=loud", "limit=1001"):
            self.refused(api("GET", f"{path}?{query}"), 400)

    def test_an_unknown_one_is_404(self):
        for path in (f"/sandboxes/{UNKNOWN}/logs", f"/v2/sandboxes/{UNKNOWN}/logs"):
            self.refused(api("GET", path), 404)


class Network(Case):
    def test_an_update_replaces_everything(self):
        with own() as sandbox:
            sandbox.update_network({"deny_out": ["203.0.113.0/24", "198.51.100.1"], "allow_out": ["203.0.113.7"]})
            network = sandbox.get_info().network
            self.assertEqual(network["deny_out"], ["203.0.113.0/24", "198.51.100.1"])
            self.assertEqual(network["allow_out"], ["203.0.113.7"])
            sandbox.update_network({"deny_out": ["198.51.100.2"]})
            network = sandbox.get_info().network
            self.assertEqual((network["deny_out"], network.get("allow_out")), (["198.51.100.2"], None))
            sandbox.update_network({})
            self.assertNotIn("network", detail(sandbox))

    def test_no_internet_by_either_way(self):
        with own() as sandbox:
            sandbox.update_network({"allow_internet_access": False})
            self.assertIs(sandbox.get_info().allow_internet_access, False)
            sandbox.update_network({})
            self.assertIs(sandbox.get_info().allow_internet_access, True)
            sandbox.update_network({"deny_out": [ALL_TRAFFIC]})
            self.assertIs(sandbox.get_info().allow_internet_access, False)

    def test_is_204_and_holds_for_a_paused_one(self):
        with own() as sandbox:
            sandbox.pause()
            answer = api("PUT", f"/sandboxes/{sandbox.sandbox_id}/network", {"denyOut": ["203.0.113.9"]})
            self.assertEqual((answer.status, answer.body), (204, b""))
            sandbox.connect()
            self.assertEqual(sandbox.get_info().network["deny_out"], ["203.0.113.9"])

    def test_names_cannot_be_denied_and_an_unknown_one_is_404(self):
        with own() as sandbox:
            with self.assertRaises(SandboxException) as caught:
                sandbox.update_network({"deny_out": ["example.com"]})
            self.assertEqual(caught.exception.status_code, 400)
            with self.assertRaises(SandboxException) as caught:
                sandbox.update_network({"allow_out": ["example.com"]})
            self.assertEqual(caught.exception.status_code, 400, "a name is allowed only where the rest is denied")
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.update_network(UNKNOWN, {})


if __name__ == "__main__":
    unittest.main()
