#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""TLS on the daemon's port, and the real SDKs by host name through it, as docs/tls.md says.

The certificate is a wildcard's, signed by an authority of the tests' own; the names are tls_names.py's.
"""
import http.client
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

from harness import RUN, Daemon, host_objects, program, wait_for

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2b"))
import packages  # noqa: E402

DOMAIN = "box.test"

PYTHON = r"""
import json, os, ssl, time, urllib.request
from e2b import Sandbox
facts = {}
sandbox = Sandbox.create(timeout=120)
facts["stdout"] = sandbox.commands.run("echo over tls").stdout
sandbox.files.write("a.txt", "written")
facts["read"] = sandbox.files.read("a.txt")
facts["running"] = sandbox.is_running()
sandbox.commands.run("python3 -m http.server 8000 --bind 127.0.0.1 --directory /home/user", background=True, timeout=0)
facts["host"] = sandbox.get_host(8000)
for attempt in range(50):
    try:
        facts["by name"] = urllib.request.urlopen(f"https://{facts['host']}/a.txt", timeout=20).read().decode()
        break
    except urllib.error.HTTPError:
        time.sleep(0.2)
url = sandbox.download_url("a.txt")
facts["url"] = url.partition("?")[0]
facts["signed"] = urllib.request.urlopen(url, timeout=20).read().decode()
facts["killed"] = sandbox.kill()
facts["after"] = sandbox.is_running()
print(json.dumps(facts))
"""

JAVASCRIPT = r"""
import { Sandbox } from 'e2b'
const facts = {}
const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
facts.stdout = (await sandbox.commands.run('echo over tls')).stdout
await sandbox.files.write('a.txt', 'written')
facts.read = await sandbox.files.read('a.txt')
facts.running = await sandbox.isRunning()
await sandbox.files.write('/tmp/ws.py', process.env.WS_SERVER)
await sandbox.commands.run('python3 /tmp/ws.py 8001', { background: true, timeoutMs: 0 })
facts.host = sandbox.getHost(8001)
for (let attempt = 0; attempt < 50; attempt++) {
  const answer = await fetch(`https://${facts.host}/`)
  facts['by name'] = await answer.text()
  if (answer.status === 200) break
  await new Promise((done) => setTimeout(done, 200))
}
facts.socket = await new Promise((done, fail) => {
  const socket = new WebSocket(`wss://${facts.host}/`)
  socket.onopen = () => socket.send('hello')
  socket.onmessage = (message) => { done(message.data); socket.close() }
  socket.onerror = (error) => fail(new Error(String(error.message ?? error.type)))
})
const url = await sandbox.downloadUrl('a.txt')
facts.url = url.split('?')[0]
facts.signed = await (await fetch(url)).text()
facts.killed = await sandbox.kill()
facts.after = await sandbox.isRunning()
console.log(JSON.stringify(facts))
"""

WS_SERVER = r"""
import base64, hashlib, http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self.send_response(200); self.send_header("Content-Length", "7"); self.end_headers(); self.wfile.write(b"written")
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101); self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        head = self.rfile.read(2); mask = self.rfile.read(4); n = head[1] & 127
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(n)))
        self.wfile.write(bytes([0x81, len(data) + 6]) + b"echo: " + data); self.close_connection = True
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def openssl(*arguments, directory):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_certificate(directory, name, days="1"):
    """NAME.pem and NAME.key for *.box.test, signed by the authority in ca.pem, which is made where there is none."""
    if not (directory / "ca.pem").exists():
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=tests",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
                "-keyout", "ca.key", "-out", "ca.pem", directory=directory)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
            "-out", f"{name}.csr", directory=directory)
    (directory / "extensions").write_text(f"subjectAltName=DNS:*.{DOMAIN}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", "extensions", "-out", f"{name}.pem", directory=directory)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        make_certificate(cls.directory, "server")
        cls.daemon = Daemon()
        cls.daemon.extra_top = (f'domain = "{DOMAIN}:{cls.daemon.port}"\ntls_certificate = "{cls.directory}/server.pem"\n'
                                f'tls_key = "{cls.directory}/server.key"\n')
        cls.daemon.write_config()
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()
        packages.prepare()

    def tearDown(self):
        self.daemon.tb("rm", "--all")
        self.assertEqual(host_objects(), [], "left behind")

    def printed(self):
        """What `tinderbox env` prints."""
        lines = self.daemon.tb("env").stdout.splitlines()
        pairs = (line.removeprefix("export ").partition("=") for line in lines)
        return {name: value.strip("'\"") for name, _, value in pairs}

    def run_sdk(self, command, variables, **options):
        environment = {**self.daemon.environment(), **variables, "SSL_CERT_FILE": f"{self.directory}/ca.pem",
                       "NODE_EXTRA_CA_CERTS": f"{self.directory}/ca.pem", "WS_SERVER": WS_SERVER}
        result = subprocess.run([sys.executable, str(HERE / "tls_names.py"), DOMAIN, *command], env=environment, capture_output=True,
                                text=True, timeout=240, **options)
        self.assertEqual(result.returncode, 0, result.stderr + self.daemon.log_tail())
        return json.loads(result.stdout)

    def check(self, facts, port, agent):
        self.assertEqual((facts["stdout"], facts["read"], facts["running"]), ("over tls\n", "written", True))
        self.assertRegex(facts["host"], rf"^{port}-[a-z0-9]+\.{re.escape(DOMAIN)}:{self.daemon.port}$")
        self.assertEqual(facts["by name"], "written")
        self.assertRegex(facts["url"], rf"^https://{agent}\.{re.escape(DOMAIN)}:{self.daemon.port}/files$")
        self.assertEqual(facts["signed"], "written")
        self.assertEqual((facts["killed"], facts["after"]), (True, False))

    def doctor(self):
        told = json.loads(self.daemon.tb("--json", "doctor", check=False).stdout)
        return next(check for check in told["checks"] if check["name"] == "api")

    def connect(self):
        context = ssl.create_default_context(cafile=f"{self.directory}/ca.pem")
        raw = socket.create_connection(("127.0.0.1", self.daemon.port), timeout=20)
        return context.wrap_socket(raw, server_hostname=f"api.{DOMAIN}")

    def test_env_prints_what_is_right_with_tls(self):
        printed = self.printed()
        name = f"{DOMAIN}:{self.daemon.port}"
        self.assertTrue(printed.pop("E2B_API_KEY").startswith("e2b_"))
        self.assertEqual(printed, {"E2B_API_URL": f"https://api.{name}", "E2B_SANDBOX_URL": f"https://sandbox.{name}",
                                   "E2B_VOLUME_API_URL": f"https://api.{name}", "E2B_DOMAIN": name})

    def test_python_with_what_env_prints(self):
        self.check(self.run_sdk([str(packages.PYTHON), "-c", PYTHON], self.printed()), 8000, "sandbox")

    def test_python_with_key_and_domain_alone(self):
        known = {name: value for name, value in self.printed().items() if name in ("E2B_API_KEY", "E2B_DOMAIN")}
        self.check(self.run_sdk([str(packages.PYTHON), "-c", PYTHON], known), 8000, "49983-[a-z0-9]+")

    def test_javascript_with_what_env_prints_and_a_websocket_by_name(self):
        facts = self.run_sdk([packages.node(), "--input-type=module", "-e", JAVASCRIPT], self.printed(), cwd=packages.JS)
        self.check(facts, 8001, "sandbox")
        self.assertEqual(facts["socket"], "echo: hello")

    def test_javascript_with_key_and_domain_alone(self):
        known = {name: value for name, value in self.printed().items() if name in ("E2B_API_KEY", "E2B_DOMAIN")}
        facts = self.run_sdk([packages.node(), "--input-type=module", "-e", JAVASCRIPT], known, cwd=packages.JS)
        self.check(facts, 8001, "49983-[a-z0-9]+")
        self.assertEqual(facts["socket"], "echo: hello")

    def test_a_plain_request_is_400_and_the_unix_socket_stays_plain(self):
        plain = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=20)
        plain.request("GET", "/health")
        answer = plain.getresponse()
        self.assertEqual((answer.status, answer.read()), (400, b"This port speaks TLS: use https\n"))
        self.assertEqual(self.daemon.tb("ls").returncode, 0)

    def test_doctor_names_the_certificate(self):
        # One day is soon.
        check = self.doctor()
        self.assertEqual(check["status"], "warn")
        self.assertIn("server.pem", check["detail"])
        self.assertIn("Renew", check["remedy"])

    def test_a_renewed_certificate_counts_without_a_restart(self):
        with self.connect() as before:
            self.assertIn(((("commonName", "server"),)), before.getpeercert()["subject"])
            make_certificate(self.directory, "renewed")
            for suffix in ("pem", "key"):
                (self.directory / f"renewed.{suffix}").rename(self.directory / f"server.{suffix}")

            def renewed():
                with self.connect() as now:
                    return (("commonName", "renewed"),) in now.getpeercert()["subject"]

            wait_for(renewed, 30, "the renewed certificate is served")
            before.sendall(b"GET /health HTTP/1.1\r\nHost: api.box.test\r\nConnection: close\r\n\r\n")
            self.assertTrue(before.recv(100).startswith(b"HTTP/1.1 200"), "a connection that stands goes on")
        key = (self.directory / "server.key").read_bytes()
        shutil.copy(self.directory / "ca.key", self.directory / "server.key")
        time.sleep(11)
        self.assertTrue(renewed(), "a key of another's changes nothing")
        self.assertEqual(self.doctor()["status"], "fail")
        self.assertIn("does not belong", self.doctor()["detail"])
        (self.directory / "server.key").write_bytes(key)

    def test_a_daemon_says_why_it_does_not_start(self):
        make_certificate(self.directory, "other")
        expired = self.directory / "expired.pem"
        openssl("x509", "-req", "-in", "other.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "-1", "-out",
                str(expired), directory=self.directory)
        for certificate, key, words in (("none.pem", "other.key", "No such file"), ("ca.pem", "other.key", "does not belong"),
                                        ("expired.pem", "other.key", "has expired"), ("other.pem", "ca.pem", "no private key")):
            file = RUN / "wrong.toml"
            file.write_text(f'tls_certificate = "{self.directory}/{certificate}"\ntls_key = "{self.directory}/{key}"\n'
                            f'run_dir = "{RUN}"\nstate_dir = "{RUN}/state"\n')
            for command in ("run", "check-config"):
                result = subprocess.run([program("tinderboxd"), command, "--run-dir", str(RUN / "other"), "--config", str(file)],
                                        capture_output=True, text=True, timeout=60)
                self.assertEqual(result.returncode, 1, command)
                self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
