# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Who may use a sandbox's ports, and how the proxy speaks to them: allowPublicTraffic, maskRequestHost, httpsPorts."""
import base64
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest

from e2b import Sandbox

from case import URL, WEBSOCKET_ECHO, Case, headers_for, own, raw, until

# Answers with what it was asked, plain or with TLS, and echoes one WebSocket message.
SERVER = WEBSOCKET_ECHO + r"""
import json, ssl, sys
class H(WebSocketEcho):
    def do_GET(self):
        if self.echoed_websocket(): return
        said = json.dumps({"host": self.headers.get_all("Host"), "names": [k.lower() for k in self.headers]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers(); self.wfile.write(said)
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[1])), H)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain("/tmp/c.pem", "/tmp/k.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def serve(sandbox, port, address="0.0.0.0", tls=False):
    sandbox.files.write("/tmp/server.py", SERVER)
    sandbox.commands.run(f"python3 /tmp/server.py {port} {address} {'tls' if tls else ''}", background=True, timeout=0)
    until(lambda: sandbox.commands.run(f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' "
                                       "&& echo up || true").stdout == "up\n", f"the server on {port} listens", 30)


def give_certificate(sandbox):
    """One that nobody would vouch for."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=guest", "-keyout", "k.pem",
                        "-out", "c.pem"], cwd=directory, check=True, capture_output=True)
        for name in ("c.pem", "k.pem"):
            sandbox.files.write(f"/tmp/{name}", (pathlib.Path(directory) / name).read_text())


def get(sandbox, port, path="/", **more):
    return raw("GET", path, headers={**headers_for(sandbox, port=port, token=False), **more})


