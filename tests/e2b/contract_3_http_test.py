# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""envd's HTTP API: health, metrics, files, signatures, and what is the host's alone."""
import gzip
import json
import time
import unittest
import urllib.parse

import httpx
from e2b import AuthenticationException, FileNotFoundException, InvalidArgumentException, NotEnoughSpaceException
from e2b.sandbox.signature import get_signature

from case import Case, agent, files, raw, shared

UNAUTHORIZED = ("unauthorized access, please provide a valid access token or method signing if supported")


def query(url):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


class Routes(Case):
    def test_health_is_204_and_needs_no_token(self):
        answer = agent("GET", "/health", token=False)
        self.assertEqual((answer.status, answer.body), (204, b""))

    def test_envs_are_the_default_environment(self):
        answer = agent("GET", "/envs")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["COLOUR"], "green")
        self.assertEqual(answer.json["E2B_SANDBOX"], "true")

    def test_metrics_have_all_fields(self):
        answer = agent("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            set(answer.json),
            {"ts", "cpu_count", "cpu_used_pct", "mem_total", "mem_used", "mem_cache", "mem_total_mib", "mem_used_mib",
             "disk_used", "disk_total"})
        self.assertLess(abs(answer.json["ts"] - time.time()), 10)
        self.assertGreater(answer.json["mem_total"], answer.json["mem_used"])
        self.assertGreater(answer.json["disk_total"], answer.json["disk_used"])

    def test_host_only_routes_are_404_for_clients(self):
        for path in ("/init", "/freeze", "/unfreeze", "/fsfreeze", "/fsthaw", "/collapse", "/upgrade", "/tunnel", "/volume", "/%69nit",
                     "//init", "/./fsfreeze", "/x/../fsthaw"):
            self.assertEqual(agent("POST", path, "{}").status, 404, path)

    def test_host_only_routes_are_refused_from_inside_the_guest(self):
        for path in ("init", "freeze", "fsfreeze", "fsthaw", "tunnel?port=22"):
            status = self.sh(f"curl -s -o /dev/null -w '%{{http_code}}' -X POST -H 'X-Access-Token: "
                             f"{shared()._envd_access_token}' http://127.0.0.1:49983/{path}", user="root")
            self.assertEqual(status, "403", path)

    def test_cors_is_open(self):
        answer = agent("OPTIONS", "/files", headers={"Origin": "http://a", "Access-Control-Request-Method": "POST"},
                       token=False)
        self.assertEqual(answer.status, 204)
        self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "*")
        self.assertIn("POST", answer.headers["Access-Control-Allow-Methods"])


class Authorization(Case):
    def test_without_the_token_every_route_but_health_and_files_is_401(self):
        for method, path in (("GET", "/envs"), ("GET", "/metrics"), ("POST", "/process.Process/List"),
                             ("POST", "/filesystem.Filesystem/Stat"), ("POST", "/files/compose")):
            for token in (False, "wrong"):
                answer = agent(method, path, "{}", token=token)
                self.assertEqual(answer.status, 401, path)
                self.assertEqual(answer.json, {"code": 401, "message": UNAUTHORIZED})

    def test_files_without_token_or_signature(self):
        answer = files({"path": "/etc/hostname"}, token=False)
        self.assertEqual(answer.json, {"code": 401, "message": "missing signature query parameter"})
        answer = files({"path": "/etc/hostname"}, token="wrong")
        self.assertEqual(answer.json, {"code": 401, "message": "access token present in header but does not match"})
        answer = files({"path": "/etc/hostname", "signature": "v1_x"}, token=False)
        self.assertEqual(answer.json, {"code": 401, "message": "invalid signature"})

    def test_signed_urls_without_an_id_or_headers_find_their_sandbox(self):
        shared().files.write("/home/user/signed.txt", "by signature")
        for options in ({}, {"user": "root"}, {"use_signature_expiration": 60}):
            answer = httpx.get(shared().download_url("/home/user/signed.txt", **options))
            self.assertEqual((answer.status_code, answer.text), (200, "by signature"), options)
        up = shared().upload_url("signed/up.txt")
        self.assertEqual(httpx.post(up, files={"file": ("any", b"uploaded")}).status_code, 200)
        self.assertEqual(shared().files.read("/home/user/signed/up.txt"), "uploaded")

    def test_an_expired_signature_has_the_exact_body(self):
        signed = get_signature("/etc/hostname", "read", None, shared()._envd_access_token, -10)
        parts = {"path": "/etc/hostname", "signature": signed["signature"],
                 "signature_expiration": signed["expiration"]}
        answer = raw("GET", "/files?" + urllib.parse.urlencode(parts))
        self.assertEqual((answer.status, answer.body),
                         (401, b'{"code":401,"message":"signature is already expired"}'))

    def test_a_signature_is_for_one_path_one_user_one_operation(self):
        signed = query(shared().download_url("/etc/hostname"))
        for change in ({"path": "/etc/passwd"}, {"username": "root"}, {"signature_expiration": "99999999999"}):
            answer = raw("GET", "/files?" + urllib.parse.urlencode({**signed, **change}))
            self.assertEqual((answer.status, answer.json["message"]), (401, "invalid signature"), change)
        answer = raw("POST", "/files?" + urllib.parse.urlencode(signed), b"x",
                     {"Content-Type": "application/octet-stream"})
        self.assertEqual(answer.status, 401)

    def test_an_unknown_user_is_401(self):
        answer = files({"path": "a", "username": "ghost"})
        self.assertEqual(answer.json, {"code": 401, "message": "invalid username: 'ghost'"})
        with self.assertRaises(AuthenticationException):
            shared().files.read("a", user="ghost")


