# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""client.py KIND HOST PORT BYTES COUNT HEADERS   times transfers of BYTES; one JSON list of seconds.

KIND is `down` or `up` (plain TCP to bench_server), `get` or `post` (HTTP to bench_server), `read` or `write`
(a sandbox's /files). A program of its own, so that it runs in whatever network namespace. HEADERS is a JSON object.
"""
import json
import socket
import sys
import time

BLOCK = bytearray(b"x" * (1 << 20))


def receive(sock, count):
    view = memoryview(bytearray(1 << 20))
    while count > 0:
        n = sock.recv_into(view[:min(len(view), count)])
        if n == 0:
            raise SystemExit("the other end hung up")
        count -= n


def head_of(sock):
    """The answer's head, and how much of its body came with it."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        data = sock.recv(65536)
        if not data:
            raise SystemExit(f"no answer: {seen!r}")
        seen += data
    head, _, rest = seen.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 20"):
        raise SystemExit(f"refused: {seen!r}")
    return head, len(rest)


def send(sock, count):
    while count > 0:
        part = min(count, len(BLOCK))
        sock.sendall(memoryview(BLOCK)[:part])
        count -= part


def once(sock, kind, size, headers):
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if kind == "down":
        sock.sendall(f"DOWN {size}\r\n\r\n".encode())
        receive(sock, size)
    elif kind == "up":
        sock.sendall(f"UP {size}\r\n\r\n".encode())
        send(sock, size)
        receive(sock, 1)
    elif kind in ("get", "read"):
        path = f"/{size}" if kind == "get" else "/files?path=/dev/shm/bench&username=root"
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        head, have = head_of(sock)
        if f"content-length: {size}".encode() not in head.lower() and b"chunked" not in head.lower():
            raise SystemExit(f"not {size} bytes: {head!r}")
        receive(sock, size - have)
    else:
        path = "/" if kind == "post" else "/files?path=/dev/shm/bench&username=root"
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
                     f"Content-Length: {size}\r\n{more}\r\n".encode())
        send(sock, size)
        head_of(sock)


def main(kind, host, port, size, count, headers):
    taken = []
    for _ in range(int(count)):
        with socket.create_connection((host, int(port)), timeout=120) as sock:
            begun = time.perf_counter()
            once(sock, kind, int(size), json.loads(headers))
            taken.append(time.perf_counter() - begun)
    print(json.dumps(taken))


if __name__ == "__main__":
    main(*sys.argv[1:])
