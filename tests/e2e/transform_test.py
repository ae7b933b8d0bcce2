#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Headers that are set, and secrets that are filled in, on the way out of a real guest: what the server
gets, and what the guest never sees. A network namespace plays the internet (network_test.py)."""
import json
import pathlib
import sys
import unittest

from harness import STATE, Daemon, DaemonTest, wait_for
from network_test import Internet

# Web servers that note down what they were asked. Names with "two" in front are 203.0.113.2, all others .1.
SERVER = r"""
import base64, hashlib, http.server, json, pathlib, socket, ssl, struct, sys, threading
LOG = pathlib.Path(sys.argv[3]) / "requests"
def dns():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("203.0.113.53", 53))
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        kind = struct.unpack(">H", query[end - 4:end - 2])[0]
        address = "203.0.113.2" if query[13:13 + query[12]] == b"two" else "203.0.113.1"
        answer = b"" if kind != 1 else b"\xc0\x0c\0\1\0\1\0\0\0\x01\0\4" + socket.inet_aton(address)
        sock.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack(">H", 1 if answer else 0) + b"\0\0\0\0" + query[12:end] + answer, peer)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def note(self, body, **more):
        with open(LOG, "a") as log:
            log.write(json.dumps({"at": list(self.server.server_address), "path": self.path, "method": self.command,
                                  "headers": self.headers.items(), "body": body, **more}) + "\n")
    def frame(self):
        # (opcode, payload) of one frame of a client; no opcode where it ended in order.
        head = self.rfile.read(2)
        if not head: return None, b""
        assert head[0] & 0x70 == 0 and head[0] & 0x80 and head[1] & 0x80, head  # whole, and masked
        size = head[1] & 0x7f
        if size > 125: size = int.from_bytes(self.rfile.read(2 if size == 126 else 8), "big")
        mask = self.rfile.read(4)
        data = self.rfile.read(size)
        whole = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        return head[0] & 15, whole
    def send_frame(self, opcode, data):
        size = bytes([len(data)]) if len(data) < 126 else struct.pack(">BH", 126, len(data)) if len(data) < 65536 else struct.pack(">BQ", 127, len(data))
        self.wfile.write(bytes([0x80 | opcode]) + size + data)
    def websocket(self):
        # Greets, sends back what comes, leaves when told to.
        self.close_connection = True
        accept = hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.send_response(101); self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode()); self.end_headers()
        sizes, left, end = [], False, "lost"
        try:
            self.connection.settimeout(30)
            self.send_frame(1, b"welcome")
            while True:
                opcode, data = self.frame()
                if opcode is None: end = "ended without a word"; break
                if opcode == 8:
                    end = f"{'answered' if left else 'closed'} {int.from_bytes(data[:2], 'big')} {data[2:].decode()}"
                    if not left: self.send_frame(8, data)
                    break
                sizes.append(len(data))
                left = data == b"leave"
                self.send_frame(8, struct.pack(">H", 1001) + b"going away") if left else self.send_frame(opcode, data)
            self.connection.unwrap()
        except (OSError, AssertionError) as error: end += f" ({error!r})"
        self.note(sum(sizes), frames=sizes, end=end)
    def answer(self):
        if self.headers.get("Upgrade") == "websocket": return self.websocket()
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16): body += self.rfile.read(size); self.rfile.readline()
            self.rfile.readline()
        self.note(len(body))
        self.send_response(200); self.send_header("Content-Length", "6"); self.end_headers(); self.wfile.write(b"hello\n")
    do_GET = do_POST = do_PUT = do_TRACE = answer
    def log_message(self, *_): pass
threading.Thread(target=dns, daemon=True).start()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
LOG.touch()
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_): pass  # a client that does not trust us, or ends
for host in ("203.0.113.1", "203.0.113.2"):
    for port in (80, 443):
        server = Server((host, port), Handler)
        if port == 443: server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
