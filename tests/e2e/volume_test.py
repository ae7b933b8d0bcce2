#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes mounted in real guests: shared at once, and there after whatever happens to sandbox and daemon."""
import os
import pathlib
import signal
import subprocess
import time
import unittest
import urllib.request

from harness import STATE, DaemonTest, wait_for

MOUNT = "/mnt/data"


class Volumes(DaemonTest):
    def setUp(self):
        self.name = f"v-{os.urandom(5).hex()}"
        status, _, self.volume = self.daemon.api("POST", "/volumes", {"name": self.name})
        self.assertEqual(status, 201, self.volume)
        self.dir = pathlib.Path(STATE / "pool/volumes" / self.volume["volumeID"])

    def tearDown(self):
        self.tb("rm", "--all", check=False)
        status, _, body = self.daemon.api("DELETE", f"/volumes/{self.volume['volumeID']}")
        self.assertEqual(status, 204, body)

    def create(self, path=MOUNT, **more):
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {
            "templateID": "base", "timeout": 3600, "volumeMounts": [{"name": self.name, "path": path}], **more})
        self.assertEqual(status, 201, body)
        return body["sandboxID"]

    def sh(self, sandbox, script, user="user", check=True):
        done = self.tb("exec", "-u", user, sandbox, "--", "sh", "-c", script, check=False)
        if check:
            self.assertEqual(done.returncode, 0, f"{script}\n{done.stdout}{done.stderr}{self.daemon.log_tail()}")
        return done.stdout

    def content(self, method, what, data=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.daemon.port}/volumecontent/{self.volume['volumeID']}/{what}", data=data, method=method,
            headers={"Authorization": f"Bearer {self.volume['token']}"})
        return urllib.request.urlopen(request, timeout=60).read()

    def servers(self):
        return subprocess.run(["pgrep", "-x", "tinderbox-volum"], capture_output=True, text=True).stdout.split()

    def test_what_one_writes_the_other_sees_at_once(self):
        one, two = self.create(), self.create("/srv/other")
        _, _, detail = self.daemon.api("GET", f"/sandboxes/{one}")
        self.assertEqual(detail["volumeMounts"], [{"name": self.name, "path": MOUNT}])
        _, _, entries = self.daemon.api("GET", "/v2/sandboxes")
        self.assertTrue(all(len(e["volumeMounts"]) == 1 for e in entries), entries)
        self.assertIn("tinderbox", self.sh(one, f"stat -f -c %T {MOUNT}; grep {MOUNT} /proc/mounts"))
        for i in range(5):
            self.sh(one, f"echo {i} > {MOUNT}/shared")
            self.assertEqual(self.sh(two, "cat /srv/other/shared"), f"{i}\n")
            self.sh(two, f"echo back {i} >> /srv/other/shared")
            self.assertEqual(self.sh(one, f"cat {MOUNT}/shared"), f"{i}\nback {i}\n")
        # Both ways between guest and API, too.
        self.content("PUT", "file?path=/by-api", b"from outside")
        self.assertEqual(self.sh(one, f"cat {MOUNT}/by-api && echo more >> {MOUNT}/by-api"), "from outside")
        self.assertEqual(self.content("GET", "file?path=/by-api"), b"from outsidemore\n")
        # And while somebody holds it open.
        self.assertEqual(self.sh(two, "exec 3</srv/other/shared; cat <&3 >/dev/null; echo x"), "x\n")
        self.sh(one, f"rm {MOUNT}/shared")
        self.assertEqual(self.sh(two, "ls /srv/other"), "by-api\n")
        status, _, body = self.daemon.api("DELETE", f"/volumes/{self.volume['volumeID']}")
        self.assertEqual(status, 409, body)

    def test_it_is_a_file_system(self):
        sandbox = self.create()
        self.sh(sandbox, f"""set -e
            cd {MOUNT}
            mkdir -p a/b/c && cd a/b/c
            echo x > f && ln f hard && ln -s f soft && mv f g
            [ "$(cat soft 2>/dev/null)" = "" ] && [ "$(cat hard)" = x ] && [ "$(stat -c %h g)" = 2 ]
            [ "$(readlink soft)" = f ]
            chmod 640 g && [ "$(stat -c %a:%U g)" = 640:user ]
            touch -d 2001-02-03T04:05:06Z g && [ "$(stat -c %Y g)" = 981173106 ]
            truncate -s 1M g && [ "$(stat -c %s hard)" = 1048576 ]
            mkfifo p && rm p
            exec 3<>held && rm held && echo still >&3 && stat -L /proc/self/fd/3 >/dev/null
            cd {MOUNT} && find . | wc -l && rm -r a && ! [ -e a ]
            """)
        # The guest's own permissions hold.
        self.sh(sandbox, f"umask 077; echo secret > {MOUNT}/rooted", user="root")
        self.assertNotIn("secret", self.sh(sandbox, f"cat {MOUNT}/rooted 2>&1; true"))
        self.assertIn("not permitted", self.sh(sandbox, f"mknod {MOUNT}/null c 1 3 2>&1; true", user="root").lower())
        self.sh(sandbox, f"cp /usr/bin/id {MOUNT}/id && chmod 4755 {MOUNT}/id", user="root")
        self.assertIn("uid=1000", self.sh(sandbox, f"{MOUNT}/id"))
        python = f"""
import mmap, os, fcntl, sqlite3
db = sqlite3.connect('{MOUNT}/db'); db.execute('pragma journal_mode=wal'); db.execute('create table t(x)')
db.executemany('insert into t values(?)', [(i,) for i in range(1000)]); db.commit(); db.close()
assert sqlite3.connect('{MOUNT}/db').execute('select sum(x) from t').fetchone() == (499500,)
with open('{MOUNT}/mapped', 'w+b') as f:
    f.truncate(100000); m = mmap.mmap(f.fileno(), 100000); m[:5] = b'hello'; m.flush(); m.close()
assert open('{MOUNT}/mapped', 'rb').read(5) == b'hello'
fcntl.flock(open('{MOUNT}/mapped'), fcntl.LOCK_EX)
"""
        self.assertEqual(self.tb("exec", "-u", "user", sandbox, "--", "python3", "-c", python, check=False).stderr, "")

    def test_64_mib_stay_what_they_are(self):
        sandbox = self.create()
        began = time.monotonic()
        digest = self.sh(sandbox, f"head -c 67108864 /dev/urandom > /tmp/f && cp /tmp/f {MOUNT}/f && sha256sum < {MOUNT}/f "
                                  "&& sha256sum < /tmp/f").split()
        print(f"64 MiB written and read: {time.monotonic() - began:.1f} s")
        self.assertEqual(digest[0], digest[2])
        outside = subprocess.run(["sha256sum", str(self.dir / "f")], capture_output=True, text=True).stdout.split()[0]
        self.assertEqual(outside, digest[0])
        self.sh(sandbox, f"mkdir {MOUNT}/many && cd {MOUNT}/many && seq 1000 | xargs touch")
        times = self.sh(sandbox, f"cd {MOUNT}/many; python3 -c 'import os,time; a=time.time(); n=len(os.listdir(\".\")); b=time.time();"
                                 " [e.stat() for e in os.scandir(\".\")]; c=time.time(); print(n, round(b-a,3), round(c-b,3))'").split()
        print(f"1000 files: listed in {times[1]} s, each looked at in {times[2]} s")
        self.assertEqual(times[0], "1000")

    def test_it_outlives_sandbox_and_daemon(self):
        sandbox = self.create()
        self.sh(sandbox, f"echo kept > {MOUNT}/kept; (cd {MOUNT}; exec sleep 1000) >/dev/null 2>&1 &")
        self.daemon.kill()
        wait_for(lambda: not self.servers(), 5, "the servers end with the daemon")
        self.daemon.start()
        wait_for(lambda: self.sh(sandbox, f"cat {MOUNT}/kept 2>/dev/null", check=False) == "kept\n", 20, "mounted anew")
        self.daemon.stop()
        self.daemon.start()
        wait_for(lambda: self.sh(sandbox, f"cat {MOUNT}/kept 2>/dev/null", check=False) == "kept\n", 20, "mounted anew")
        self.tb("rm", sandbox)
        self.assertEqual(self.servers(), [])
        self.assertEqual(self.sh(self.create(), f"cat {MOUNT}/kept"), "kept\n")

    def test_pause_resume_reboot_fork_snapshot(self):
        sandbox = self.create()
        self.sh(sandbox, f"echo one > {MOUNT}/f")
        # Somebody has a file open the whole time.
        self.sh(sandbox, f"(exec 3>>{MOUNT}/f; while sleep 0.1; do :; done) >/dev/null 2>&1 & sleep 0.3")
        status, _, body = self.daemon.api("POST", f"/sandboxes/{sandbox}/pause", {})
        self.assertEqual(status, 204, body)
        self.assertEqual(self.servers(), [])
        self.content("PUT", "file?path=/f", b"two\n")
        status, _, body = self.daemon.api("POST", f"/v2/sandboxes/{sandbox}/connect", {"timeout": 3600})
        self.assertIn(status, (200, 201), body)
        self.assertEqual(self.sh(sandbox, f"cat {MOUNT}/f; echo three >> {MOUNT}/f; df {MOUNT} >/dev/null && sync && echo ok"), "two\nok\n")

        status, _, forks = self.daemon.api("POST", f"/sandboxes/{sandbox}/fork", {"count": 2, "timeout": 3600})
        self.assertIn(status, (200, 201), forks)
        children = [entry.get("sandbox", entry)["sandboxID"] for entry in forks]
        for child in children:
            self.assertEqual(self.sh(child, f"cat {MOUNT}/f"), "two\nthree\n")
            self.sh(child, f"echo {child} > {MOUNT}/child; ls / >/dev/null")
            self.assertEqual(self.sh(sandbox, f"cat {MOUNT}/child"), child + "\n")

        # A snapshot's sandboxes have the volumes that they ask for, and no dead ones.
        status, _, snapshot = self.daemon.api("POST", f"/sandboxes/{sandbox}/snapshots", {})
        self.assertEqual(status, 201, snapshot)
        status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": snapshot["snapshotID"], "timeout": 3600})
        self.assertEqual(status, 201, body)
        self.assertEqual(self.sh(body["sandboxID"], f"ls {MOUNT}; grep -c {MOUNT} /proc/mounts || true"), "0\n")

        status, _, body = self.daemon.api("POST", f"/sandboxes/{sandbox}/pause", {"memory": False})
        self.assertEqual(status, 204, body)
        status, _, body = self.daemon.api("POST", f"/v2/sandboxes/{sandbox}/connect", {"timeout": 3600})
        self.assertIn(status, (200, 201), body)
        self.assertEqual(self.sh(sandbox, f"cat {MOUNT}/f"), "two\nthree\n")

    def test_links_of_a_guest_lead_nowhere_on_the_host(self):
        sandbox = self.create()
        self.sh(sandbox, f"cd {MOUNT} && ln -s /etc/hostname abs && ln -s ../../../../etc/hostname up && ln -s ../.. out")
        for what in ("file?path=/abs", "file?path=/up", "dir?path=/out", "file?path=/out/tinderbox.db"):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.content("GET", what)
            self.assertEqual(caught.exception.code, 404, what)
        # In the guest they are the guest's own.
        self.assertEqual(self.sh(sandbox, f"cat {MOUNT}/abs"), self.sh(sandbox, "cat /etc/hostname"))

    def test_a_server_that_dies_is_an_error_and_then_a_new_one(self):
        sandbox = self.create()
        self.sh(sandbox, f"echo x > {MOUNT}/f")
        for pid in self.servers():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            self.assertIn("CapEff:\t000000000000001b", status)
            self.assertIn("NoNewPrivs:\t1", status)
            self.assertIn("Seccomp:\t2", status)
            self.assertEqual(sorted(os.listdir(f"/proc/{pid}/root")), ["f"])
            self.assertEqual(len(pathlib.Path(f"/proc/{pid}/net/dev").read_text().splitlines()), 3)
            self.assertIn(self.daemon.inspect(sandbox)["cgroup"], pathlib.Path(f"/proc/{pid}/cgroup").read_text())
            os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: self.sh(sandbox, f"cat {MOUNT}/f 2>/dev/null", check=False) == "x\n", 10, "mounted anew")

    def test_what_is_wrong_is_refused(self):
        for mounts in ([{"name": "nosuch", "path": "/mnt"}], [{"name": self.name, "path": "mnt"}],
                       [{"name": self.name, "path": "/a"}, {"name": self.name, "path": "/a"}]):
            status, _, body = self.daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "volumeMounts": mounts})
            self.assertEqual(status, 400, body)


if __name__ == "__main__":
    unittest.main()
