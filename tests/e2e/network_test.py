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
import threading
import time
import unittest

from harness import PREFIX, DaemonTest

INTERNET = "tbinternet"
SERVER = r"""
import socket, struct, threading, http.server
def dns():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind(("203.0.113.53", 53))
    while True:
        query, peer = sock.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        kind = struct.unpack(">H", query[end - 4:end - 2])[0]
        answer = b"" if kind != 1 else b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.1")
        sock.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack(">H", 1 if answer else 0) + b"\0\0\0\0" + query[12:end] + answer, peer)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello {self.client_address[0]} {self.headers['Host']}\n".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
threading.Thread(target=dns, daemon=True).start()
servers = [http.server.ThreadingHTTPServer((host, 80), Handler) for host in ("203.0.113.1", "203.0.113.2")]
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
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
print("up", flush=True)
servers[0].serve_forever()
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Internet:
    def __init__(self):
        self.server = None
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
                        ("addr", "add", "203.0.113.53/32", "dev", "lo")):
            ip("-n", INTERNET, *command)
        ip("route", "add", "203.0.113.0/24", "via", "198.51.100.2")
        self.server = subprocess.Popen(["ip", "netns", "exec", INTERNET, sys.executable, "-c", SERVER],
                                       stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline() == "up\n"

    def close(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server.stdout.close()
        for command in (["link", "del", "tbi-host"], ["netns", "del", INTERNET]):
            subprocess.run(["ip", *command], capture_output=True)


class NetworkTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        internet = Internet()
        cls.addClassCleanup(internet.close)
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
        for entry in ("example.com", "2001:db8::/32"):
            for field in ("allowOut", "denyOut"):
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
        self.set_network(sandbox, expected=400, denyOut=["0.0.0.0/0"], allowOut=["example.com"])
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
