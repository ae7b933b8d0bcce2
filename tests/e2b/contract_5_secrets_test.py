# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Secrets, by the SDKs' own modules (contract §5)."""
import asyncio
import os
import re
import subprocess
import unittest
import uuid

from e2b import AsyncSecret, Sandbox, Secret
from e2b.exceptions import InvalidArgumentException, SandboxException, SecretException, SecretNotFoundException

import packages
from case import Case, raw

JAVASCRIPT = """
import { Secret, SecretNotFoundError, SecretError } from 'e2b'
import assert from 'node:assert/strict'
const name = process.argv[1]
const made = await Secret.create(name, 'hidden', { metadata: { a: 'b' } })
assert.match(made.secretId, /^sec_/)
assert.deepEqual([made.name, made.version, made.metadata], [name.toLowerCase(), 1, { a: 'b' }])
assert.ok(Math.abs(made.createdAt - Date.now()) < 60_000)
await assert.rejects(Secret.create(name, 'hidden'), SecretError)
const second = await Secret.update(name, 'hidden too')
assert.deepEqual([second.version, second.metadata], [2, { a: 'b' }])
assert.deepEqual(await Secret.getInfo(made.secretId), second)
const names = []
for (const pages = Secret.list({ limit: 1 }); pages.hasNext;) names.push(...(await pages.nextItems()).map((s) => s.name))
assert.ok(names.includes(made.name))
assert.equal(await Secret.exists(name), true)
assert.equal(await Secret.destroy(made.secretId), true)
assert.equal(await Secret.destroy(name), false)
assert.equal(await Secret.exists(name), false)
await assert.rejects(Secret.update(name, 'x'), SecretNotFoundError)
"""


class Secrets(Case):
    def setUp(self):
        self.name = f"Case-{uuid.uuid4().hex}"
        self.addCleanup(Secret.destroy, self.name)

    def test_a_life_of_one(self):
        made = Secret.create(self.name, "hidden", metadata={"team": "x"})
        self.assertRegex(made.secret_id, "^sec_")
        self.assertEqual((made.name, made.version, made.metadata), (self.name.lower(), 1, {"team": "x"}))
        self.assertEqual(made.created_at, made.updated_at)
        self.assertEqual(Secret.get_info(self.name), made)
        second = Secret.update(made.secret_id, "hidden too")
        self.assertEqual((second.version, second.metadata), (2, {"team": "x"}))
        self.assertEqual(Secret.update(self.name, "hidden again", metadata={}).metadata, {})
        self.assertTrue(Secret.exists(self.name.upper()))
        self.assertTrue(Secret.destroy(self.name))
        self.assertFalse(Secret.destroy(self.name))
        self.assertFalse(Secret.exists(made.secret_id))

    def test_what_is_not_there(self):
        for call in (Secret.get_info, lambda name: Secret.update(name, "x")):
            with self.assertRaises(SecretNotFoundException):
                call(self.name)

    def test_a_name_is_taken_once(self):
        Secret.create(self.name, "hidden")
        with self.assertRaises(SecretException) as caught:
            Secret.create(self.name.upper(), "hidden")
        self.assertTrue(str(caught.exception).startswith("409"), caught.exception)
        self.assertNotIn("hidden", str(caught.exception))

    def test_what_no_name_value_or_metadata_can_be(self):
        for name, value, metadata in (("a b", "v", None), ("sec_a", "v", None), ("a" * 129, "v", None), (self.name, "", None),
                                      (self.name, "v", {str(n): "x" for n in range(33)})):
            with self.assertRaises(SecretException) as caught:
                Secret.create(name, value, metadata=metadata)
            self.assertTrue(str(caught.exception).startswith("400"), caught.exception)
        with self.assertRaises(InvalidArgumentException):
            Secret.fill("")

    def test_pages(self):
        names = sorted(f"{self.name}-{n}".lower() for n in range(3))
        for name in names:
            Secret.create(name, "hidden")
            self.addCleanup(Secret.destroy, name)
        pages, seen = Secret.list(limit=2), []
        while pages.has_next:
            items = pages.next_items()
            self.assertLessEqual(len(items), 2)
            seen += [item.name for item in items]
        self.assertEqual([name for name in seen if name in names], names)

    def test_the_asynchronous_module(self):
        async def live():
            made = await AsyncSecret.create(self.name, "hidden")
            self.assertEqual(await AsyncSecret.get_info(made.secret_id), made)
            self.assertEqual([s.name for s in await AsyncSecret.list(limit=100).next_items() if s.name == made.name], [made.name])
            self.assertTrue(await AsyncSecret.destroy(self.name))

        asyncio.run(live())

    def test_the_javascript_module(self):
        done = subprocess.run([packages.node(), "--input-type=module", "-e", JAVASCRIPT, "--", f"js-{self.name}"],
                              cwd=packages.JS, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_rules_with_secrets(self):
        rules = {"api.example.com": [{"transform": {"headers": {"Authorization": f"Bearer {Secret.fill(self.name)}"}}}]}
        with self.assertRaisesRegex(SandboxException, self.name.lower()):
            Sandbox.create(network={"rules": rules})
        Secret.create(self.name, "hidden")
        sandbox = Sandbox.create(timeout=300, network={"rules": rules})
        self.addCleanup(sandbox.kill)
        info = sandbox.get_info()
        self.assertEqual(info.network["rules"], rules)
        sandbox.update_network({"rules": {"*.example.com": [{"transform": lambda ctx: {"headers": {"X-By": "us"}}}]}})
        self.assertEqual(list(sandbox.get_info().network["rules"]), ["*.example.com"])

    def test_no_answer_tells_a_value(self):
        key = {"X-API-KEY": os.environ["E2B_API_KEY"], "Content-Type": "application/json"}
        Secret.create(self.name, "hidden")
        for method, path, body in (("GET", f"/secrets/{self.name}", None), ("GET", "/secrets", None),
                                   ("POST", f"/secrets/{self.name}", '{"value":"hidden"}')):
            answer = raw(method, path, body, key)
            self.assertEqual(answer.status, 200)
            self.assertIsNone(re.search(b"hidden|value", answer.body))


if __name__ == "__main__":
    unittest.main(verbosity=2)
