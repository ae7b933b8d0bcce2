# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""out_client.py KIND ADDRESS NAME CALLERS AMOUNT   asks the HTTPS server NAME at ADDRESS, and prints a JSON object.

KIND is `requests` (AMOUNT seconds of GET /128 by CALLERS at once, each on one kept connection), `connections` (the same, but
each on a new one: TCP, TLS, the request, its end), `down` or `up` (AMOUNT bytes on one connection that has answered before).
Runs in a guest and in a guest's place alike, and does the same wherever its connection leads: the chain of certificates is
not looked at, since that would be a longer one for some servers, and no session is resumed.
"""
import json
import os
import socket
import ssl
import sys
import time

BLOCK = memoryview(bytearray(b"x" * (256 << 10)))
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


class Connection:
    def __init__(self, address, name):
        plain = socket.create_connection((address, 443), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = CONTEXT.wrap_socket(plain, server_hostname=name)
        self.name = name
        self.get = self.head("GET /128")
        self.whole = 0

    def head(self, line, more=""):
        return f"{line} HTTP/1.1\r\nHost: {self.name}\r\n{more}\r\n".encode()

    def answer(self):
        """The answer's head, and how much of its body came with it."""
        seen = b""
        while b"\r\n\r\n" not in seen:
            data = self.sock.recv(65536)
            if not data:
                raise SystemExit(f"no answer: {seen!r}")
            seen += data
        head, _, rest = seen.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"refused: {seen!r}")
        return head, len(rest)

    def drain(self, left):
        into = memoryview(bytearray(256 << 10))
        while left > 0:
            n = self.sock.recv_into(into[:min(left, len(into))])
            if n == 0:
                raise SystemExit("the other end hung up")
            left -= n

    def request(self):
        self.sock.sendall(self.get)
        if self.whole == 0:  # the first: all others are as long
            head, have = self.answer()
            self.drain(128 - have)
            self.whole = len(head) + 4 + 128
            return
        have = len(self.sock.recv(4096))
        while have < self.whole:
            n = len(self.sock.recv(4096))
            if n == 0:
                raise SystemExit("the other end hung up")
            have += n

    def down(self, size):
        self.sock.sendall(self.head("GET /body"))
        head, have = self.answer()
        if f"content-length: {size}".encode() not in head.lower():
            raise SystemExit(f"not {size} bytes: {head!r}")
        self.drain(size - have)

    def up(self, size):
        self.sock.sendall(self.head("POST /up", f"Content-Length: {size}\r\n"))
        while size > 0:
            part = BLOCK[:min(size, len(BLOCK))]
            self.sock.sendall(part)
            size -= len(part)
        self.answer()

    def close(self):
        self.sock.close()


def caller(kind, address, name, seconds, ready, go):
    """[how many, in how many seconds], once all others are ready, too."""
    kept = Connection(address, name)
    kept.request()
    os.write(ready, b".")
    os.read(go, 1)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        if kind == "requests":
            kept.request()
        else:
            new = Connection(address, name)
            new.request()
            new.close()
        count += 1
    return [count, time.perf_counter() - begun]


def together(kind, address, name, callers, seconds):
    """A process for each: no two of them wait for one interpreter."""
    ready, go, results = os.pipe(), os.pipe(), []
    for _ in range(callers):
        result = os.pipe()
        if os.fork() == 0:
            try:
                os.write(result[1], json.dumps(caller(kind, address, name, seconds, ready[1], go[0])).encode())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(result[1])
        results.append(result[0])
    os.close(ready[1])
    for _ in range(callers):
        if not os.read(ready[0], 1):
            raise SystemExit("a caller has ended")
    os.write(go[1], b"." * callers)
    done = [json.loads(os.read(result, 4096) or "null") for result in results]
    if None in done:
        raise SystemExit("a caller has ended")
    return {"count": sum(count for count, _ in done), "rate": sum(count / taken for count, taken in done)}


def main(kind, address, name, callers, amount):
    if kind in ("requests", "connections"):
        return together(kind, address, name, int(callers), float(amount))
    connection = Connection(address, name)
    connection.request()
    begun = time.perf_counter()
    getattr(connection, kind)(int(amount))
    return {"count": int(amount) / (1 << 20), "rate": int(amount) / (1 << 20) / (time.perf_counter() - begun)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