print("up", flush=True)
threading.Event().wait()
"""
VALUE = "s3cret-value-that-nobody-sees"
RULES = {"api.example.test": [{"transform": {"headers": {"Authorization": "Bearer ${e2b.secrets.api-key}", "X-Plain": "yes"}}}]}
# What is raw in RFC 6455, by hand: opens, waits for what the server says of itself, sends each frame only when the one before
# has come back, and ends as it is told to. Prints what the server's end was.
WEBSOCKET = r"""
import base64, hashlib, os, socket, ssl, struct, sys
how = sys.argv[1]
raw = socket.create_connection(("api.example.test", 443), 15)
raw.settimeout(15)
sock = ssl.create_default_context().wrap_socket(raw, server_hostname="api.example.test")
key = base64.b64encode(os.urandom(16))
sock.sendall(b"GET /socket HTTP/1.1\r\nHost: api.example.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Authorization: mine\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
stream = sock.makefile("rb")
status = stream.readline()
assert status.startswith(b"HTTP/1.1 101 "), status
head = {}
while (line := stream.readline()) != b"\r\n":
    name, _, value = line.decode().partition(":"); head[name.lower()] = value.strip()
accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
assert (head["upgrade"], head["sec-websocket-accept"]) == ("websocket", accept), head
def send(opcode, data):
    size = len(data)
    sizes = bytes([0x80 | size]) if size < 126 else struct.pack(">BH", 254, size) if size < 65536 else struct.pack(">BQ", 255, size)
    mask = os.urandom(4)
    masked = int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    sock.sendall(bytes([0x80 | opcode]) + sizes + mask + masked.to_bytes(size, "big"))
def receive():
    first, size = stream.read(2)
    assert first & 0x80 and size < 128, "whole, and not masked"
    if size > 125: size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
    return first & 15, stream.read(size)
assert receive() == (1, b"welcome")
for opcode, data in ((1, b"a"), (2, b""), (1, b"b" * 125), (2, os.urandom(126)), (2, os.urandom(65535)), (2, os.urandom(300_000)), (1, b"z")):
    send(opcode, data)
    assert receive() == (opcode, data), len(data)
if how == "close":
    send(8, struct.pack(">H", 1000) + b"bye")
elif how == "leave":
    send(1, b"leave")
if how != "vanish":
    opcode, data = receive()
    assert opcode == 8, opcode
    if how == "leave": send(8, data)
    assert stream.read() == b"", "nothing after the close"
    print(int.from_bytes(data[:2], "big"), data[2:].decode())
sock.unwrap()
"""
# Everything that a guest could look for it in.
SEARCH = f"""
for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; tr '\\0' '\\n' < $p/cmdline; done 2>/dev/null > /tmp/processes
grep -rlsI -e {VALUE[:10]}''{VALUE[10:]} /etc /home /root /tmp /run /var /usr/local /opt /srv; true
"""


class TransformTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.internet = Internet(SERVER)
        cls.addClassCleanup(cls.internet.close)
        cls.log = pathlib.Path(cls.internet.directory.name) / "requests"
        cls.daemon = Daemon()
        config = cls.daemon.config.read_text()
        cls.daemon.config.write_text(config.replace("[network]\n", f'[network]\nca_file = "{cls.internet.certificate}"\n'))
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()

    def setUp(self):
        self.log.write_text("")
        self.tb("secret", "set", "api-key", input=VALUE)
        self.addCleanup(self.tb, "secret", "rm", "-f", "api-key")

    def create(self, rules=None, **network):
        body = {"templateID": "base", "network": {"rules": RULES if rules is None else rules, **network}}
        status, _, answer = self.daemon.api("POST", "/v2/sandboxes", body)
        self.assertEqual(status, 201, answer)
        return answer["sandboxID"]

    def guest(self, sandbox, *command):
        return self.tb("exec", sandbox, "--", *command, check=False)

    def curl(self, sandbox, *arguments):
        return self.guest(sandbox, "curl", "-sS", "-m", "15", *arguments)

    def requests(self):
        """What the servers were asked since the last look: (address, port, headers, whole)."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [(*entry["at"], {name.lower(): value for name, value in entry["headers"]}, entry) for entry in entries]

    def test_the_server_gets_the_secret_and_the_guest_never(self):
        sandbox = self.create()
        seen = self.curl(sandbox, "-v", "-H", "authorization: mine", "https://api.example.test/v1")
        self.assertEqual(seen.stdout, "hello\n", seen.stderr)
        [(address, port, headers, _)] = self.requests()
        self.assertEqual((address, port), ("203.0.113.1", 443))
        self.assertEqual((headers["authorization"], headers["x-plain"]), (f"Bearer {VALUE}", "yes"))
        self.assertNotIn(VALUE, seen.stderr)
        # Python's own TLS, a body, and several requests on one connection.
        python = (
            "import http.client\n"
            "c = http.client.HTTPSConnection('api.example.test', timeout=15)\n"
            "for body in ('x' * 100000, iter([b'one', b'two']), ''):\n"
            "    c.request('POST', '/p', body, {'Host': 'api.example.test'}, encode_chunked=not isinstance(body, str))\n"
            "    print(c.getresponse().read().decode(), end='')\n"
        )
        ran = self.guest(sandbox, "python3", "-c", python)
        self.assertEqual(ran.stdout, "hello\n" * 3, ran.stderr)
        asked = self.requests()
        self.assertEqual([entry["body"] for *_, entry in asked], [100000, 6, 0])
        self.assertEqual({headers["authorization"] for _, _, headers, _ in asked}, {f"Bearer {VALUE}"})
        # In the clear, and whatever address the guest would rather have.
        plain = self.curl(sandbox, "--resolve", "api.example.test:80:203.0.113.2", "http://api.example.test/")
        self.assertEqual(plain.stdout, "hello\n", plain.stderr)
        [(address, port, headers, _)] = self.requests()
        self.assertEqual((address, port, headers["authorization"]), ("203.0.113.1", 80, f"Bearer {VALUE}"))
        # It is nowhere in the guest, nor in what the host writes down.
        self.assertEqual(self.guest(sandbox, "sh", "-c", SEARCH).stdout, "")
        self.assertNotIn(VALUE, self.daemon.log.read_text())
        for file in (STATE.glob("tinderbox.db*")):
            self.assertNotIn(VALUE.encode(), file.read_bytes())
        self.assertNotIn(VALUE, json.dumps(self.daemon.inspect(sandbox)))

    def test_other_hosts_are_left_alone(self):
        sandbox = self.create()
        # End to end: the certificate is the server's own.
        script = "import ssl; print(ssl.get_server_certificate(('two.example.test', 443)), end='')"
        seen = self.guest(sandbox, "python3", "-c", script)
        self.assertEqual(seen.stdout, pathlib.Path(self.internet.certificate).read_text(), seen.stderr)
        self.assertNotEqual(self.curl(sandbox, "https://two.example.test/").returncode, 0, "an unknown authority")
        plain = self.curl(sandbox, "http://two.example.test/")
        self.assertEqual(plain.stdout, "hello\n", plain.stderr)
        [(address, _, headers, _)] = self.requests()
        self.assertEqual((address, "authorization" in headers), ("203.0.113.2", False))

    def test_what_would_carry_the_secret_elsewhere_is_refused(self):
        sandbox = self.create({**RULES, "wrong.other.test": RULES["api.example.test"]})
        for arguments, status in ((("-H", "Host: two.example.test", "https://api.example.test/"), "421"),
                                  (("-X", "TRACE", "https://api.example.test/"), "405"),
                                  (("https://wrong.other.test/",), "502")):
            answer = self.curl(sandbox, "-w", "%{http_code}", *arguments)
            self.assertTrue(answer.stdout.endswith(status), (arguments, answer.stdout, answer.stderr))
            self.assertNotIn(VALUE, answer.stdout)
        self.assertEqual(self.requests(), [])

    def test_websockets_pass_with_the_secret_in_their_upgrade(self):
        sandbox = self.create()
        for how, seen, end in (("close", "1000 bye\n", "closed 1000 bye"), ("leave", "1001 going away\n", "answered 1001 going away"),
                               ("vanish", "", "ended without a word")):
            with self.subTest(how):
                ran = self.guest(sandbox, "python3", "-c", WEBSOCKET, how)
                self.assertEqual((ran.returncode, ran.stdout), (0, seen), ran.stderr)
                wait_for(lambda: self.log.stat().st_size, 10, "the server has seen the end")
                [(address, port, headers, entry)] = self.requests()
                self.assertEqual((address, port, headers["authorization"]), ("203.0.113.1", 443, f"Bearer {VALUE}"))
                self.assertEqual(entry["frames"], [1, 0, 125, 126, 65535, 300_000, 1] + [5] * (how == "leave"))
                self.assertEqual(entry["end"], end)

    def test_secrets_change_and_go(self):
        sandbox = self.create()
        self.tb("secret", "set", "API-Key", input="another")
        self.curl(sandbox, "https://api.example.test/")
        self.assertEqual(self.requests()[0][2]["authorization"], "Bearer another")
        self.tb("secret", "rm", "api-key")
        gone = self.curl(sandbox, "-w", "%{http_code}", "https://api.example.test/")
        self.assertIn("secret 'api-key'", gone.stdout)
        self.assertTrue(gone.stdout.endswith("502"), gone.stdout)
        self.assertEqual(self.requests(), [])
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "network": {"rules": RULES}})
        self.assertEqual((status, "'api-key'" in body["message"]), (400, True), body)

    def test_rules_are_shown_changed_and_inherited(self):
        sandbox = self.create({})
        self.assertNotEqual(self.curl(sandbox, "https://api.example.test/").returncode, 0)
        put = lambda rules: self.daemon.api("PUT", f"/sandboxes/{sandbox}/network", {"rules": rules})  # noqa: E731
        self.assertEqual(put(RULES)[0], 204)
        self.assertEqual(self.daemon.api("GET", f"/sandboxes/{sandbox}")[2]["network"]["rules"], RULES)
        answer = self.curl(sandbox, "https://api.example.test/")
        self.assertEqual(answer.stdout, "hello\n", answer.stderr)
        status, _, children = self.daemon.api("POST", f"/sandboxes/{sandbox}/fork", {"timeout": 300})
        self.assertEqual(status, 201, children)
        child = children[0]["sandbox"]["sandboxID"]
        self.assertEqual(self.daemon.api("GET", f"/sandboxes/{child}")[2]["network"]["rules"], RULES)
        self.assertEqual(self.curl(child, "https://api.example.test/").stdout, "hello\n")
        self.assertEqual([headers["authorization"] for _, _, headers, _ in self.requests()], [f"Bearer {VALUE}"] * 2)
        # A daemon that was killed leaves nothing to chance: the next one serves as the last did.
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.curl(sandbox, "https://api.example.test/").stdout, "hello\n")
        self.assertEqual(self.requests()[0][2]["authorization"], f"Bearer {VALUE}")
        self.assertEqual(put({})[0], 204)
        self.assertNotEqual(self.curl(sandbox, "https://api.example.test/").returncode, 0)
        self.assertEqual(self.requests(), [])

    def test_a_rule_makes_nothing_reachable(self):
        sandbox = self.create(denyOut=["0.0.0.0/0"])
        self.assertNotEqual(self.curl(sandbox, "--resolve", "api.example.test:443:203.0.113.1",
                                      "https://api.example.test/").returncode, 0)
        named = self.create(denyOut=["0.0.0.0/0"], allowOut=["api.example.test"])
        answer = self.curl(named, "https://api.example.test/")
        self.assertEqual(answer.stdout, "hello\n", answer.stderr)
        self.assertEqual([headers["authorization"] for _, _, headers, _ in self.requests()], [f"Bearer {VALUE}"])

    def test_the_users_own_variables_stay(self):
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {
            "templateID": "base", "envVars": {"SSL_CERT_FILE": "/mine"}, "network": {"rules": RULES}})
        self.assertEqual(status, 201, body)
        env = self.guest(body["sandboxID"], "env").stdout.splitlines()
        self.assertIn("SSL_CERT_FILE=/mine", env)
        self.assertIn("REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt", env)
        self.assertIn("NODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/tinderbox.crt", env)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
