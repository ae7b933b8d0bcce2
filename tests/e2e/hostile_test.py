#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients: slow ones, ones that never read, hoards of idle connections, heads and uploads without end.
Each time the daemon's memory stays bounded, the client gets the right error, and other sandboxes go on."""
import json
import re
import resource
import select
import socket
import struct
import threading
import time
import unittest

from harness import DaemonTest, read

AGENT_PORT = 49983


class HostileTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        cls.files = hard

    def setUp(self):
        self.sockets = []
        self.addCleanup(lambda: [s.close() for s in self.sockets])
        self.bystander = self.daemon.create()
        self.before = self.memory()

    def memory(self):
        """The daemon's memory in MiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{self.daemon.process.pid}/status"))[1]) / 1024

    def bounded(self, more):
        self.assertLess(self.memory() - self.before, more, f"MiB more than the {self.before:.0f} before")

    def others_go_on(self):
        began = time.monotonic()
        self.assertEqual(self.tb("exec", self.bystander, "--", "echo", "on", timeout=20).stdout, "on\n")
        self.assertLess(time.monotonic() - began, 10)

    def connect(self, first=b""):
        connection = socket.create_connection(("127.0.0.1", self.daemon.port), timeout=30)
        self.sockets.append(connection)
        connection.sendall(first)
        return connection

    def victim(self):
        """A sandbox, and the head fields that lead to its agent."""
        status, _, made = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300})
        self.assertEqual(status, 201, made)
        fields = f"Host: localhost\r\nE2b-Sandbox-Id: {made['sandboxID']}\r\nE2b-Sandbox-Port: {AGENT_PORT}\r\n"
        if made.get("envdAccessToken"):
            fields += f"X-Access-Token: {made['envdAccessToken']}\r\n"
        return made["sandboxID"], fields

    def status_of(self, connection):
        """The status of the answer; None where the connection ends without one."""
        head = b""
        try:
            while b"\r\n" not in head:
                got = connection.recv(4096)
                if not got:
                    return None
                head += got
        except ConnectionError:
            return None
        return int(head.split(b" ")[1])

    def ended(self, connection):
        """Whether the daemon has closed it."""
        connection.setblocking(False)
        try:
            while connection.recv(65536):
                pass
            return True
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def test_slow_heads_and_bodies_are_cut_off(self):
        _, fields = self.victim()
        key = f"Host: localhost\r\nX-API-KEY: {self.daemon.api_key()}\r\n"
        heads = [self.connect(b"GET /health HTTP/1.1\r\n") for _ in range(200)]
        post = "POST {} HTTP/1.1\r\n{}Content-Length: 1000\r\nContent-Type: {}\r\n\r\n"
        bodies = [self.connect(post.format("/v2/sandboxes", key, "application/json").encode()) for _ in range(20)]
        bodies += [self.connect(post.format("/files?path=/home/user/slow", fields, "application/octet-stream").encode())
                   for _ in range(20)]
        began = time.monotonic()
        # Heads come letter by letter: each byte is progress, and their time runs out all the same.
        while time.monotonic() - began < 33:
            for connection in heads:
                try:
                    connection.send(b"x")
                except ConnectionError:
                    pass
            time.sleep(1)
            if int(time.monotonic() - began) % 10 == 5:
                self.others_go_on()
        self.assertEqual([self.ended(c) for c in heads].count(False), 0, "slow heads that are still there")
        while time.monotonic() - began < 75 and not all(self.ended(c) for c in bodies):
            time.sleep(1)
        self.assertEqual([self.ended(c) for c in bodies].count(False), 0, "slow bodies that are still there")
        self.bounded(30)
        self.others_go_on()

    def test_clients_that_never_read(self):
        sandbox, fields = self.victim()
        message = json.dumps({"process": {"cmd": "/usr/bin/yes", "args": ["never read"]}}).encode()
        body = b"\0" + struct.pack(">I", len(message)) + message
        start = ("POST /process.Process/Start HTTP/1.1\r\n" + fields + "Content-Type: application/connect+json\r\n"
                 f"Connect-Protocol-Version: 1\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        readers = [self.connect(start) for _ in range(10)]
        for connection in readers:
            self.assertTrue(select.select([connection], [], [], 20)[0], "the stream has begun")
        for _ in range(5):
            time.sleep(1)
            self.bounded(60)
        self.others_go_on()
        # The sandbox itself serves others too.
        self.assertEqual(self.tb("exec", sandbox, "--", "echo", "still").stdout, "still\n")
        # What comes is a stream, and begins with its head.
        self.assertEqual(self.status_of(readers[0]), 200)

    def test_ten_thousand_idle_connections(self):
        count = min(10_000, self.files - 1000)
        self.assertGreater(count, 5000, "files per process")
        busy = 0
        for i in range(count):
            connection = self.connect()
            if i % 1000 == 999:
                self.bounded(100)
        self.others_go_on()
        # The network of a new sandbox needs nftables, whose library uses select(2).
        self.tb("rm", self.daemon.create("--cold"))
        # A client with a request is served beside them: at once, or if it comes again after a 503.
        deadline = time.monotonic() + 10
        while True:
            client = self.connect(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status = self.status_of(client)
            if status == 200:
                break
            self.assertEqual(status, 503)
            busy += 1
            self.assertLess(time.monotonic(), deadline, f"refused {busy} times")
            time.sleep(0.3)
        self.assertEqual(self.daemon.api("GET", "/v2/sandboxes")[0], 200)
        self.bounded(100)
        open_ones = sum(not self.ended(c) for c in self.sockets)
        self.assertLessEqual(open_ones, 4200, "connections that the daemon holds")

    def test_heads_of_a_megabyte(self):
        _, fields = self.victim()
        for lines in ("Host: localhost\r\n", fields):
            for head in ("GET / HTTP/1.1\r\n" + lines + "X-Large: " + "x" * (1 << 20) + "\r\n\r\n",
                         "GET /" + "x" * (1 << 20) + " HTTP/1.1\r\n" + lines + "\r\n",
                         "GET / HTTP/1.1\r\n" + lines + "X-Many: y\r\n" * 100_000 + "\r\n"):
                connection = self.connect()
                sender = threading.Thread(target=self.send_quietly, args=(connection, head.encode()))
                sender.start()
                self.assertEqual(self.status_of(connection), 431)
                sender.join()
        self.bounded(20)
        self.others_go_on()

    def send_quietly(self, connection, data):
        try:
            connection.sendall(data)
        except OSError:
            pass

    def test_an_upload_of_five_gigabytes_to_a_full_disk(self):
        sandbox, fields = self.victim()
        self.tb("exec", "-u", "root", sandbox, "--", "sh", "-c",
                "f=$(df --output=avail -B1M / | tail -n 1); fallocate -l $((f - 20))M /filler; "
                "dd if=/dev/zero of=/filler2 bs=1M 2>/dev/null; truncate -s -8M /filler2")
        size = 5 << 30
        connection = self.connect(
            ("POST /files?path=/home/user/huge&username=root HTTP/1.1\r\n" + fields
             + f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n").encode())
        began = time.monotonic()
        block, sent = bytes(1 << 20), 0
        # As any client that looks for an answer while it sends.
        while sent < size and not select.select([connection], [], [], 0)[0]:
            try:
                sent += connection.send(block)
            except ConnectionError:
                break
        self.assertEqual(self.status_of(connection), 507)
        self.assertLess(time.monotonic() - began, 30)
        self.assertLess(sent, 512 << 20, "bytes until the answer")
        self.bounded(40)
        self.others_go_on()
        # The sandbox lives, and has room again.
        self.tb("exec", "-u", "root", sandbox, "--", "sh", "-c", "rm -f /filler /filler2 /home/user/huge; echo x > /x")


if __name__ == "__main__":
    unittest.main(verbosity=2)
