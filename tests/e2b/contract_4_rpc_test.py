# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Connect as envd speaks it, below the SDK: frames, errors, JSON, users, deadlines."""
import base64
import json
import time
import unittest

from e2b import AuthenticationException, NotFoundException

from case import Case, Stream, agent, frame, outcome, shared, start, unary


class Unary(Case):
    def test_errors_are_a_status_and_code_and_message(self):
        for call, message, status, code in (
                ("filesystem.Filesystem/Stat", {"path": "/no"}, 404, "not_found"),
                ("filesystem.Filesystem/MakeDir", {"path": "/tmp"}, 409, "already_exists"),
                ("filesystem.Filesystem/ListDir", {"path": "/etc/passwd"}, 400, "invalid_argument"),
                ("process.Process/SendSignal", {"process": {"pid": 99999}, "signal": "SIGNAL_SIGTERM"}, 404, "not_found"),
                ("process.Process/SendInput", {"process": {"pid": 1, "tag": 5}}, 404, "not_found")):
            answer = unary(call, message)
            self.assertEqual((answer.status, answer.json["code"]), (status, code), call)
            self.assertEqual(answer.headers["Content-Type"], "application/json")
            self.assertTrue(answer.json["message"])

    def test_an_unknown_method_or_signal_is_unimplemented(self):
        pid = shared().commands.run("exec sleep 60", background=True)
        try:
            answer = unary("process.Process/SendSignal", {"process": {"pid": pid.pid}, "signal": "SIGNAL_UNSPECIFIED"})
            self.assertEqual((answer.status, answer.json["code"]), (501, "unimplemented"))
        finally:
            pid.kill()
        self.assertIn(unary("process.Process/NoSuch", {}).status, (404, 501), "which clients read as unimplemented")

    def test_broken_json_is_invalid_argument(self):
        answer = agent("POST", "/filesystem.Filesystem/Stat", "{", {"Content-Type": "application/json"})
        self.assertEqual((answer.status, answer.json["code"]), (400, "invalid_argument"))

    def test_a_bad_user_is_unauthenticated(self):
        basic = {"Authorization": "Basic " + base64.b64encode(b"ghost:").decode()}
        answer = unary("filesystem.Filesystem/Stat", {"path": "/tmp"}, basic)
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.json, {"code": "unauthenticated", "message": "invalid username: 'ghost'"})
        with self.assertRaises(AuthenticationException):
            shared().files.exists("a", user="ghost")

    def test_replies_are_never_compressed_and_identity_is_no_coding(self):
        answer = unary("filesystem.Filesystem/Stat", {"path": "/etc"},
                       {"Accept-Encoding": "zstd, gzip, br", "Content-Encoding": "identity"})
        self.assertEqual(answer.status, 200)
        self.assertIsNone(answer.headers["Content-Encoding"])

    def test_unknown_fields_pass_and_both_spellings_are_read(self):
        answer = unary("filesystem.Filesystem/ListDir", {"path": "/", "depth": 1, "nobodyKnows": [1]})
        self.assertEqual(answer.status, 200)
        entry = unary("filesystem.Filesystem/Stat", {"path": "/etc/passwd"}).json["entry"]
        self.assertIsInstance(entry["size"], str, "int64 is a decimal string")
        self.assertRegex(entry["modifiedTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
        made = unary("filesystem.Filesystem/CreateWatcher", {"path": "/tmp"}).json["watcherId"]
        self.assertEqual(unary("filesystem.Filesystem/RemoveWatcher", {"watcher_id": made}).status, 200)


class Streams(Case):
    def test_frames_and_one_end_stream_and_the_type(self):
        stream = start("echo hi")
        self.assertEqual(stream.answer.status, 200)
        self.assertEqual(stream.answer.headers["Content-Type"], "application/connect+json")
        self.assertIsNone(stream.answer.headers["Content-Encoding"])
        messages, end = stream.all()
        self.assertEqual(list(messages[0]["event"]["start"]), ["pid"])
        self.assertEqual(messages[1:], [
            {"event": {"data": {"stdout": base64.b64encode(b"hi\n").decode()}}},
            {"event": {"end": {"exited": True, "status": "exit status 0"}}}])
        self.assertEqual(end, {})

    def test_errors_of_streams_are_200_and_an_end_stream(self):
        for message, headers, code in (
                ({"process": {"cmd": "ls", "cwd": "/no/such"}}, {}, "invalid_argument"),
                ({"process": {"cmd": "ls"}}, {"Authorization": "Basic Z2hvc3Q6"}, "unauthenticated"),
                ({}, {}, "invalid_argument")):
            stream = Stream("process.Process/Start", message, headers)
            self.assertEqual(stream.answer.status, 200)
            messages, end = stream.all()
            self.assertEqual((messages, end["error"]["code"]), ([], code))

    def test_each_frame_is_flushed_at_once(self):
        stream = start("echo one; sleep 1; echo two")
        began = time.monotonic()
        frames = stream.frames()
        next(frames)
        self.assertEqual(base64.b64decode(next(frames)[1]["event"]["data"]["stdout"]), b"one\n")
        self.assertLess(time.monotonic() - began, 0.9)
        stream.close()

    def test_chunked_requests_as_python_sends_them(self):
        body = frame({"process": {"cmd": "echo", "args": ["chunked"]}, "stdin": False})
        answer = agent("POST", "/process.Process/Start", iter([body[:3], body[3:]]),
                       {"Content-Type": "application/connect+json",
                        "connect-content-encoding": "identity", "connect-accept-encoding": "identity",
                        "accept-encoding": "zstd,gzip,br"})
        self.assertEqual(answer.status, 200)
        self.assertIn(base64.b64encode(b"chunked\n"), answer.body)

    def test_connect_timeout_ends_the_stream_and_the_process(self):
        began = time.monotonic()
        stream = start("sleep 60", headers={"Connect-Timeout-Ms": "500"})
        messages, end = stream.all()
        pid = messages[0]["event"]["start"]["pid"]
        self.assertLess(time.monotonic() - began, 5)
        last = messages[-1]["event"]
        self.assertTrue(end.get("error", {}).get("code") == "deadline_exceeded" or "end" in last, (messages, end))
        self.assertEqual(self.sh(f"sleep 0.3; test -d /proc/{pid} && echo there || echo gone"), "gone\n")

    def test_keepalive_events_after_the_interval(self):
        stream = start("sleep 2.5", headers={"Keepalive-Ping-Interval": "1"})
        messages, _ = stream.all()
        self.assertGreaterEqual(sum("keepalive" in m["event"] for m in messages), 1)


class StreamInput(Case):
    """clients §1.5: a client stream, applied frame by frame as it arrives."""

    def start_cat(self):
        stream = start("cat", {"stdin": True})
        frames = stream.frames()
        return stream, frames, next(frames)[1]["event"]["start"]["pid"]

    def test_one_message_and_the_end_stream_and_stdin_stays_open(self):
        stream, frames, pid = self.start_cat()
        body = frame({"start": {"process": {"pid": pid}}}) + frame({"data": {"input": {"stdin": "YQ=="}}}) + frame({"keepalive": {}})
        answer = agent("POST", "/process.Process/StreamInput", body, {"Content-Type": "application/connect+json"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.body, frame(b"{}") + frame(b"{}", 2))
        self.assertEqual(base64.b64decode(next(frames)[1]["event"]["data"]["stdout"]), b"a")
        self.assertEqual(unary("process.Process/CloseStdin", {"process": {"pid": pid}}).status, 200)
        self.assertIn("end", [f for _, f in frames][-2]["event"])

    def test_frames_are_applied_as_they_arrive(self):
        handle = shared().commands.run("cat", background=True, stdin=True)
        seen = []

        def chunks():
            yield "first "
            events = iter(handle)
            seen.append(next(events)[0])  # only comes if the frame before was applied already
            yield "second"

        shared().commands.stream_input(handle.pid, chunks())
        shared().commands.close_stdin(handle.pid)
        self.assertEqual(seen, ["first "])
        self.assertEqual(handle.wait().stdout, "first second")

    def test_an_unknown_pid_is_not_found(self):
        with self.assertRaises(NotFoundException):
            shared().commands.stream_input(99999, iter(["x"]))


if __name__ == "__main__":
    unittest.main()
