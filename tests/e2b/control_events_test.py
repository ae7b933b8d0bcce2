# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle events, as E2B documents them: no SDK has a call for them, programs fetch them."""
import time
import unittest
import uuid

from e2b import Sandbox

from case import Case, api, made, own, seconds, until

UNKNOWN = "i00000000000000000000"


def events(path="", query=""):
    answer = api("GET", f"/events/sandboxes{path}?limit=100{query}")
    assert answer.status == 200, answer
    return answer.json


def types(found):
    return [event["type"].removeprefix("sandbox.lifecycle.") for event in found]


class Events(Case):
    def test_a_life_from_create_to_kill(self):
        began = time.time()
        sandbox = Sandbox.create(metadata={"owner": "events"}, timeout=120)
        sandbox.set_timeout(300)
        sandbox.update_network({"deny_out": ["203.0.113.0/24"]})
        snapshot = sandbox.create_snapshot()
        sandbox.pause()
        sandbox.connect(timeout=60)
        sandbox.kill()
        Sandbox.delete_snapshot(snapshot.snapshot_id)
        found = events(f"/{sandbox.sandbox_id}", "&orderAsc=true")
        self.assertEqual(types(found), ["created", "updated", "updated", "checkpointed", "paused", "resumed", "killed"])
        for event in found:
            self.assertEqual(set(event), {"version", "id", "type", "eventData", "sandboxBuildId", "sandboxExecutionId", "sandboxId",
                                          "sandboxTeamId", "sandboxTemplateId", "timestamp"})
            self.assertEqual(event["version"], "v2")
            self.assertEqual(event["sandboxId"], sandbox.sandbox_id)
            for name in ("id", "sandboxBuildId", "sandboxTeamId", "sandboxExecutionId"):
                uuid.UUID(event[name])
            self.assertEqual(event["eventData"]["sandbox_metadata"], {"owner": "events"})
            self.assertGreater(seconds(event["timestamp"]), began - 2)
        created, timed, _, checkpointed, paused, resumed, killed = found
        self.assertAlmostEqual(seconds(timed["eventData"]["set_timeout"]), seconds(timed["timestamp"]) + 300, delta=5)
        self.assertTrue(checkpointed["eventData"]["snapshot_id"])
        for event, start in ((paused, created), (killed, resumed)):
            life = event["eventData"]["execution"]
            self.assertAlmostEqual(seconds(life["started_at"]), seconds(start["timestamp"]), delta=1)
            self.assertAlmostEqual(life["execution_time"] / 1000, seconds(event["timestamp"]) - seconds(start["timestamp"]), delta=1)
            self.assertEqual((life["vcpu_count"], life["memory_mb"]), (killed["eventData"]["execution"]["vcpu_count"],
                                                                       killed["eventData"]["execution"]["memory_mb"]))
            self.assertEqual(event["sandboxExecutionId"], start["sandboxExecutionId"])
        self.assertNotEqual(created["sandboxExecutionId"], resumed["sandboxExecutionId"])
        self.assertEqual(killed["eventData"]["detail"], "on request")

    def test_the_end_of_its_time_is_told(self):
        with made(timeout=1) as sandbox:
            path = f"/{sandbox['sandboxID']}"
            found = until(lambda: [event for event in events(path) if event["type"].endswith("killed")], "its end")
            self.assertEqual(found[0]["eventData"]["detail"], "its time was over")

    def test_of_all_sandboxes_filtered_paged_and_ordered(self):
        with own() as one, own() as other:
            both = {one.sandbox_id, other.sandbox_id}
            newest = events()
            self.assertLessEqual(both, {event["sandboxId"] for event in newest})
            self.assertEqual([event["timestamp"] for event in newest], sorted((event["timestamp"] for event in newest), reverse=True))
            created = events(query="&types=sandbox.lifecycle.created&types=sandbox.lifecycle.killed")
            self.assertLessEqual(set(types(created)), {"created", "killed"})
            self.assertEqual(len(api("GET", "/events/sandboxes").json), min(10, len(newest)))
            page = api("GET", f"/events/sandboxes/{one.sandbox_id}?offset=1").json
            self.assertEqual(page, events(f"/{one.sandbox_id}")[1:])

    def test_what_never_was_has_none_and_a_wrong_query_is_400(self):
        self.assertEqual(events(f"/{UNKNOWN}"), [])
        for query in ("limit=0", "limit=101", "offset=-1", "orderAsc=yes", "types=created"):
            self.refused(api("GET", f"/events/sandboxes?{query}"), 400, query.split("=")[0])
        self.refused(api("POST", "/events/webhooks", {}), 501)


if __name__ == "__main__":
    unittest.main()