def websocket(sandbox, port, **more):
    """(the status line, the message that came back) of one WebSocket."""
    with socket.create_connection((URL.hostname, URL.port), timeout=20) as ws:
        head = {"Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), **headers_for(sandbox, port=port, token=False), **more}
        ws.sendall(("GET /ws HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n").encode())
        stream = ws.makefile("rb")
        status = stream.readline().split()[1]
        if status != b"101":
            return int(status), b""
        while stream.readline().strip():
            pass
        ws.sendall(bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello")
        return 101, stream.read(13)[2:]


def api(method, path, body=None):
    return raw(method, path, None if body is None else json.dumps(body),
               {"X-API-KEY": os.environ["E2B_API_KEY"], "Content-Type": "application/json"})


class AllowPublicTraffic(Case):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600, network={"allow_public_traffic": False}, lifecycle={"on_timeout": "pause",
                                                                                                    "auto_resume": True})
        cls.addClassCleanup(cls.sandbox.kill)
        serve(cls.sandbox, 8080)

    def token(self):
        return {"e2b-traffic-access-token": self.sandbox.traffic_access_token}

    def test_without_the_token_403_and_with_it_200_and_the_guest_never_sees_it(self):
        refused = get(self.sandbox, 8080)
        self.assertEqual(refused.status, 403)
        self.assertEqual((refused.json["sandboxId"], refused.json["code"]), (self.sandbox.sandbox_id, 403))
        self.assertEqual(get(self.sandbox, 8080, **{"e2b-traffic-access-token": "0" * 64}).status, 403)
        answer = get(self.sandbox, 8080, **self.token())
        self.assertEqual(answer.status, 200)
        self.assertNotIn("e2b-traffic-access-token", answer.json["names"])

    def test_by_host_name_too(self):
        host = f"8080-{self.sandbox.sandbox_id}.{os.environ['TINDERBOX_DOMAIN']}"
        self.assertEqual(raw("GET", "/", headers={"Host": host}).status, 403)
        self.assertEqual(raw("GET", "/", headers={"Host": host, **self.token()}).status, 200)

    def test_websockets_need_it(self):
        self.assertEqual(websocket(self.sandbox, 8080), (403, b""))
        self.assertEqual(websocket(self.sandbox, 8080, **self.token()), (101, b"echo: hello"))

    def test_a_browser_that_navigates_gets_a_page(self):
        page = get(self.sandbox, 8080, **{"Sec-Fetch-Mode": "navigate"})
        self.assertEqual(page.status, 403)
        self.assertIn("text/html", page.headers["Content-Type"])

    def test_the_agents_port_needs_none(self):
        self.assertEqual(get(self.sandbox, 49983, "/health").status, 204)
        self.assertEqual(self.sh("echo x", sandbox=self.sandbox), "x\n")

    def test_connect_and_detail_tell_the_token_and_lists_do_not(self):
        again = Sandbox.connect(self.sandbox.sandbox_id)
        self.assertEqual(again.traffic_access_token, self.sandbox.traffic_access_token)
        detail = api("GET", f"/sandboxes/{self.sandbox.sandbox_id}").json
        self.assertEqual(detail["trafficAccessToken"], self.sandbox.traffic_access_token)
        self.assertIs(detail["network"]["allowPublicTraffic"], False)
        self.assertIs(self.sandbox.get_info().network["allow_public_traffic"], False)
        self.assertNotIn(self.sandbox.traffic_access_token.encode(), api("GET", "/v2/sandboxes").body)

    def test_a_missing_token_does_not_wake_a_paused_sandbox_and_the_token_outlives_the_pause(self):
        self.sandbox.pause()
        self.assertEqual(get(self.sandbox, 8080).status, 403)
        self.assertEqual(websocket(self.sandbox, 8080)[0], 403)
        time.sleep(0.5)
        self.assertEqual(api("GET", f"/sandboxes/{self.sandbox.sandbox_id}").json["state"], "paused")
        self.assertEqual(get(self.sandbox, 8080, **self.token()).status, 200)
        self.assertEqual(api("GET", f"/sandboxes/{self.sandbox.sandbox_id}").json["state"], "running")

    def test_a_fork_is_closed_as_well_and_has_a_token_of_its_own(self):
        child = api("POST", f"/sandboxes/{self.sandbox.sandbox_id}/fork", {"timeout": 60}).json[0]["sandbox"]
        try:
            mine, its = self.sandbox.traffic_access_token, child["trafficAccessToken"]
            self.assertNotEqual(mine, its)
            headers = {"E2b-Sandbox-Id": child["sandboxID"], "E2b-Sandbox-Port": "8080"}
            self.assertEqual(raw("GET", "/", headers=headers).status, 403)
            self.assertEqual(raw("GET", "/", headers={**headers, "e2b-traffic-access-token": mine}).status, 403)
            self.assertEqual(raw("GET", "/", headers={**headers, "e2b-traffic-access-token": its}).status, 200)
        finally:
            api("DELETE", f"/sandboxes/{child['sandboxID']}")


class MaskAndTls(Case):
    @classmethod
    def setUpClass(cls):
        cls.sandbox = Sandbox.create(timeout=600, network={"mask_request_host": "app-${PORT}.example.com:${PORT}", "https_ports": [8443, 9443]})
        cls.addClassCleanup(cls.sandbox.kill)
        give_certificate(cls.sandbox)
        serve(cls.sandbox, 8080)
        serve(cls.sandbox, 8443, tls=True)
        serve(cls.sandbox, 9443, "127.0.0.1", tls=True)

    def test_the_guests_server_sees_the_masked_host_and_no_other(self):
        self.assertEqual(get(self.sandbox, 8080).json["host"], ["app-8080.example.com:8080"])
        host = f"8080-{self.sandbox.sandbox_id}.{os.environ['TINDERBOX_DOMAIN']}"
        self.assertEqual(raw("GET", f"http://{host}/", headers={"Host": host}).json["host"], ["app-8080.example.com:8080"])

    def test_the_agent_is_not_masked_and_works(self):
        self.assertEqual(self.sh("echo x", sandbox=self.sandbox), "x\n")
        self.assertEqual(get(self.sandbox, 49983, "/health").status, 204)

    def test_https_ports_are_spoken_to_in_tls_on_the_guests_network_and_its_loopback(self):
        for port in (8443, 9443):
            for _ in range(3):
                self.assertEqual(get(self.sandbox, port).json["host"], [f"app-{port}.example.com:{port}"])

    def test_websockets_pass_to_them(self):
        for port in (8443, 9443):
            self.assertEqual(websocket(self.sandbox, port), (101, b"echo: hello"))

    def test_detail_shows_what_was_asked_for_and_an_update_of_the_network_keeps_it(self):
        path = f"/sandboxes/{self.sandbox.sandbox_id}"
        wanted = {"maskRequestHost": "app-${PORT}.example.com:${PORT}", "httpsPorts": [8443, 9443]}
        self.assertEqual(api("GET", path).json["network"], wanted)
        self.assertIsNone(self.sandbox.traffic_access_token)
        self.assertEqual(api("PUT", path + "/network", {"httpsPorts": [1]}).status, 400)
        self.assertEqual(api("PUT", path + "/network", {}).status, 204)
        self.assertEqual(api("GET", path).json["network"], wanted)
        self.assertEqual(get(self.sandbox, 8443).status, 200)

    def test_what_cannot_be_is_400_by_name(self):
        for network, field in (({"httpsPorts": [49983]}, "httpsPorts"), ({"httpsPorts": [0]}, "httpsPorts"),
                               ({"maskRequestHost": "a\r\nb"}, "maskRequestHost")):
            answer = api("POST", "/v2/sandboxes", {"templateID": "base", "network": network})
            self.assertEqual(answer.status, 400)
            self.assertIn(field, answer.json["message"])

    def test_a_port_that_speaks_no_tls_is_502(self):
        with own(network={"https_ports": [8000]}) as sandbox:
            serve(sandbox, 8000)
            answer = get(sandbox, 8000)
            self.assertEqual((answer.status, answer.json["message"]), (502, "The sandbox's port does not speak TLS"))


if __name__ == "__main__":
    unittest.main()
