#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""`tinderbox run`, `exec` and `cp`: streams, exit codes, input, terminals."""
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

from harness import DaemonTest, program, read, wait_for


class Terminal:
    """A program on a pseudo terminal, driven by a script."""

    def __init__(self, arguments, env, rows=24, columns=80):
        self.output = b""
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execve(arguments[0], arguments, env)
        self.pid = pid
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=30):
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.output.decode(errors="replace"))):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} in {self.output[-2000:]!r}")
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    raise AssertionError(f"ended without {pattern!r}: {self.output[-2000:]!r}")
                self.output += data
        self.output = b""
        return match

    def wait(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"did not end: {self.output[-2000:]!r}")


class RunTest(DaemonTest):
    def test_streams_stay_apart_and_the_exit_code_passes_through(self):
        result = self.tb("run", "--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual(result.returncode, 7, result.stderr)
        self.assertEqual(result.stdout, "out\n")
        self.assertIn("err\n", result.stderr)
        self.assertNotIn("out", result.stderr)

    def test_stdin_is_forwarded_to_its_end(self):
        self.assertEqual(self.tb("run", "--rm", "-i", "--", "cat", input="hi\n").stdout, "hi\n")
        data = os.urandom(3_000_000)
        result = self.tb("run", "--rm", "-i", "--", "sha256sum", input=data, text=False)
        self.assertEqual(result.stdout.split()[0].decode(), hashlib.sha256(data).hexdigest())

    def test_without_i_stdin_is_empty(self):
        self.assertEqual(self.tb("run", "--rm", "--", "wc", "-c", input="never seen").stdout.strip(), "0")

    def test_it_is_a_machine_of_its_own(self):
        guest = self.tb("run", "--rm", "--", "uname", "-a").stdout
        self.assertIn("Linux", guest)
        self.assertNotIn(os.uname().release, guest)
        python = self.tb("run", "--rm", "--", "python3", "-c", "print(6*7)").stdout
        self.assertEqual(python, "42\n")

    def test_environment_directory_and_user(self):
        sandbox = self.daemon.create()
        run = lambda *a: self.tb("exec", *a).stdout.strip()
        self.assertEqual(run("-e", "A=b c", "-e", "X=", sandbox, "--", "sh", "-c", 'echo "$A|$X|"'), "b c||")
        self.assertEqual(run("-w", "/usr/lib", sandbox, "--", "pwd"), "/usr/lib")
        self.assertEqual(run(sandbox, "--", "id", "-un"), "user")
        self.assertEqual(run("-u", "root", sandbox, "--", "id", "-u"), "0")
        self.assertEqual(run(sandbox, "--", "sudo", "id", "-u"), "0")
        self.assertEqual(run(sandbox, "--", "hostname"), sandbox)

    def test_base_holds_what_users_expect(self):
        sandbox = self.daemon.create()
        script = (
            "set -e; for c in bash sh sudo curl git python python3 realpath tput ss pgrep; do command -v $c; done; "
            "git daemon --help >/dev/null 2>&1 || test -x $(git --exec-path)/git-daemon; "
            'test -w /tmp; umask; python3 -c "import http.server, os; open(\'/home/user/x\', \'w\'); '
            "os.setxattr('/home/user/x', 'user.e2b.k', b'v'); print(os.getxattr('/home/user/x', 'user.e2b.k'))\"; "
            "test -f ~/.bashrc; ! command -v mcp-gateway"
        )
        out = self.tb("exec", sandbox, "--", "bash", "-c", script).stdout
        self.assertIn("0022", out)
        self.assertIn("b'v'", out)

    def test_a_missing_program_is_127_and_a_signal_is_128_and_more(self):
        self.assertEqual(self.tb("run", "--rm", "--", "no-such-program", check=False).returncode, 127)
        killed = self.tb("run", "--rm", "--", "sh", "-c", "kill -9 $$", check=False)
        self.assertEqual(killed.returncode, 137, killed.stderr)

    def test_a_large_stream_arrives_whole_and_the_daemon_stays_small(self):
        sandbox = self.daemon.create()
        size = 200_000_000
        # Every line differs, so that a block lost, doubled or moved changes the sum.
        guest = f"seq 1 100000000 | head -c {size}"
        process = self.daemon.popen("exec", sandbox, "--", "sh", "-c", guest, stdout=subprocess.PIPE)
        peak, digest, count = 0, hashlib.sha256(), 0
        status = f"/proc/{self.daemon.process.pid}/status"
        while block := process.stdout.read(1 << 20):
            digest.update(block)
            count += len(block)
            peak = max(peak, int(re.search(r"VmRSS:\s+(\d+)", read(status))[1]))
        process.stdout.close()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(count, size)
        expected = hashlib.sha256(subprocess.run(["sh", "-c", guest], stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(digest.hexdigest(), expected.hexdigest())
        self.assertLess(peak, 150_000, "the daemon's memory in KiB")

    def test_a_reader_that_stops_early_is_no_error(self):
        sandbox = self.daemon.create()
        shell = f"{program('tinderbox')} exec {sandbox} -- sh -c 'yes | head -c 50000000' | head -c 10"
        out = subprocess.run(["sh", "-c", shell], env=self.daemon.environment(), capture_output=True, timeout=60)
        self.assertEqual(out.stdout, b"y\n" * 5)
        self.assertEqual(out.stderr, b"")


class TerminalTest(DaemonTest):
    def terminal(self, *arguments, **options):
        return Terminal([program("tinderbox"), *arguments], self.daemon.environment(), **options)

    def test_shell_resize_and_interrupt(self):
        terminal = self.terminal("run", "--rm", "-it", "--", "bash", "--norc", rows=30, columns=100)
        terminal.expect(r"\$ ", 60)
        terminal.send("stty size\n")
        terminal.expect(r"30 100")
        terminal.resize(41, 121)
        terminal.send("sleep 0.3; stty size\n")
        terminal.expect(r"41 121")
        terminal.send("sleep 1000; echo code=$?\n")
        time.sleep(0.7)
        terminal.send("\x03")
        terminal.expect(r"\$ ", 10)
        terminal.send("echo after-$((40+2))\n")
        terminal.expect("after-42")
        terminal.send("exit 3\n")
        self.assertEqual(terminal.wait(), 3)

    def test_interrupt_without_a_terminal_in_the_guest_removes_a_throw_away_sandbox(self):
        terminal = self.terminal("run", "--rm", "--", "sh", "-c", "echo ready; sleep 1000")
        terminal.expect("ready", 60)
        terminal.send("\x03")
        self.assertIn(terminal.wait(), (130, 143, 137))
        wait_for(lambda: self.daemon.json("ls") == [], 10, "the sandbox is gone")


class CopyTest(DaemonTest):
    def test_files_and_directories_in_and_out(self):
        sandbox = self.daemon.create()
        with tempfile.TemporaryDirectory(prefix="tinderbox-cp-") as directory:
            data = os.urandom(5_000_000)
            with open(f"{directory}/in.bin", "wb") as file:
                file.write(data)
            self.tb("cp", f"{directory}/in.bin", f"{sandbox}:/home/user/in.bin")
            guest = self.tb("exec", sandbox, "--", "sha256sum", "/home/user/in.bin").stdout.split()[0]
            self.assertEqual(guest, hashlib.sha256(data).hexdigest())
            self.tb("cp", f"{sandbox}:/home/user/in.bin", f"{directory}/out.bin")
            with open(f"{directory}/out.bin", "rb") as file:
                self.assertEqual(file.read(), data)
            os.makedirs(f"{directory}/tree/a/b")
            for name in ("tree/x", "tree/a/y y", "tree/a/b/z"):
                with open(f"{directory}/{name}", "w") as file:
                    file.write(name)
            self.tb("cp", f"{directory}/tree", f"{sandbox}:/home/user/tree")
            self.assertEqual(self.tb("exec", sandbox, "--", "cat", "/home/user/tree/a/y y").stdout, "tree/a/y y")
            self.tb("cp", f"{sandbox}:/home/user/tree", f"{directory}/back")
            with open(f"{directory}/back/a/b/z") as file:
                self.assertEqual(file.read(), "tree/a/b/z")

    def test_a_missing_file_is_named(self):
        sandbox = self.daemon.create()
        result = self.tb("cp", f"{sandbox}:/no/such", "/tmp/tinderbox-none", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("/no/such", result.stderr)


class KeyTest(DaemonTest):
    def works(self, key):
        return self.daemon.api("GET", "/v2/sandboxes", key=key)[0] == 200

    def test_a_key_is_made_rotated_and_removed(self):
        first = self.tb("key", "create", "--label", "ci", "--expires", "90d").stdout.strip()
        self.assertTrue(self.works(first))
        one = next(key for key in self.daemon.json("key", "ls") if key["label"] == "ci")
        self.assertIsNotNone(one["lastUsedAt"])
        second = self.tb("key", "rotate", one["id"]).stdout.strip()
        self.assertEqual([self.works(first), self.works(second)], [False, True])
        # The records of keys survive a restart.
        self.daemon.stop()
        self.daemon.start()
        two = next(key for key in self.daemon.json("key", "ls") if key["label"] == "ci")
        self.assertEqual(two["expiresAt"], one["expiresAt"])
        self.tb("key", "rm", two["id"])
        self.assertFalse(self.works(second))


class SpawnTest(DaemonTest):
    def test_a_template_counts_its_sandboxes_over_a_restart(self):
        def base():
            return next(each for each in self.daemon.api("GET", "/templates")[2] if "base" in each["aliases"])

        before = base()["spawnCount"]
        self.tb("rm", self.daemon.create())
        self.daemon.stop()
        self.daemon.start()
        after = base()
        self.assertEqual(after["spawnCount"], before + 1)
        self.assertRegex(after["lastSpawnedAt"], "^20..-")


if __name__ == "__main__":
    unittest.main(verbosity=2)
