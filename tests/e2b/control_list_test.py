# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Lists and details: states, order, pages over running and paused ones, filters."""
import datetime
import time
import unittest
import urllib.parse

from e2b import Sandbox, SandboxNotFoundException, SandboxQuery, SandboxState

from case import Case, api, detail, made, raw, seconds, shared

RUNNING, PAUSED = SandboxState.RUNNING, SandboxState.PAUSED
ENTRY = {"templateID", "sandboxID", "clientID", "envdVersion", "startedAt", "endAt", "cpuCount", "memoryMB", "diskSizeMB",
         "state"}


def pages(**options):
    """The pages of a list, each a list of ids."""
    paginator, found = Sandbox.list(**options), []
    while paginator.has_next:
        found.append([info.sandbox_id for info in paginator.next_items()])
    return found


def ids(metadata=None, **options):
    return [one for page in pages(query=SandboxQuery(metadata=metadata, **options)) for one in page]


class Three(Case):
    """Three of one kind, the middle one paused."""

    kind = {"list": "three", "a b": "c&d=é", "x": "100%+?#/"}

    @classmethod
    def setUpClass(cls):
        cls.three = []
        for number in range(3):
            sandbox = Sandbox.create(timeout=300, metadata={**cls.kind, "number": str(number)})
            cls.addClassCleanup(sandbox.kill)
            cls.three.append(sandbox)
        cls.paused_start = detail(cls.three[1])["startedAt"]
        cls.three[1].pause()
        cls.paused_at = time.time()
        cls.newest_first = [sandbox.sandbox_id for sandbox in reversed(cls.three)]

    def test_the_newest_start_is_first_and_a_pause_changes_nothing_of_it(self):
        self.assertEqual(ids({"list": "three"}), self.newest_first)
        self.assertEqual(detail(self.three[1])["startedAt"], self.paused_start)

    def test_asc_is_the_exact_reverse(self):
        for order, wanted in (("desc", self.newest_first), ("asc", self.newest_first[::-1])):
            answer = api("GET", f"/v2/sandboxes?order={order}&metadata=list%3Dthree")
            self.assertEqual([one["sandboxID"] for one in answer.json], wanted)
        self.refused(api("GET", "/v2/sandboxes?order=up"), 400, "order")

    def test_states(self):
        running = [self.three[2].sandbox_id, self.three[0].sandbox_id]
        for states, wanted in ((None, self.newest_first), ([RUNNING, PAUSED], self.newest_first), ([RUNNING], running),
                               ([PAUSED], [self.three[1].sandbox_id])):
            self.assertEqual(ids({"list": "three"}, state=states), wanted, states)
        for joined in ("running,paused", "running%2Cpaused"):  # as JavaScript sends it, and as Python does
            answer = api("GET", f"/v2/sandboxes?state={joined}&metadata=list%3Dthree")
            self.assertEqual([one["sandboxID"] for one in answer.json], self.newest_first)
        self.refused(api("GET", "/v2/sandboxes?state=dead"), 400, "state")

    def test_pages_are_of_one_order_over_running_and_paused(self):
        for size, wanted in ((1, [[one] for one in self.newest_first]), (2, [self.newest_first[:2], self.newest_first[2:]]),
                             (3, [self.newest_first]), (100, [self.newest_first])):
            self.assertEqual(pages(query=SandboxQuery(metadata={"list": "three"}), limit=size), wanted)

    def test_the_next_token_is_there_only_while_there_is_more(self):
        query = "/v2/sandboxes?limit=2&metadata=list%3Dthree"
        first = api("GET", query)
        self.assertGreaterEqual(int(first.headers["X-Total-Running"]), 2)
        last = api("GET", query + "&nextToken=" + urllib.parse.quote(first.headers["X-Next-Token"]))
        self.assertIsNone(last.headers["X-Next-Token"])
        self.assertEqual(len(last.json), 1)
        self.refused(api("GET", "/v2/sandboxes?nextToken=nonsense"), 400, "nextToken")

    def test_limits(self):
        for limit in ("0", "101", "-1", "x", "1.5"):
            self.refused(api("GET", f"/v2/sandboxes?limit={limit}"), 400, "limit")
        self.assertEqual(len(api("GET", "/v2/sandboxes?limit=1").json), 1)

    def test_metadata_with_special_characters_and_all_of_them_must_match(self):
        for wish in ({"a b": "c&d=é"}, {"x": "100%+?#/"}, self.kind):
            self.assertEqual(ids(wish), self.newest_first, wish)
        self.assertEqual(ids({"list": "three", "number": "0"}), [self.three[0].sandbox_id])
        self.assertEqual(ids({"list": "three", "number": "7"}), [])
        # As the JavaScript SDK was seen to encode {"a b": "c&d=é"}.
        answer = api("GET", "/v2/sandboxes?metadata=a%252520b%3Dc%252526d%25253D%2525C3%2525A9")
        self.assertEqual([one["sandboxID"] for one in answer.json], self.newest_first)
        self.refused(api("GET", "/v2/sandboxes?metadata=novalue"), 400, "metadata")

    def test_started_after_includes_the_very_moment(self):
        newest = self.three[2].get_info().started_at
        self.assertEqual(ids({"list": "three"}, started_after=newest), [self.three[2].sandbox_id])
        later = newest + datetime.timedelta(milliseconds=1)
        self.assertEqual(ids({"list": "three"}, started_after=later), [])
        oldest = self.three[0].get_info().started_at
        self.assertEqual(ids({"list": "three"}, started_after=oldest), self.newest_first)
        # JavaScript cuts to milliseconds, and so the API gives no finer dates.
        self.assertEqual(newest.microsecond % 1000, 0)
        self.refused(api("GET", "/v2/sandboxes?startedAfter=yesterday"), 400, "startedAfter")

    def test_template_by_name_and_id_unknown_is_empty_and_a_tag_is_400(self):
        template = detail(self.three[0])["templateID"]
        for name in ("base", template):
            self.assertEqual(ids({"list": "three"}, template=name), self.newest_first)
        self.assertEqual(ids({"list": "three"}, template="no-such"), [])
        self.refused(api("GET", "/v2/sandboxes?template=base:default"), 400, "template")

    def test_an_entry_has_all_that_clients_read(self):
        for entry in api("GET", "/v2/sandboxes?metadata=list%3Dthree").json:
            self.assertEqual(ENTRY - set(entry), set())
            self.assertEqual((entry["alias"], entry["metadata"]["list"]), ("base", "three"))
            self.assertNotIn("envdAccessToken", entry, "which is for the detail")

    def test_the_old_list_has_running_ones_only(self):
        found = [one["sandboxID"] for one in api("GET", "/sandboxes").json]
        self.assertIn(self.three[0].sandbox_id, found)
        self.assertNotIn(self.three[1].sandbox_id, found)
        answer = api("GET", "/sandboxes?metadata=list%3Dthree%26number%3D2")
        self.assertEqual([one["sandboxID"] for one in answer.json], [self.three[2].sandbox_id])

    def test_the_end_of_a_paused_one_is_its_pause(self):
        info = self.three[1].get_info()
        self.assertEqual(info.state, PAUSED)
        self.assertAlmostEqual(info.end_at.timestamp(), self.paused_at, delta=2)


