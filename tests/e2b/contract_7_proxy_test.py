# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What is between the client and the guest: 502 bodies, ports, WebSocket, a sandbox that is killed."""
import base64
import hashlib
import json
import os
import re
import socket
import threading
import time
import unittest

import httpx
from e2b import Sandbox, SandboxException, TimeoutException
from e2b.exceptions import SandboxNotRunningException

from case import URL, WEBSOCKET_ECHO, Case, headers_for, own, raw, shared, until

SERVER = WEBSOCKET_ECHO + r"""
import sys, threading
class H(WebSocketEcho):
    def do_GET(self):
        if self.echoed_websocket(): return
        said = repr((self.path, self.headers.get("X-API-KEY"), self.headers.get("X-Mine"))).encode()
        self.send_response(203); self.send_header("Content-Length", str(len(said))); self.end_headers(); self.wfile.write(said)
    def do_POST(self):
        said = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers(); self.wfile.write(said)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def port_headers(port, **more):
    return {**headers_for(shared(), port=port, token=False), **more}


class Ports(Case):
    @classmethod
    def setUpClass(cls):
        shared().files.write("/tmp/server.py", SERVER)
        cls.server = shared().commands.run("python3 /tmp/server.py 8081", background=True, timeout=0)
        until(lambda: raw("GET", "/", headers=port_headers(8081)).status == 203, "the guest's server answers")

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()

    def test_servers_on_the_guests_loopback_are_reached(self):
        answer = raw("GET", "/a%20b?c=d", headers=port_headers(8081, **{"X-Mine": "1", "X-API-KEY": "secret"}))
        self.assertEqual((answer.status, eval(answer.body)), (203, ("/a%20b?c=d", None, "1")), "and see no API key")
        self.assertEqual(raw("POST", "/", b"x" * 100_000, port_headers(8081)).body, b"x" * 100_000)

    def test_host_names_route_too(self):
        host = f"8081-{shared().sandbox_id}.{os.environ['TINDERBOX_DOMAIN']}"
        self.assertEqual(raw("GET", "/h", headers={"Host": host}).status, 203)
        self.assertEqual(shared().get_host(8081).partition(".")[0], f"8081-{shared().sandbox_id}")

    def test_a_closed_port_is_502_in_e2bs_words(self):
        answer = raw("GET", "/", headers=port_headers(8099))
        self.assertEqual(answer.status, 502)
        self.assertEqual(answer.json, {"sandboxId": shared().sandbox_id, "port": 8099, "code": 502,
                                       "message": "The sandbox is running but port is not open"})

    def test_an_unknown_sandbox_is_502_in_e2bs_words(self):
        answer = raw("GET", "/", headers={"E2b-Sandbox-Id": "i0000000000000000zzzz", "E2b-Sandbox-Port": "80"})
        self.assertEqual(answer.status, 502)
        self.assertEqual(answer.json, {"sandboxId": "i0000000000000000zzzz", "code": 502,
                                       "message": "The sandbox was not found"})

    def test_a_malformed_address_is_400_and_text(self):
        for headers in ({"E2b-Sandbox-Id": "a-b-c!"}, {"E2b-Sandbox-Id": shared().sandbox_id, "E2b-Sandbox-Port": "x"}):
            answer = raw("GET", "/", headers=headers)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.headers["Content-Type"].startswith("text/plain"))

    def test_browsers_that_navigate_get_a_page(self):
        answer = raw("GET", "/", headers=port_headers(8099, **{"Sec-Fetch-Mode": "navigate"}))
        self.assertEqual(answer.status, 502)
        self.assertTrue(answer.headers["Content-Type"].startswith("text/html"))
        self.assertIn(b"port is not open", answer.body)

    def test_a_server_that_is_just_starting_is_waited_for(self):
        handle = shared().commands.run("sleep 0.1; exec python3 -m http.server --bind 127.0.0.1 8082", background=True, timeout=0)
        until(lambda: raw("GET", "/", headers=port_headers(8082)).status == 200, "it answers")
        handle.kill()

    def test_websockets_pass(self):
        key = base64.b64encode(os.urandom(16)).decode()
        with socket.create_connection((URL.hostname, URL.port), timeout=20) as ws:
            head = {"Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": key,
                    "Sec-WebSocket-Version": "13", **port_headers(8081)}
            ws.sendall(("GET /ws HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n").encode())
            stream = ws.makefile("rb")
            self.assertIn(b"101", stream.readline())
            while (line := stream.readline().strip()):
                if line.lower().startswith(b"sec-websocket-accept"):
                    wanted = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
                    self.assertEqual(line.split()[1], base64.b64encode(wanted))
            ws.sendall(bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello")
            self.assertEqual(stream.read(13), bytes([0x81, 11]) + b"echo: hello")


class Ends(Case):
    """A sandbox that is killed while it is used."""

    def test_is_running_and_calls_after_the_kill(self):
        sandbox = Sandbox.create(timeout=60)
        self.assertTrue(sandbox.is_running())
        self.assertTrue(sandbox.kill())
        self.assertFalse(sandbox.is_running())
        self.assertFalse(sandbox.kill())
        for call in (lambda: sandbox.commands.run("true"), lambda: sandbox.files.read("/etc/passwd"),
                     lambda: sandbox.files.list("/"), lambda: sandbox.files.write("/tmp/a", "x")):
            with self.assertRaises(SandboxNotRunningException):
                call()

    def test_killed_mid_command_is_not_running_and_at_once(self):
        with own() as sandbox:
            handle = sandbox.commands.run("sleep 60", background=True)
            threading.Timer(0.3, sandbox.kill).start()
            began = time.monotonic()
            with self.assertRaises(SandboxNotRunningException):
                handle.wait()
            self.assertLess(time.monotonic() - began, 10)

    def test_killed_mid_command_resets_the_connection_without_end_stream(self):
        from case import start
        with own() as sandbox:
            stream = start("echo x; sleep 60", sandbox=sandbox)
            frames = stream.frames()
            next(frames), next(frames)
            threading.Timer(0.2, sandbox.kill).start()
            with self.assertRaises((ConnectionError, OSError)):
                next(frames)

    def test_expired_mid_command_is_not_running_too(self):
        sandbox = Sandbox.create(timeout=60)
        handle = sandbox.commands.run("sleep 60", background=True)
        sandbox.set_timeout(1)
        with self.assertRaises(SandboxNotRunningException):
            handle.wait()

    def test_expiry_ends_within_a_second_or_so(self):
        sandbox = Sandbox.create(timeout=60)
        sandbox.set_timeout(1)
        began = time.monotonic()

        def gone():
            try:
                return not sandbox.is_running()
            except httpx.TransportError:
                return False  # asked in the very moment: connections are reset then, as the contract says

        until(gone, "it is gone", 5)
        self.assertLess(time.monotonic() - began, 3.5)


class Facts(Case):
    def test_ids_and_envd_version_and_token(self):
        answer = raw("GET", f"/sandboxes/{shared().sandbox_id}", headers={"X-API-KEY": os.environ["E2B_API_KEY"]}).json
        self.assertRegex(answer["sandboxID"], r"^[a-z0-9]+$")
        self.assertRegex(answer["envdVersion"], r"^\d+\.\d+\.\d+$")
        self.assertGreaterEqual(tuple(map(int, answer["envdVersion"].split("."))), (0, 6, 4))
        self.assertEqual(answer["envdAccessToken"], shared()._envd_access_token)
        with_client = raw("GET", f"/sandboxes/{shared().sandbox_id}-client", headers={"X-API-KEY": os.environ["E2B_API_KEY"]})
        self.assertEqual(with_client.status, 200)

    def test_the_guests_clock_is_the_hosts(self):
        self.assertLess(abs(float(self.sh("date +%s.%N")) - time.time()), 1.5)

    def test_the_base_template_has_what_clients_count_on(self):
        """Contract §5.5."""
        self.sh("set -e; for p in bash sh realpath sleep cat sudo curl git python3 tput; do command -v $p >/dev/null; done; "
                "test -f ~/.bashrc; test -w /tmp; test \"$(umask)\" = 0022; sudo -n true; ! command -v mcp-gateway")


if __name__ == "__main__":
    unittest.main()
