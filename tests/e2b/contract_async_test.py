# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The asynchronous Python SDK: the same agent, by other framing (streams, chunked input, many at once)."""
import asyncio
import time
import unittest

from e2b import AsyncSandbox, CommandExitException, NotFoundException, PtySize, TimeoutException
from e2b.exceptions import SandboxNotRunningException

from case import shared


class Async(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.sandbox = await AsyncSandbox.connect(shared().sandbox_id, timeout=600)

    async def test_output_streams_and_exit_codes(self):
        came = []

        async def on_stdout(text):
            came.append((text, time.monotonic()))

        result = await self.sandbox.commands.run("for i in 1 2; do echo $i; sleep 0.4; done; echo $COLOUR >&2", on_stdout=on_stdout)
        self.assertEqual((result.stdout, result.stderr), ("1\n2\n", "green\n"))
        self.assertGreater(came[1][1] - came[0][1], 0.2)
        with self.assertRaises(CommandExitException) as caught:
            await self.sandbox.commands.run("exit 9")
        self.assertEqual(caught.exception.exit_code, 9)
        with self.assertRaises(TimeoutException):
            await self.sandbox.commands.run("sleep 51", timeout=0.5)

    async def test_many_streams_at_once(self):
        results = await asyncio.gather(*(self.sandbox.commands.run(f"sleep 0.2; echo {i}") for i in range(30)))
        self.assertEqual([r.stdout for r in results], [f"{i}\n" for i in range(30)])

    async def test_input_and_its_end(self):
        cat = await self.sandbox.commands.run("cat", background=True, stdin=True)
        await self.sandbox.commands.send_stdin(cat.pid, "typed")
        await self.sandbox.commands.close_stdin(cat.pid)
        self.assertEqual((await cat.wait()).stdout, "typed")
        with self.assertRaises(NotFoundException):
            await self.sandbox.commands.connect(99999)

    async def test_stream_input_is_applied_as_it_is_sent(self):
        seen = asyncio.Queue()
        cat = await self.sandbox.commands.run("cat", background=True, stdin=True, on_stdout=seen.put)
        async with self.sandbox.commands.stream_input(cat.pid) as stream:
            for text in ("one", b"two"):
                await stream.send(text)
                self.assertIn(await asyncio.wait_for(seen.get(), 10), ("one", "two"))
        await self.sandbox.commands.close_stdin(cat.pid)
        self.assertEqual((await cat.wait()).stdout, "onetwo")

    async def test_pty(self):
        out = []

        async def on_data(data):
            out.append(data)

        pty = await self.sandbox.pty.create(PtySize(rows=24, cols=80), on_data=on_data)
        await self.sandbox.pty.resize(pty.pid, PtySize(rows=31, cols=99))
        await self.sandbox.pty.send_stdin(pty.pid, b"stty size; exit\n")
        await pty.wait()
        self.assertIn(b"31 99\r\n", b"".join(out))

    async def test_files_streamed_both_ways(self):
        async def blocks():
            for _ in range(8):
                yield b"ab" * 50_000

        await self.sandbox.files.write("as/big", blocks())
        got = [chunk async for chunk in await self.sandbox.files.read("as/big", format="stream")]
        self.assertEqual(b"".join(got), b"ab" * 400_000)
        written = await asyncio.gather(*(self.sandbox.files.write(f"as/{i}", str(i)) for i in range(40)))
        self.assertEqual(len({w.path for w in written}), 40)
        self.assertEqual(len(await self.sandbox.files.list("as")), 41)

    async def test_killed_mid_command(self):
        other = await AsyncSandbox.create(timeout=60)
        self.assertTrue(await other.is_running())
        handle = await other.commands.run("sleep 60", background=True)
        await asyncio.sleep(0.2)
        self.assertTrue(await other.kill())
        with self.assertRaises(SandboxNotRunningException):
            await handle.wait()
        self.assertFalse(await other.is_running())


if __name__ == "__main__":
    unittest.main()