class Details(Case):
    def test_a_detail_has_all_that_clients_read(self):
        info = detail(shared())
        wanted = ENTRY | {"alias", "metadata", "envdAccessToken", "allowInternetAccess", "lifecycle"}
        self.assertEqual(wanted - set(info), set())
        self.assertGreater(info["cpuCount"], 0)
        self.assertGreaterEqual(info["memoryMB"], 128)
        self.assertGreater(info["diskSizeMB"], 0)
        self.assertRegex(info["startedAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
        self.assertLess(abs(seconds(info["startedAt"]) - time.time()), 600)

    def test_an_unknown_one_is_not_found(self):
        with self.assertRaises(SandboxNotFoundException):
            Sandbox.get_info("i00000000000000000000")

    def test_ids_with_a_client_are_the_part_before_the_dash_and_more_dashes_are_400(self):
        with made() as answer:
            one = answer["sandboxID"]
            self.assertEqual(api("GET", f"/sandboxes/{one}-{answer['clientID']}").json["sandboxID"], one)
            for path in (f"/sandboxes/{one}-a-b", "/sandboxes/a-b-c", "/sandboxes/UPPER", "/sandboxes/a%20b"):
                self.refused(api("GET", path), 400)
            self.assertEqual(api("POST", f"/sandboxes/{one}-x/timeout", {"timeout": 60}).status, 204)
            self.assertEqual(api("DELETE", f"/sandboxes/{one}-x").status, 204)

    def test_without_a_key_or_with_a_wrong_one_everything_is_401(self):
        for headers in ({}, {"X-API-KEY": "e2b_" + "0" * 40}):
            for method, path in (("GET", "/v2/sandboxes"), ("POST", "/v2/sandboxes"), ("GET", f"/sandboxes/{shared().sandbox_id}"),
                                 ("DELETE", f"/sandboxes/{shared().sandbox_id}"), ("GET", "/snapshots")):
                self.refused(raw(method, path, headers=headers), 401)
        self.assertTrue(shared().is_running())


if __name__ == "__main__":
    unittest.main()
