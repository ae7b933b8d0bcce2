# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""process.Process: the thirteen semantics, through the SDK where it shows them."""
import base64
import time
import unittest

from e2b import CommandExitException, NotFoundException, SandboxException, TimeoutException
from e2b import PtySize

from case import Case, Stream, outcome, own, shared, start, unary, until


class Semantics(Case):
    def test_01_cmd_and_args_verbatim_as_the_user_and_127_for_a_missing_program(self):
        self.assertEqual(self.sh("id -un; id -gn; id -Gn | tr ' ' '\\n' | sort | head -1").split()[:2], ["user", "user"])
        self.assertEqual(self.sh("id -u", user="root"), "0\n")
        odd = "a  b\t'c' \"d\" $HOME \\ ü"
        out, _, _ = outcome(Stream("process.Process/Start", {"process": {"cmd": "printf", "args": ["%s", odd]}}))
        self.assertEqual(out.decode(), odd)
        _, end, _ = outcome(Stream("process.Process/Start", {"process": {"cmd": "no-such-program"}}))
        self.assertEqual(end["exitCode"], 127)
        said = self.sh("cat /proc/self/oom_score_adj; nice; umask")
        self.assertEqual(said, "100\n0\n0022\n")

    def test_02_environment_later_wins_and_nothing_is_inherited(self):
        out, _, _ = outcome(Stream("process.Process/Start", {
            "process": {"cmd": "env", "envs": {"COLOUR": "red", "MORE": "1"}}}))
        env = dict(line.split("=", 1) for line in out.decode().splitlines())
        self.assertEqual((env["COLOUR"], env["MORE"], env["E2B_SANDBOX"]), ("red", "1", "true"))
        self.assertEqual(env["E2B_SANDBOX_ID"], shared().sandbox_id)
        self.assertTrue(env["E2B_TEMPLATE_ID"])
        self.assertEqual((env["HOME"], env["USER"], env["LOGNAME"]), ("/home/user", "user", "user"))
        self.assertEqual(set(env), {"PATH", "HOME", "USER", "LOGNAME", "COLOUR", "MORE", "E2B_SANDBOX",
                                    "E2B_SANDBOX_ID", "E2B_TEMPLATE_ID"})
        self.assertEqual(shared().commands.run("echo $COLOUR").stdout, "green\n")

    def test_03_cwd_has_the_rules_of_paths_and_must_exist(self):
        self.assertEqual(self.sh("pwd"), "/home/user\n")
        self.assertEqual(shared().commands.run("pwd", cwd="/tmp").stdout, "/tmp\n")
        self.sh("mkdir -p ~/cw")
        self.assertEqual(shared().commands.run("pwd", cwd="cw").stdout, "/home/user/cw\n")
        self.assertEqual(shared().commands.run("pwd", cwd="~/cw").stdout, "/home/user/cw\n")
        with self.assertRaisesRegex(Exception, "cwd '/no/such' does not exist"):
            shared().commands.run("pwd", cwd="/no/such")

    def test_04_stdin_false_is_dev_null_and_true_stays_open(self):
        self.assertEqual(shared().commands.run("cat; echo done", stdin=False).stdout, "done\n")
        handle = shared().commands.run("cat", background=True, stdin=True)
        shared().commands.send_stdin(handle.pid, "one ")
        shared().commands.send_stdin(handle.pid, "two")
        shared().commands.close_stdin(handle.pid)
        self.assertEqual(handle.wait().stdout, "one two")

    def test_05_start_data_end_and_the_end_waits_for_the_output(self):
        began = time.monotonic()
        out, end, _ = outcome(start("(sleep 0.7; echo late) & echo early"))
        self.assertEqual(out, b"early\nlate\n")
        self.assertGreater(time.monotonic() - began, 0.6)
        self.assertTrue(end["exited"])

    def test_05_after_a_signal_the_end_does_not_wait(self):
        handle = shared().commands.run("sleep 30 & echo $!; exec sleep 30", background=True)
        began = time.monotonic()
        self.assertTrue(handle.kill())
        with self.assertRaises(CommandExitException):
            handle.wait()
        self.assertLess(time.monotonic() - began, 5)
        self.sh("pkill sleep || true", user="root")

    def test_06_the_end_event(self):
        for script, wanted in (
                ("exit 0", {"exited": True, "status": "exit status 0"}),
                ("exit 3", {"exitCode": 3, "exited": True, "status": "exit status 3", "error": "exit status 3"}),
                ("kill -9 $$", {"exitCode": -1, "status": "signal: killed", "error": "signal: killed"}),
                ("kill -15 $$", {"exitCode": -1, "status": "signal: terminated", "error": "signal: terminated"})):
            self.assertEqual(outcome(start(script))[1], wanted, script)
        with self.assertRaises(CommandExitException) as caught:
            shared().commands.run("echo out; echo err >&2; exit 7")
        self.assertEqual((caught.exception.exit_code, caught.exception.stdout, caught.exception.stderr),
                         (7, "out\n", "err\n"))

    def test_07_exact_bytes_in_chunks_of_32_kib_at_most(self):
        stream = start("cat /usr/bin/env | head -c 200000; printf 'a\\r\\nb\\0\\377'")
        messages, _ = stream.all()
        data = [base64.b64decode(m["event"]["data"]["stdout"]) for m in messages if "data" in m["event"]]
        self.assertLessEqual(max(map(len, data)), 32 << 10)
        self.assertTrue(b"".join(data).endswith(b"a\r\nb\0\xff"))
        self.assertEqual(self.sh("head -c 3000000 /dev/zero | tr '\\0' 'é' | wc -c; printf 'é%.0s' $(seq 50000)")[-50000:],
                         "é" * 50000)

    def test_08_a_client_that_leaves_ends_only_its_stream_and_nothing_is_replayed(self):
        stream = start("echo before; sleep 1; echo after > /tmp/survived; sleep 1; echo last")
        frames = stream.frames()
        pid = next(frames)[1]["event"]["start"]["pid"]
        next(frames)
        stream.close()
        again = shared().commands.connect(pid)
        also = shared().commands.connect(pid)
        self.assertEqual(again.wait().stdout, "last\n")
        self.assertEqual(also.wait().stdout, "last\n")
        self.assertEqual(shared().files.read("/tmp/survived"), "after\n")

    def test_09_the_timeout_of_start_kills_and_that_of_connect_does_not(self):
        handle = shared().commands.run("sleep 31", background=True, timeout=0)
        with self.assertRaises(TimeoutException):
            shared().commands.connect(handle.pid, timeout=0.5).wait()
        self.assertIn(handle.pid, [p.pid for p in shared().commands.list()])
        self.assertTrue(shared().commands.kill(handle.pid))
        with self.assertRaises(TimeoutException):
            shared().commands.run("sleep 32", timeout=0.5)
        until(lambda: not any("sleep 32" in " ".join(p.args) for p in shared().commands.list()), "the process is killed")

    def test_09_attached_or_not(self):
        stream = start("sleep 33", headers={"Connect-Timeout-Ms": "1000"})
        pid = next(stream.frames())[1]["event"]["start"]["pid"]
        stream.close()
        until(lambda: pid not in [p.pid for p in shared().commands.list()], "killed without anybody attached", 5)

    def test_10_connect_starts_with_the_pid_and_the_end_stays_available(self):
        _, end, _ = outcome(first := start("exit 4", {"tag": "kept"}))
        again = Stream("process.Process/Connect", {"process": {"tag": "kept"}})
        messages, _ = again.all()
        self.assertEqual(messages[-1]["event"]["end"], end)
        pid = messages[0]["event"]["start"]["pid"]
        self.assertEqual(Stream("process.Process/Connect", {"process": {"pid": pid}}).all()[0], messages)
        _, end = Stream("process.Process/Connect", {"process": {"pid": 99999}}).all()
        self.assertEqual(end, {"error": {"code": "not_found", "message": "process with pid 99999 not found"}})
        with self.assertRaises(NotFoundException):
            shared().commands.connect(99999)

    def test_11_signals_and_input_to_the_wrong_kind(self):
        self.assertFalse(shared().commands.kill(99999))
        stream = start("sleep 34")
        frames = stream.frames()
        process = {"process": {"pid": next(frames)[1]["event"]["start"]["pid"]}}
        self.assertEqual(unary("process.Process/SendSignal", {**process, "signal": "SIGNAL_SIGHUP"}).json["code"],
                         "unimplemented")
        self.assertEqual(unary("process.Process/SendInput", {**process, "input": {"pty": "YQ=="}}).json["code"], "internal")
        self.assertEqual(unary("process.Process/CloseStdin", process).status, 200)
        self.assertEqual(unary("process.Process/SendInput", {**process, "input": {"stdin": "YQ=="}}).json["code"], "internal")
        self.assertEqual(unary("process.Process/SendSignal", {**process, "signal": "SIGNAL_SIGTERM"}).status, 200)
        self.assertEqual([f for _, f in frames][-2]["event"]["end"]["status"], "signal: terminated")
        pty = shared().pty.create(PtySize(rows=24, cols=80))
        self.assertEqual(unary("process.Process/CloseStdin", {"process": {"pid": pty.pid}}).json["code"], "unknown")
        self.assertEqual(unary("process.Process/SendInput", {"process": {"pid": pty.pid}, "input": {"stdin": "YQ=="}})
                         .json["code"], "internal")
        pty.kill()

    def test_13_list_shows_what_was_started_and_update_resizes(self):
        handle = shared().commands.run("sleep 35", background=True, envs={"A": "b"}, cwd="/tmp")
        info = next(p for p in shared().commands.list() if p.pid == handle.pid)
        self.assertEqual((info.cmd, info.args, info.envs, info.cwd), ("/bin/bash", ["-l", "-c", "sleep 35"], {"A": "b"}, "/tmp"))
        handle.kill()
        out = []
        pty = shared().pty.create(PtySize(rows=24, cols=80), cwd="/tmp", envs={"PS1": "$ "})
        shared().pty.resize(pty.pid, PtySize(rows=31, cols=99))
        shared().pty.send_stdin(pty.pid, b"stty size; echo $TERM $LANG; tty; pwd; exit 5\n")
        try:
            pty.wait(on_pty=out.append)
        except CommandExitException as error:
            self.assertEqual(error.exit_code, 5)
        said = b"".join(out).decode()
        for line in ("31 99\r\n", "xterm-256color C.UTF-8\r\n", "/dev/pts/", "/tmp\r\n"):
            self.assertIn(line, said)

    def test_pty_stream_input(self):
        pty = shared().pty.create(PtySize(rows=24, cols=80))
        shared().pty.stream_input(pty.pid, iter([b"echo str", b"eamed-$((1+1))\n", b"exit\n"]))
        out = []
        pty.wait(on_pty=out.append)
        self.assertIn("streamed-2", b"".join(out).decode())

    def test_a_slow_reader_holds_up_only_its_own_process(self):
        stream = start("head -c 50000000 /dev/zero; echo finished > /tmp/flooded")
        next(stream.frames())
        time.sleep(0.5)
        self.assertEqual(self.sh("test -e /tmp/flooded || echo waits"), "waits\n")
        stream.close()
        until(lambda: shared().files.exists("/tmp/flooded"), "goes on once nobody reads", 20)

    def test_many_commands_at_once(self):
        handles = [shared().commands.run(f"echo {i}", background=True) for i in range(40)]
        self.assertEqual([h.wait().stdout for h in handles], [f"{i}\n" for i in range(40)])


if __name__ == "__main__":
    unittest.main()