class Reading(Case):
    @classmethod
    def setUpClass(cls):
        shared().files.write("/home/user/r/öl \"a\".txt", "content" * 1000)
        shared().files.write("/home/user/r/plain.txt", "0123456789")

    def test_a_missing_file_is_404_and_named(self):
        answer = files({"path": "/no/such"})
        self.assertEqual(answer.json, {"code": 404, "message": "path '/no/such' does not exist"})
        with self.assertRaises(FileNotFoundException):
            shared().files.read("/no/such")

    def test_a_directory_is_400(self):
        self.assertEqual(files({"path": "/etc"}).status, 400)
        with self.assertRaises(InvalidArgumentException):
            shared().files.read("/etc")

    def test_no_acceptable_encoding_is_406(self):
        answer = files({"path": "/etc/passwd"}, headers={"Accept-Encoding": "br, identity;q=0"})
        self.assertEqual(answer.status, 406)

    def test_gzip_where_the_client_accepts_it_identity_otherwise(self):
        path = {"path": "/home/user/r/öl \"a\".txt"}
        packed = files(path, headers={"Accept-Encoding": "gzip, deflate"})
        self.assertEqual(packed.headers["Content-Encoding"], "gzip")
        self.assertEqual(gzip.decompress(packed.body), b"content" * 1000)
        plain = files(path)
        self.assertIsNone(plain.headers["Content-Encoding"])
        self.assertEqual(plain.body, b"content" * 1000)
        self.assertEqual(shared().files.read(path["path"], gzip=True), "content" * 1000)

    def test_headers_of_a_download(self):
        answer = files({"path": "/home/user/r/plain.txt"})
        self.assertEqual(answer.headers["Content-Disposition"], "inline; filename=plain.txt")
        self.assertEqual(answer.headers["Vary"], "Accept-Encoding")
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain"))

    def test_ranges_and_conditions_are_of_the_plain_file(self):
        headers = {"Accept-Encoding": "gzip", "Range": "bytes=2-4"}
        answer = files({"path": "/home/user/r/plain.txt"}, headers=headers)
        self.assertEqual((answer.status, answer.body), (206, b"234"))
        self.assertEqual(answer.headers["Content-Range"], "bytes 2-4/10")
        since = answer.headers["Last-Modified"]
        answer = files({"path": "/home/user/r/plain.txt"}, headers={"If-Modified-Since": since})
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_paths_absolute_tilde_relative_and_empty(self):
        for path in ("/home/user/r/plain.txt", "~/r/plain.txt", "r/plain.txt", "/home/./user/../user/r/plain.txt"):
            self.assertEqual(shared().files.read(path), "0123456789", path)
        self.assertEqual(files({"path": ""}).status, 400, "the home, which is a directory")
        self.assertIn("r", [e.name for e in shared().files.list("")])
        shared().files.write("/root/mine", "of root")
        self.assertEqual(shared().files.read("mine", user="root"), "of root")

    def test_files_of_proc_are_read_whole(self):
        self.assertIn("MemTotal", shared().files.read("/proc/meminfo"))

    def test_large_files_stream_both_ways(self):
        block = bytes(range(256)) * 4096
        written = shared().files.write("/home/user/large", (block for _ in range(24)))
        self.assertEqual(written.path, "/home/user/large")
        got = b"".join(shared().files.read("/home/user/large", format="stream"))
        self.assertEqual(got, block * 24)
        shared().files.remove("/home/user/large")


