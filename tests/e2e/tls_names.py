#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a command where every name below a domain is this machine: tls_names.py DOMAIN COMMAND...

What a wildcard in the DNS does for a real host. In a mount namespace of its own /etc/resolv.conf names a server that
answers here, on an address of loopback that nobody else uses; nothing outside the command sees any of it.
"""
import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

SERVER = "127.53.53.53"
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 0x40000, 0x1000


def answer(query, domain):
    """127.0.0.1 for an A query below `domain`, no data for other types, "no such name" for the rest."""
    labels, at = [], 12
    while (size := query[at]) != 0:
        labels.append(query[at + 1:at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    kind = struct.unpack(">H", query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    known = ".".join(labels).endswith("." + domain)
    found = known and kind == 1
    head = query[:2] + struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, int(found), 0, 0)
    return head + question + (b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + bytes([127, 0, 0, 1]) if found else b"")


def serve(bound, domain):
    while True:
        query, client = bound.recvfrom(4096)
        bound.sendto(answer(query, domain), client)


def mount(libc, source, target, flags):
    if libc.mount(source, target, None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), "mount", target)


def main(domain, command):
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((SERVER, 53))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount(libc, b"none", b"/", MS_REC | MS_PRIVATE)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write(f"nameserver {SERVER}\n")
        resolver.flush()
        os.chmod(resolver.name, 0o644)
        mount(libc, resolver.name.encode(), b"/etc/resolv.conf", MS_BIND)
        threading.Thread(target=serve, args=(bound, domain), daemon=True).start()
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
