# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: one sandbox per process, and calls below the SDK.

The tests run under the SDK's own interpreter, with E2B_API_KEY, E2B_API_URL and E2B_SANDBOX_URL set by
suite.py. A test's name, and its docstring where that is needed, is the statement of the contract that it
proves.
"""
import atexit
import base64
import contextlib
import datetime
import http.client
import json
import os
import struct
import time
import unittest
import urllib.parse

from e2b import Sandbox

URL = urllib.parse.urlsplit(os.environ["E2B_SANDBOX_URL"])
AGENT = 49983
# The begin of a program for a guest: a handler that echoes one message of a WebSocket.
WEBSOCKET_ECHO = r"""
import base64, hashlib, http.server
class WebSocketEcho(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def echoed_websocket(self):
        if self.headers.get("Upgrade", "").lower() != "websocket": return False
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101); self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        head = self.rfile.read(2); mask = self.rfile.read(4); n = head[1] & 127
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(n)))
        self.wfile.write(bytes([0x81, len(data) + 6]) + b"echo: " + data); self.close_connection = True
        return True
"""
_shared = {}


def shared():
    """The sandbox that all tests of this process use, who leave nothing behind that disturbs others."""
    if not _shared:
        _shared["sandbox"] = Sandbox.create(timeout=600, envs={"COLOUR": "green"}, metadata={"for": "conformance"})
        atexit.register(_shared["sandbox"].kill)
    return _shared["sandbox"]


@contextlib.contextmanager
def own(**options):
    """A sandbox for one test."""
    sandbox = Sandbox.create(timeout=300, **options)
    try:
        yield sandbox
    finally:
        sandbox.kill()


def headers_for(sandbox, port=AGENT, token=True):
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(port)}
    if token is True:
        headers["X-Access-Token"] = sandbox._envd_access_token
    elif token:
        headers["X-Access-Token"] = token
    return headers


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def raw(method, path, body=None, headers=None, timeout=60):
    """One request as it is written here: nothing is added but Host and the length."""
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def api(method, path, body=None, headers=None):
    """One request to the control API; `body` becomes JSON."""
    data = None if body is None else body if isinstance(body, (bytes, str)) else json.dumps(body)
    kind = {} if data is None else {"Content-Type": "application/json"}
    return raw(method, path, data, {"X-API-KEY": os.environ["E2B_API_KEY"], **kind, **(headers or {})})


def detail(sandbox):
    """What the API tells of a sandbox, given as an object of the SDK or by its id."""
    return api("GET", f"/sandboxes/{getattr(sandbox, 'sandbox_id', sandbox)}").json


def seconds(date):
    """A date of the API as seconds since 1970."""
    return datetime.datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp()


@contextlib.contextmanager
def made(body=None, path="/v2/sandboxes", **fields):
    """A sandbox by one raw create, for what the SDK cannot say: the answer's body."""
    answer = api("POST", path, {"templateID": "base", **(body or {}), **fields})
    assert answer.status == 201, answer.body
    try:
        yield answer.json
    finally:
        api("DELETE", f"/sandboxes/{answer.json['sandboxID']}")


def agent(method, path, body=None, headers=None, sandbox=None, token=True):
    """One request to the agent of a sandbox."""
    return raw(method, path, body, {**headers_for(sandbox or shared(), token=token), **(headers or {})})


def files(query, method="GET", **options):
    return agent(method, "/files?" + urllib.parse.urlencode(query), **options)


def unary(call, message, headers=None, **options):
    return agent("POST", "/" + call, json.dumps(message),
                 {"Content-Type": "application/json", "Connect-Protocol-Version": "1", **(headers or {})}, **options)


def frame(message, flag=0):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">BI", flag, len(data)) + data


class Stream:
    """A streaming call: frames() yields (flag, message) as they come."""

    def __init__(self, call, message, headers=None, sandbox=None, token=True, timeout=60):
        self.connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=timeout)
        self.connection.request(
            "POST", "/" + call, frame(message) if message is not None else b"",
            {**headers_for(sandbox or shared(), token=token), "Content-Type": "application/connect+json",
             "Connect-Protocol-Version": "1", **(headers or {})})
        self.answer = self.connection.getresponse()

    def frames(self):
        while head := self.answer.read(5):
            flag, length = struct.unpack(">BI", head)
            yield flag, json.loads(self.answer.read(length))

    def all(self):
        """(messages, end): what came, and the end-stream frame."""
        frames = list(self.frames())
        self.connection.close()
        messages = [message for flag, message in frames if flag == 0]
        ends = [message for flag, message in frames if flag == 2]
        assert len(ends) == 1 and frames[-1][0] == 2, frames
        return messages, ends[0]

    def close(self):
        self.answer.close()
        self.connection.close()


def start(script, more=None, headers=None, **options):
    """Starts /bin/sh -c SCRIPT below the SDK."""
    request = {"process": {"cmd": "/bin/sh", "args": ["-c", script]}, **(more or {})}
    return Stream("process.Process/Start", request, headers, **options)


def outcome(stream):
    """(stdout, end event, end-stream frame) of a process's stream."""
    messages, end = stream.all()
    out, ended = b"", None
    for message in messages:
        event = message["event"]
        out += base64.b64decode(event.get("data", {}).get("stdout", ""))
        ended = event.get("end", ended)
    return out, ended, end


def until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


class Case(unittest.TestCase):
    maxDiff = None

    def refused(self, answer, status, words=""):
        """Every error of the control API: JSON, a code that is the status, and words."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertTrue(answer.headers["Content-Type"].startswith("application/json"))
        self.assertEqual(answer.json["code"], status)
        self.assertIn(words, answer.json["message"])
        return answer

    def sh(self, script, user=None, sandbox=None):
        return (sandbox or shared()).commands.run(script, user=user).stdout