class Writing(Case):
    def test_multipart_filename_is_the_full_path(self):
        written = shared().files.write_files([
            {"path": "/home/user/w/a \"b\" ü.txt", "data": "one"}, {"path": "w/rel.bin", "data": b"\x00\xff"}])
        self.assertEqual([w.path for w in written], ["/home/user/w/a \"b\" ü.txt", "/home/user/w/rel.bin"])
        self.assertEqual(shared().files.read("w/a \"b\" ü.txt"), "one")
        self.assertEqual(bytes(shared().files.read("w/rel.bin", format="bytes")), b"\x00\xff")

    def test_the_answer_has_no_key_too_many(self):
        answer = files({"path": "w/exact.txt"}, "POST", body=b"x", headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(answer.json, [{"name": "exact.txt", "path": "/home/user/w/exact.txt", "type": "file"}])

    def test_octet_stream_needs_a_path_and_other_types_are_400(self):
        self.assertEqual(files({}, "POST", body=b"x", headers={"Content-Type": "application/octet-stream"}).status, 400)
        self.assertEqual(files({"path": "w/t"}, "POST", body=b"x", headers={"Content-Type": "text/plain"}).status, 400)

    def test_the_same_path_twice_is_400(self):
        with self.assertRaises(InvalidArgumentException):
            shared().files.write_files([{"path": "w/twice", "data": "1"}, {"path": "/home/user/w/twice", "data": "2"}])

    def test_gzip_is_undone_for_either_kind(self):
        shared().files.write("w/gz", "packed" * 100, gzip=True)
        self.assertEqual(shared().files.read("w/gz"), "packed" * 100)
        body = gzip.compress(b'--B\r\nContent-Disposition: form-data; name="file"; filename="w/gz2"\r\n\r\nx y\r\n--B--\r\n')
        answer = agent("POST", "/files", body, {"Content-Type": "multipart/form-data; boundary=B", "Content-Encoding": "gzip"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(shared().files.read("w/gz2"), "x y")
        broken = files({"path": "w/gz3"}, "POST", body=body[:-9],
                       headers={"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"})
        self.assertEqual(broken.status, 400)

    def test_chunked_bodies(self):
        answer = files({"path": "w/chunked"}, "POST", body=iter([b"one ", b"two"]),
                       headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(shared().files.read("w/chunked"), "one two")

    def test_metadata_are_extended_attributes_and_are_replaced(self):
        written = shared().files.write("w/meta", "x", metadata={"Author": "me", "kind": "a b"})
        self.assertEqual(written.metadata, {"author": "me", "kind": "a b"})
        self.assertEqual(shared().files.get_info("w/meta").metadata, {"author": "me", "kind": "a b"})
        inside = "import os; print({n: os.getxattr('/home/user/w/meta', n) for n in os.listxattr('/home/user/w/meta')})"
        self.assertEqual(eval(self.sh(f'python3 -c "{inside}"')),
                         {"user.e2b.author": b"me", "user.e2b.kind": b"a b"})
        shared().files.write("w/meta", "x")
        self.assertFalse(shared().files.get_info("w/meta").metadata)

    def test_metadata_out_of_bounds_are_400(self):
        for name, value in (("X-Metadata-a", "x" * 4097), ("X-Metadata-" + "k" * 247, "v"), ("X-Metadata-b", "\xff")):
            answer = files({"path": "w/m2"}, "POST", body=b"",
                           headers={"Content-Type": "application/octet-stream", name: value})
            self.assertEqual(answer.status, 400, name[:20])

    def test_owners_and_modes_of_what_is_made(self):
        shared().files.write("/home/user/w/deep/er/own", "x")
        shared().files.write("/home/user/w/deep/er/roots", "x", user="root")
        said = self.sh("cd /home/user/w/deep && stat -c '%n %U %a' er er/own er/roots")
        self.assertEqual(said, "er user 755\ner/own user 644\ner/roots root 644\n")

    def test_a_file_is_truncated_and_a_directory_is_no_target(self):
        shared().files.write("w/trunc", "long content")
        shared().files.write("w/trunc", "new")
        self.assertEqual(shared().files.read("w/trunc"), "new")
        with self.assertRaises(InvalidArgumentException):
            shared().files.write("/home/user/w", "x")

    def test_a_full_disk_is_507(self):
        self.sh("mkdir -p /mnt/small && mount -t tmpfs -o size=64k tmpfs /mnt/small", user="root")
        try:
            with self.assertRaises(NotEnoughSpaceException):
                shared().files.write("/mnt/small/f", b"x" * 200_000)
        finally:
            self.sh("umount /mnt/small", user="root")

    def test_compose_joins_and_removes_its_sources(self):
        for name in ("1", "2"):
            shared().files.write("w/part" + name, name * 3)
        answer = agent("POST", "/files/compose",
                       json.dumps({"source_paths": ["w/part1", "/home/user/w/part2"], "destination": "w/whole"}),
                       {"Content-Type": "application/json"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(shared().files.read("w/whole"), "111222")
        self.assertFalse(shared().files.exists("w/part1"))


if __name__ == "__main__":
    unittest.main()
