# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Refusals as clients read them: bodies, headers that stop retries, and creates that are made once."""
import http.server
import os
import pathlib
import re
import threading
import time
import unittest
import uuid

import e2b
import packages
from e2b import AuthenticationException, Sandbox, SandboxException, SandboxNotFoundException

from case import Case, api, detail, made, own, raw, shared

UNKNOWN = "i00000000000000000000"
BASE = {"templateID": "base", "timeout": 120}


def python_routes():
    """(method, path) of every call of the generated Python client, ids filled in."""
    routes = set()
    for source in (pathlib.Path(e2b.__file__).parent / "api/client/api").rglob("*.py"):
        text = source.read_text()
        method, url = re.search(r'"method": "(\w+)"', text), re.search(r'"url": f?"([^"]+)"', text)
        if method and url:
            routes.add((method[1].upper(), re.sub(r"\{\w+\}", "x", url[1])))
    return routes


def js_routes():
    """The same of npm's package, as its types describe them."""
    text = (packages.JS / "node_modules/e2b/dist/index.d.ts").read_text()
    routes, path = set(), None
    for line in text[text.index("interface paths {"):].split("\n}\n")[0].split("\n"):
        if named := re.match(r'\s+"(/[^"]*)": \{', line):
            path = re.sub(r"\{\w+\}", "x", named[1])
        elif (method := re.match(r"\s+(get|put|post|delete|patch)\??: (?!never)", line)) and path:
            routes.add((method[1].upper(), path))
    return routes


