#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What a real guest reaches, and what not. A network namespace plays the internet, with addresses that
are reserved for documentation (RFC 5737): 203.0.113.1 and 203.0.113.2 are web servers, 203.0.113.53 a
name server."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from harness import PREFIX, DaemonTest

INTERNET = "tbinternet"
SERVER = r"""
import os, socket, ssl, struct, sys, threading, http.server
# Names by their first label; "inside" leads where nobody may go.
ADDRESSES = {"two": "203.0.113.2", "inside": "169.254.169.254"}
def dns():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("203.0.113.53", 53))
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        kind = struct.unpack(">H", query[end - 4:end - 2])[0]
        first = query[13:13 + query[12]].decode()
        answer = b"" if kind != 1 else b"\xc0\x0c\0\1\0\1\0\0\0\x01\0\4" + socket.inet_aton(ADDRESSES.get(first, "203.0.113.1"))
        sock.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack(">H", 1 if answer else 0) + b"\0\0\0\0" + query[12:end] + answer, peer)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"hello {self.client_address[0]} {self.headers['Host']}\n"
        if self.server.server_port == 443: body = f"secure hello from {self.server.server_address[0]}\n"
        body = body.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
threading.Thread(target=dns, daemon=True).start()
servers = [http.server.ThreadingHTTPServer((host, 80), Handler) for host in ("203.0.113.1", "203.0.113.2")]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
for host in ("203.0.113.1", "203.0.113.2"):
    secure = http.server.ThreadingHTTPServer((host, 443), Handler)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
def echo():
    # A connection that stands: one line back for each that comes.
    listener = socket.create_server(("203.0.113.2", 7))
    while True:
        peer = listener.accept()[0]
        def serve(peer=peer):
            with peer:
                while data := peer.recv(100): peer.sendall(data)
        threading.Thread(target=serve, daemon=True).start()
threading.Thread(target=echo, daemon=True).start()
def socks():
    # A SOCKS 5 proxy for user "me" that notes what it is asked for.
    listener = socket.create_server(("203.0.113.54", 1080))
    def read(peer, count):
        data = peer.recv(count, socket.MSG_WAITALL)
        if len(data) < count: raise EOFError
        return data
    def pump(a, b):
        try:
            while data := a.recv(65536): b.sendall(data)
        except OSError: pass
        try: b.shutdown(socket.SHUT_WR)
        except OSError: pass
    def serve(peer):
        with peer:
            read(peer, read(peer, 2)[1]); peer.sendall(b"\5\2")
            user = read(peer, read(peer, 2)[1]); password = read(peer, read(peer, 1)[0])
            good = (user, password) == (b"me", b"s3cret")
            peer.sendall(b"\1\0" if good else b"\1\1")
            if not good: return
            kind = read(peer, 4)[3]
            host = socket.inet_ntoa(read(peer, 4)) if kind == 1 else read(peer, read(peer, 1)[0]).decode()
            port = int.from_bytes(read(peer, 2), "big")
            print(host, port, file=log, flush=True)
            address = host if kind == 1 else ADDRESSES.get(host.split(".")[0], "203.0.113.1")
            try: to = socket.create_connection((address, port), 3)
            except OSError: peer.sendall(b"\5\5\0\1\0\0\0\0\0\0"); return
            with to:
                peer.sendall(b"\5\0\0\1\0\0\0\0\0\0")
                back = threading.Thread(target=pump, args=(to, peer), daemon=True); back.start()
                pump(peer, to); back.join()
    while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
log = open(sys.argv[3] + "/socks", "a")
threading.Thread(target=socks, daemon=True).start()
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
print("up", flush=True)
servers[0].serve_forever()
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Internet:
    def __init__(self, program=SERVER):
        """`program` is run in it with the paths of a certificate, of its key and of a directory."""
        self.program = program
        self.server = None
        self.directory = tempfile.TemporaryDirectory()
        subprocess.run(["ip", "netns", "del", INTERNET], capture_output=True)
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        ip("netns", "add", INTERNET)
        ip("link", "add", "tbi-host", "type", "veth", "peer", "name", "up0", "netns", INTERNET)
        ip("addr", "add", "198.51.100.1/24", "dev", "tbi-host")
        ip("link", "set", "tbi-host", "up")
        for command in (("addr", "add", "198.51.100.2/24", "dev", "up0"), ("link", "set", "up0", "up"),
                        ("link", "set", "lo", "up"), ("addr", "add", "203.0.113.1/32", "dev", "lo"),
                        ("addr", "add", "203.0.113.2/32", "dev", "lo"),
                        ("addr", "add", "203.0.113.53/32", "dev", "lo"), ("addr", "add", "203.0.113.54/32", "dev", "lo")):
            ip("-n", INTERNET, *command)
        # Single addresses: a host may reach its package registries by an address of the same network.
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.53", "203.0.113.54"):
            ip("route", "add", address, "via", "198.51.100.2")
        certificate = [os.path.join(self.directory.name, name) for name in ("certificate.pem", "key.pem")]
        self.certificate = certificate[0]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=played internet", "-addext", "subjectAltName=DNS:*.example.test,DNS:example.test",
                        "-out", certificate[0], "-keyout", certificate[1]], check=True, capture_output=True)
        self.server = subprocess.Popen(["nsenter", f"--net=/run/netns/{INTERNET}", sys.executable, "-c", self.program, *certificate,
                                        self.directory.name],
                                       stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline() == "up\n"

    def close(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
        self.directory.cleanup()
        for command in (["link", "del", "tbi-host"], ["netns", "del", INTERNET]):
            subprocess.run(["ip", *command], capture_output=True)


class NetworkTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        internet = Internet()
        cls.addClassCleanup(internet.close)
        cls.internet = internet
        super().setUpClass()

    def guest(self, sandbox, *command):
        return self.tb("exec", sandbox, "--", *command, check=False)

    def test_the_internet_by_address_and_by_name(self):
        sandbox = self.daemon.create()
        by_address = self.guest(sandbox, "curl", "-sS", "-m", "10", "http://203.0.113.1/")
        # Masqueraded: the server sees the host, not the guest.
        self.assertEqual(by_address.stdout, "hello 198.51.100.1 203.0.113.1\n", by_address.stderr)
        by_name = self.guest(sandbox, "curl", "-sS", "-m", "10", "http://www.example.test/")
        self.assertEqual(by_name.stdout, "hello 198.51.100.1 www.example.test\n", by_name.stderr)

    def test_without_internet_access_nothing_is_reached(self):
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "allow_internet_access": False})
        self.assertEqual(status, 201, body)
        result = self.guest(body["sandboxID"], "curl", "-sS", "-m", "3", "http://203.0.113.1/")
        self.assertNotEqual(result.returncode, 0)

    def create(self, **fields):
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", **fields})
        self.assertEqual(status, 201, body)
        return body["sandboxID"]

    def set_network(self, sandbox, expected=204, **rules):
        status, _, body = self.daemon.api("PUT", f"/sandboxes/{sandbox}/network", rules)
        self.assertEqual(status, expected, body)
        return body

    def network(self, sandbox):
        status, _, body = self.daemon.api("GET", f"/sandboxes/{sandbox}")
        self.assertEqual(status, 200, body)
        return body.get("network", {})

    def assert_reaches(self, sandbox, *expected):
        """Of the two web servers, just these answer."""
        reached = [host for host in ("203.0.113.1", "203.0.113.2")
                   if self.guest(sandbox, "curl", "-sS", "-m", "5", "-o", "/dev/null", f"http://{host}/").returncode == 0]
        self.assertEqual(reached, list(expected))

    def test_rules_by_address_at_create(self):
        self.assert_reaches(self.create(network={"denyOut": ["203.0.113.2"]}), "203.0.113.1")
        one = self.create(network={"denyOut": ["0.0.0.0/0"], "allowOut": ["203.0.113.2/32"]})
        self.assertEqual(self.network(one), {"allowOut": ["203.0.113.2"], "denyOut": ["0.0.0.0/0"]})
        self.assert_reaches(one, "203.0.113.2")
        # An exception opens nothing beyond the internet.
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "network": {"allowOut": ["169.254.169.254"]}})
        self.assertEqual((status, "169.254.169.254" in body["message"]), (400, True), body)
        for field, entry in (("allowOut", "2001:db8::/32"), ("denyOut", "2001:db8::/32"), ("denyOut", "example.com"),
                             ("allowOut", "*")):
            status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "network": {field: [entry]}})
            self.assertEqual((status, f"network.{field}" in body["message"]), (400, True), body)

    def test_rules_change_while_it_runs(self):
        sandbox = self.create()
        self.assert_reaches(sandbox, "203.0.113.1", "203.0.113.2")
        self.set_network(sandbox, denyOut=["203.0.113.0/30"], allowOut=["203.0.113.1"])
        self.assert_reaches(sandbox, "203.0.113.1")
        self.set_network(sandbox, allow_internet_access=False)
        self.assertEqual(self.network(sandbox), {})
        self.assert_reaches(sandbox)
        self.set_network(sandbox)
        self.assert_reaches(sandbox, "203.0.113.1", "203.0.113.2")
        # What is refused changes nothing.
        refused = self.set_network(sandbox, expected=400, allowOut=["example.com"])
        self.assertIn("everything else is denied", refused["message"])
        self.assert_reaches(sandbox, "203.0.113.1", "203.0.113.2")

    def test_a_connection_that_stands_is_cut(self):
        sandbox = self.create()
        talk = (
            "import socket, time\n"
            "s = socket.create_connection(('203.0.113.2', 7), 5)\n"
            "s.settimeout(3)\n"
            "while True:\n"
            "    s.sendall(b'x')\n"
            "    try: s.recv(1)\n"
            "    except OSError: print('cut', flush=True); break\n"
            "    print('talks', flush=True)\n"
            "    time.sleep(0.2)\n"
        )
        talker = self.daemon.popen("exec", sandbox, "--", "python3", "-c", talk, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(talker.stdout.close)
        self.addCleanup(talker.wait)
        self.addCleanup(talker.kill)
        self.assertEqual(talker.stdout.readline(), "talks\n")
        self.set_network(sandbox, denyOut=["203.0.113.2"])
        self.assertIn("cut\n", talker.communicate(timeout=60)[0])

    def test_rules_stay_with_forks_and_over_pause_and_restart(self):
        sandbox = self.create(network={"denyOut": ["203.0.113.2"]})
        status, _, body = self.daemon.api("POST", f"/sandboxes/{sandbox}/fork", {"timeout": 300})
        self.assertEqual(status, 201, body)
        child = body[0]["sandbox"]["sandboxID"]
        self.assertEqual(self.network(child), {"denyOut": ["203.0.113.2"]})
        self.assert_reaches(child, "203.0.113.1")
        # Theirs are their own.
        self.set_network(child, denyOut=["203.0.113.1"])
        self.assert_reaches(child, "203.0.113.2")
        self.assert_reaches(sandbox, "203.0.113.1")

        self.tb("pause", sandbox)
        self.daemon.stop()
        self.daemon.start()
        self.assert_reaches(child, "203.0.113.2")
        self.assertEqual(self.network(child), {"denyOut": ["203.0.113.1"]})
        self.tb("resume", sandbox)
        self.assert_reaches(sandbox, "203.0.113.1")
        self.tb("pause", sandbox)
        self.set_network(sandbox, denyOut=["203.0.113.1"])
        self.tb("resume", sandbox)
        self.assert_reaches(sandbox, "203.0.113.2")
        self.tb("rm", sandbox)
        self.assertEqual(self.daemon.api("PUT", f"/sandboxes/{sandbox}/network", {})[0], 404)

    def curl(self, sandbox, url, *options):
        """The answer of a web server, or "curl N" for curl's exit status."""
        result = self.guest(sandbox, "curl", "-ksS", "-m", "20", *options, url)
        return result.stdout.strip() if result.returncode == 0 else f"curl {result.returncode}"

    def test_allowed_names_pass_by_tls_and_http_and_nothing_else_does(self):
        allowed = ["two.example.test", "*.sub.example.test", "inside.example.test"]
        sandbox = self.create(network={"allowOut": allowed, "denyOut": ["0.0.0.0/0"]})
        self.assertEqual(self.network(sandbox), {"allowOut": allowed, "denyOut": ["0.0.0.0/0"]})
        two = "secure hello from 203.0.113.2"
        self.assertEqual(self.curl(sandbox, "http://two.example.test/"), "hello 198.51.100.1 two.example.test")
        self.assertEqual(self.curl(sandbox, "https://two.example.test/"), two)
        self.assertEqual(self.curl(sandbox, "https://a.b.sub.example.test/"), "secure hello from 203.0.113.1")
        # It is the server's own TLS: its certificate is what the guest sees.
        with open(self.internet.certificate, "rb") as certificate:
            self.daemon.tb("exec", "-i", sandbox, "--", "tee", "/tmp/ca.pem", input=certificate.read().decode())
        verified = self.guest(sandbox, "curl", "-sS", "-m", "20", "--cacert", "/tmp/ca.pem", "https://two.example.test/")
        self.assertEqual(verified.stdout.strip(), two, verified.stderr)

        # Other names, in words of the protocol that was spoken.
        refused = "'one.example.test' is out of reach by the network rules of this sandbox"
        self.assertEqual(self.curl(sandbox, "http://one.example.test/"), refused)
        denied = self.guest(sandbox, "curl", "-ksS", "-m", "20", "https://one.example.test/")
        self.assertEqual((denied.returncode, "access denied" in denied.stderr), (35, True), denied.stderr)
        self.assertEqual(self.curl(sandbox, "https://sub.example.test/"), "curl 35", "the apex is none of *.sub")

        # The right name at another's address leads to its own; a wrong one at the right address nowhere.
        self.assertEqual(self.curl(sandbox, "https://two.example.test/", "--resolve", "two.example.test:443:203.0.113.1"), two)
        self.assertEqual(self.curl(sandbox, "https://one.example.test/", "--resolve", "one.example.test:443:203.0.113.2"), "curl 35")
        self.assertEqual(self.curl(sandbox, "https://203.0.113.2/"), "curl 35")
        self.assertIn("out of reach", self.curl(sandbox, "http://203.0.113.2/"))
        self.assertEqual(self.curl(sandbox, "https://inside.example.test/"), "curl 7", "it leads to 169.254.169.254")
        self.assertEqual(self.curl(sandbox, "https://inside.example.test/", "--resolve", "inside.example.test:443:203.0.113.1"),
                         "curl 35")
        # Other ports, and name servers but the daemon's.
        probe = ("import socket, sys\n"
                 "try: socket.create_connection(('203.0.113.2', 7), 3); print('open')\n"
                 "except OSError: print('closed')\n"
                 "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)\n"
                 "query = b'ab\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\3one\\4test\\0\\0\\1\\0\\1'\n"
                 "for server in ('203.0.113.53', '203.0.113.1'):\n"
                 "    try: s.sendto(query, (server, 53)); s.recv(99); print('answers')\n"
                 "    except OSError: print('silent')\n")
        self.assertEqual(self.guest(sandbox, "python3", "-c", probe).stdout.split(), ["closed", "answers", "silent"])
        nobody = self.create(network={"allowOut": allowed, "denyOut": ["0.0.0.0/0"], "dnsServers": []})
        self.assertEqual(self.curl(nobody, "http://two.example.test/"), "curl 6", "no name server to ask")
        self.assertEqual(self.curl(nobody, "https://two.example.test/", "--resolve", "two.example.test:443:192.0.2.9"), two)

    def test_names_change_while_it_runs_and_stay_with_forks_and_over_pause_and_restart(self):
        url, two = "https://two.example.test/", "secure hello from 203.0.113.2"
        sandbox = self.create()
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "secure hello from 203.0.113.1")
        names = {"allowOut": ["two.example.test"], "denyOut": ["0.0.0.0/0"]}
        self.set_network(sandbox, **names)
        self.assertEqual(self.curl(sandbox, url), two)
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "curl 35")
        status, _, body = self.daemon.api("POST", f"/sandboxes/{sandbox}/fork", {"timeout": 300})
        self.assertEqual(status, 201, body)
        child = body[0]["sandbox"]["sandboxID"]
        self.assertEqual(self.network(child), names)
        self.assertEqual(self.curl(child, url), two)
        self.tb("pause", child)
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.curl(sandbox, url), two)
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "curl 35")
        self.tb("resume", child)
        self.assertEqual(self.curl(child, url), two)

        # A connection that stands is cut when its name is not allowed any more.
        talk = ("import socket, ssl, time\n"
                "c = ssl._create_unverified_context()\n"
                "s = c.wrap_socket(socket.create_connection(('two.example.test', 443), 5), server_hostname='two.example.test')\n"
                "while True:\n"
                "    try:\n"
                "        s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: keep-alive\\r\\n\\r\\n')\n"
                "        assert s.recv(9999)\n"
                "    except (OSError, AssertionError): print('cut', flush=True); break\n"
                "    print('talks', flush=True); time.sleep(0.2)\n")
        talker = self.daemon.popen("exec", sandbox, "--", "python3", "-c", talk, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(talker.stdout.close)
        self.addCleanup(talker.wait)
        self.addCleanup(talker.kill)
        self.assertEqual(talker.stdout.readline(), "talks\n")
        self.set_network(sandbox, denyOut=["0.0.0.0/0"], allowOut=["one.example.test"])
        self.assertIn("cut\n", talker.communicate(timeout=60)[0])
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "secure hello from 203.0.113.1")
        self.set_network(sandbox)
        self.assert_reaches(sandbox, "203.0.113.1", "203.0.113.2")

    def asked_of_proxy(self):
        """What the proxy was asked for since the last look."""
        with open(os.path.join(self.internet.directory.name, "socks"), encoding="utf-8") as log:
            log.seek(self.seen)
            lines = log.read().splitlines()
            self.seen = log.tell()
        return lines

    def test_all_goes_through_the_proxy_of_the_sandbox(self):
        self.seen = 0
        proxy = {"address": "203.0.113.54:1080", "username": "me", "password": "s3cret"}
        sandbox = self.create(network={"egressProxy": proxy, "denyOut": ["203.0.113.2"]})
        self.assertEqual(self.network(sandbox)["egressProxy"], {"address": "203.0.113.54:1080", "username": "me"})
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "secure hello from 203.0.113.1")
        self.assertEqual(self.curl(sandbox, "http://one.example.test/"), "hello 203.0.113.1 one.example.test", "the proxy is its client")
        talk = ("import socket, sys\n"
                "s = socket.create_connection((sys.argv[1], 7), 5); s.settimeout(5)\n"
                "s.sendall(b'x'); print(s.recv(1))\n")
        self.assertNotEqual(self.guest(sandbox, "python3", "-c", talk, "203.0.113.2").returncode, 0, "denied by its address")
        self.assertEqual(self.asked_of_proxy(), ["203.0.113.1 443", "203.0.113.1 80"])

        # Any port; names as names; nothing beside it.
        self.set_network(sandbox, egressProxy=proxy)
        self.assertEqual(self.guest(sandbox, "python3", "-c", talk, "203.0.113.2").stdout, "b'x'\n")
        self.assertEqual(self.asked_of_proxy(), ["203.0.113.2 7"])
        self.set_network(sandbox, egressProxy=proxy, allowOut=["two.example.test"], denyOut=["0.0.0.0/0"])
        self.assertEqual(self.curl(sandbox, "https://two.example.test/"), "secure hello from 203.0.113.2")
        self.assertEqual(self.curl(sandbox, "https://one.example.test/"), "curl 35")
        self.assertEqual(self.asked_of_proxy(), ["two.example.test 443"])
        self.tb("pause", sandbox)
        self.daemon.stop()
        self.daemon.start()
        self.tb("resume", sandbox)
        self.assertEqual(self.curl(sandbox, "https://two.example.test/"), "secure hello from 203.0.113.2")
        self.assertEqual(self.asked_of_proxy(), ["two.example.test 443"])

        # A proxy that refuses, or is not there, lets nothing through.
        for wrong in ({**proxy, "password": "wrong"}, {"address": "203.0.113.99:1080"}):
            self.set_network(sandbox, egressProxy=wrong)
            self.assertNotIn("hello", self.curl(sandbox, "http://203.0.113.1/"))
        self.assertEqual(self.asked_of_proxy(), [])
        self.set_network(sandbox, expected=400, egressProxy={"address": "10.0.0.1:1080"})
        self.set_network(sandbox)
        self.assertEqual(self.curl(sandbox, "http://one.example.test/"), "hello 198.51.100.1 one.example.test")

    def test_the_host_private_ranges_and_other_sandboxes_are_out_of_reach(self):
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        one, two = self.daemon.create(), self.daemon.create()
        slot = self.daemon.inspect(two)["slot"]
        self.assertEqual(self.guest(one, "curl", "-sS", "-m", "10", "http://203.0.113.1/").returncode, 0)
        hosts = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout
        targets = {(line.split()[3].split("/")[0], port) for line in hosts.splitlines()}
        targets |= {("169.254.0.22", port), ("169.254.169.254", 80), ("10.0.0.1", 80), ("172.16.0.1", 80),
                    ("192.168.0.1", 80), ("100.64.0.1", 80), ("198.51.100.1", port), ("198.51.100.1", self.daemon.port),
                    ("169.254.0.22", self.daemon.port)}
        base = (10 << 24) + (212 << 16) + slot * 4
        targets |= {(socket.inet_ntoa((base + i).to_bytes(4, "big")), 49983) for i in range(4)}
        targets -= {("127.0.0.1", port)}
        probe = (
            "import socket, sys, concurrent.futures\n"
            "def reach(t):\n"
            "    h, p = t.rsplit(':', 1)\n"
            "    try:\n"
            "        socket.create_connection((h, int(p)), 2).close(); return t\n"
            "    except OSError: return None\n"
            "with concurrent.futures.ThreadPoolExecutor(16) as pool:\n"
            "    print(*filter(None, pool.map(reach, sys.argv[1:])))\n"
        )
        result = self.guest(one, "python3", "-c", probe, *(f"{h}:{p}" for h, p in sorted(targets)))
        self.assertEqual(result.stdout, "\n", f"reached {result.stdout}")
        listener.settimeout(0)
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_no_ipv6(self):
        sandbox = self.daemon.create()
        probe = "import socket\nfor a in ('fe80::1%eth0', 'fd00::1', '2001:db8::1'):\n    s = socket.socket(socket.AF_INET6); s.settimeout(1)\n    try: s.connect((a, 80)); print('reached', a)\n    except OSError: pass\n"
        self.assertNotIn("reached", self.guest(sandbox, "python3", "-c", probe).stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