class Counting(http.server.ThreadingHTTPServer):
    """Passes everything on to the daemon, and counts what is asked."""

    def __init__(self):
        self.seen = []
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.server.seen.append((self.command, self.path, dict(self.headers)))
            answer = raw(self.command, self.path, body or None,
                         {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")})
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = do_PUT = pass_on

        def log_message(self, *_):
            pass


class Bodies(Case):
    def test_every_refusal_is_json_with_the_status_as_its_code(self):
        one = shared().sandbox_id
        for method, path, body, status in (
                ("POST", "/v2/sandboxes", "no json", 400), ("POST", "/v2/sandboxes", [], 400), ("POST", "/v2/sandboxes", None, 400),
                ("POST", "/v2/sandboxes", {**BASE, "templateID": "no-such"}, 404),
                ("GET", f"/sandboxes/{UNKNOWN}", None, 404), ("DELETE", f"/sandboxes/{UNKNOWN}", None, 404),
                ("POST", f"/sandboxes/{UNKNOWN}/pause", {}, 404), ("POST", f"/sandboxes/{UNKNOWN}/fork", {}, 404),
                ("POST", f"/sandboxes/{UNKNOWN}/snapshots", {}, 404), ("POST", f"/sandboxes/{UNKNOWN}/timeout", {"timeout": 5}, 404),
                ("PUT", f"/sandboxes/{UNKNOWN}/network", {}, 404), ("GET", f"/sandboxes/{UNKNOWN}/metrics", None, 404),
                ("DELETE", "/templates/no-such", None, 404), ("GET", "/templates/aliases/no-such", None, 404),
                ("GET", "/no/such/route", None, 404), ("PATCH", "/v2/sandboxes", {}, 405),
                ("POST", f"/sandboxes/{one}/resume", {}, 409)):
            with self.subTest(f"{method} {path}"):
                answer = self.refused(api(method, path, body), status)
                self.assertEqual(answer.headers["Should-Retry"], "false")

    def test_no_success_without_a_body_is_chunked(self):
        with made() as answer:
            for method, path, body in (("POST", "timeout", {"timeout": 90}), ("POST", "refreshes", {"duration": 20}),
                                       ("PUT", "network", {}), ("POST", "pause", {}), ("DELETE", "", None)):
                done = api(method, f"/sandboxes/{answer['sandboxID']}/{path}".rstrip("/"), body)
                self.assertEqual((done.status, done.body, done.headers["Transfer-Encoding"]), (204, b"", None), path)

    def test_bodies_of_any_framing_and_a_body_on_delete(self):
        with made() as answer:
            chunked = raw("POST", f"/sandboxes/{answer['sandboxID']}/timeout", iter([b'{"time', b'out": 90}']),
                          {"X-API-KEY": os.environ["E2B_API_KEY"], "Content-Type": "application/json"})
            self.assertEqual(chunked.status, 204)
            self.assertEqual(api("DELETE", f"/sandboxes/{answer['sandboxID']}", {}).status, 204)

    def test_paths_are_percent_decoded(self):
        for name in ("base%3Adefault", "BASE", "%62ase"):
            self.assertEqual(api("GET", f"/templates/aliases/{name}").status, 200, name)


class Exceptions(Case):
    def test_each_status_is_its_exception(self):
        with self.assertRaises(AuthenticationException):
            Sandbox.create(api_key="e2b_" + "0" * 40)
        for call in (lambda: Sandbox.get_info(UNKNOWN), lambda: Sandbox.set_timeout(UNKNOWN, 5), lambda: Sandbox.get_metrics(UNKNOWN),
                     lambda: Sandbox.connect(UNKNOWN), lambda: Sandbox.pause(UNKNOWN), lambda: Sandbox.create_snapshot(UNKNOWN),
                     lambda: Sandbox.update_network(UNKNOWN, {}), lambda: Sandbox.fork(UNKNOWN)):
            with self.assertRaises(SandboxNotFoundException):
                call()
        self.assertEqual([Sandbox.kill(UNKNOWN), Sandbox.delete_snapshot("no-such:default")], [False, False])


class Retries(Case):
    """Python repeats 429, 502, 503 and 504 by itself, unless it is told that it would be in vain."""

    @classmethod
    def setUpClass(cls):
        cls.counting = Counting()
        cls.addClassCleanup(cls.counting.server_close)
        cls.addClassCleanup(cls.counting.shutdown)
        cls.url = f"http://{cls.counting.server_address[0]}:{cls.counting.server_address[1]}"

    def setUp(self):
        self.counting.seen.clear()

    def test_a_refusal_is_asked_for_once(self):
        with own() as sandbox:
            for call in (lambda: Sandbox.create(timeout=0, api_url=self.url), lambda: Sandbox.create("no-such", api_url=self.url),
                         lambda: Sandbox.fork(sandbox.sandbox_id, timeout=0, api_url=self.url)):
                self.counting.seen.clear()
                with self.assertRaises(SandboxException):
                    call()
                self.assertEqual(len(self.counting.seen), 1, self.counting.seen)

    def test_the_key_of_a_create_comes_as_a_header(self):
        key = f"conform-{uuid.uuid4()}"
        sandbox = Sandbox.create(timeout=60, idempotency_key=key, api_url=self.url)
        again = Sandbox.create(timeout=60, idempotency_key=key, api_url=self.url)
        try:
            self.assertEqual(again.sandbox_id, sandbox.sandbox_id)
            sent = [{k.lower(): v for k, v in headers.items()}.get("idempotency-key")
                    for method, path, headers in self.counting.seen if path.endswith("/sandboxes")]
            self.assertEqual(sent, [key, key])
        finally:
            sandbox.kill()


class Idempotency(Case):
    def create(self, key, body=None):
        return api("POST", "/v2/sandboxes", body or BASE, {"Idempotency-Key": key})

    def test_the_same_request_is_the_same_answer_and_one_sandbox(self):
        key, mark = str(uuid.uuid4()), {"metadata": {"once": str(uuid.uuid4())}}
        answers = [self.create(key, {**BASE, **mark}) for _ in range(3)]
        try:
            self.assertEqual({(a.status, a.body) for a in answers}, {(201, answers[0].body)})
            found = api("GET", f"/v2/sandboxes?metadata=once%3D{mark['metadata']['once']}").json
            self.assertEqual([one["sandboxID"] for one in found], [answers[0].json["sandboxID"]])
        finally:
            api("DELETE", f"/sandboxes/{answers[0].json['sandboxID']}")

    def test_another_body_is_422(self):
        key = str(uuid.uuid4())
        first = self.create(key)
        try:
            answer = self.refused(self.create(key, {**BASE, "timeout": 121}), 422)
            self.assertEqual(answer.json["error_code"], "idempotency_request_mismatch")
            self.assertEqual(answer.headers["Should-Retry"], "false")
        finally:
            api("DELETE", f"/sandboxes/{first.json['sandboxID']}")

    def test_while_it_runs_it_is_409(self):
        key, answers = str(uuid.uuid4()), []
        first = threading.Thread(target=lambda: answers.append(self.create(key, {**BASE, "cold": True})))
        first.start()
        time.sleep(0.3)
        answer = self.refused(self.create(key, {**BASE, "cold": True}), 409)
        self.assertEqual(answer.json["error_code"], "idempotency_in_progress")
        first.join()
        self.assertEqual(answers[0].status, 201)
        api("DELETE", f"/sandboxes/{answers[0].json['sandboxID']}")

    def test_a_create_that_failed_holds_no_key(self):
        key = str(uuid.uuid4())
        self.refused(self.create(key, {**BASE, "templateID": "no-such"}), 404)
        answer = self.create(key)
        self.assertEqual(answer.status, 201)
        api("DELETE", f"/sandboxes/{answer.json['sandboxID']}")

    def test_keys_that_are_none_are_400(self):
        for key in ("UPPER", "a b", "x" * 256, "a_b", ""):
            self.refused(self.create(key), 400, "Idempotency-Key")


class Unserved(Case):
    def test_what_e2b_has_and_we_have_not_is_never_taken_for_a_missing_sandbox(self):
        """`api` README: 501 and not 404."""
        self.refused(api("POST", "/v3/templates", {"name": "x"}), 501)

    def test_every_route_of_the_clients_is_known(self):
        """Served, or refused with 501 and its name, in the generated parts of both packages."""
        routes = python_routes() | js_routes()
        self.assertGreater(len(routes), 50, routes)
        for method, path in sorted(routes):
            with self.subTest(f"{method} {path}"):
                answer = api(method, path)
                self.assertNotEqual(answer.status, 405, answer.body)
                self.assertNotIn(b"no such route", answer.body)
                if answer.status == 501:
                    self.assertIn(f"{method} {path}", answer.json["message"])
                    self.assertEqual(raw(method, path).status, 401)

    def test_a_field_that_is_not_honoured_is_refused_by_its_name(self):
        for field, value in (("iam", {"tokens": {"aws": {"audience": "a", "tokenType": "JWT-SVID"}}}), ("noSuchField", 1)):
            self.refused(api("POST", "/v2/sandboxes", {**BASE, field: value}), 400, field)
        self.assertEqual(detail(shared())["state"], "running")


if __name__ == "__main__":
    unittest.main()
