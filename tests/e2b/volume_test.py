# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Volumes by the Python SDK, synchronous and asynchronous: every call that it has."""
import asyncio
import datetime
import hashlib
import io
import os
import unittest

from e2b import AsyncVolume, AuthenticationException, Sandbox, Volume
from e2b.exceptions import VolumeException, VolumeNotFoundException, VolumePathNotFoundException
from e2b.volume.types import VolumeFileType

from case import Case, own


class Volumes(Case):
    def setUp(self):
        self.volume = Volume.create(f"t-{os.urandom(6).hex()}")
        self.addCleanup(Volume.destroy, self.volume.volume_id)

    def test_control_calls(self):
        other = Volume.connect(self.volume.volume_id)
        self.assertEqual((other.volume_id, other.name, other.token), (self.volume.volume_id, self.volume.name, self.volume.token))
        info = Volume.get_info(self.volume.volume_id)
        self.assertEqual((info.name, info.token), (self.volume.name, self.volume.token))
        self.assertIn((self.volume.volume_id, self.volume.name), [(v.volume_id, v.name) for v in Volume.list()])
        with self.assertRaisesRegex(VolumeException, "409: a volume named"):
            Volume.create(self.volume.name)
        with self.assertRaisesRegex(VolumeException, "400: the volume's name"):
            Volume.create("no/name")
        with self.assertRaises(VolumeNotFoundException):
            Volume.get_info("nosuch")
        with self.assertRaises(VolumeNotFoundException):
            Volume.connect("nosuch")
        self.assertFalse(Volume.destroy("nosuch"))
        gone = Volume.create(f"t-{os.urandom(6).hex()}")
        self.assertTrue(Volume.destroy(gone.volume_id))
        self.assertFalse(Volume.destroy(gone.volume_id))

    def test_files(self):
        entry = self.volume.write_file("/a.txt", "hällo", mode=0o640, uid=1000, gid=1001)
        self.assertEqual((entry.name, entry.path, entry.type, entry.size, entry.mode, entry.uid, entry.gid),
                         ("a.txt", "/a.txt", VolumeFileType.FILE, 6, 0o640, 1000, 1001))
        self.assertLess(abs(datetime.datetime.now(datetime.timezone.utc) - entry.mtime), datetime.timedelta(minutes=1))
        self.assertEqual(self.volume.read_file("/a.txt"), "hällo")
        self.assertEqual(self.volume.read_file("a.txt", format="bytes"), "hällo".encode())
        self.volume.write_file("/a.txt", b"\0\xff")
        self.assertEqual(bytes(self.volume.read_file("/a.txt", format="bytes")), b"\0\xff")
        self.volume.write_file("/io", io.BytesIO(b"from a file"))
        self.assertEqual(self.volume.read_file("/io"), "from a file")
        self.volume.write_file("/empty", "")
        self.assertEqual(self.volume.read_file("/empty"), "")
        for call in (self.volume.read_file, self.volume.get_info, self.volume.remove, self.volume.list):
            with self.assertRaises(VolumePathNotFoundException, msg=call):
                call("/no")
        with self.assertRaises(VolumePathNotFoundException):
            self.volume.write_file("/no/such", "x")
        self.volume.write_file("/made/on/the/way", "x", force=True)
        self.assertEqual(self.volume.read_file("/made/on/the/way"), "x")

    def test_directories(self):
        made = self.volume.make_dir("/d", mode=0o700, uid=3, gid=4)
        self.assertEqual((made.type, made.mode, made.uid, made.gid), (VolumeFileType.DIRECTORY, 0o700, 3, 4))
        with self.assertRaises(VolumeException):
            self.volume.make_dir("/d")
        with self.assertRaises(VolumePathNotFoundException):
            self.volume.make_dir("/x/y")
        self.volume.make_dir("/d/e/f", force=True)
        self.volume.write_file("/d/file", "x")
        self.assertEqual([e.path for e in self.volume.list("/")], ["/d"])
        self.assertEqual([e.path for e in self.volume.list("/d", depth=5)], ["/d/e", "/d/file", "/d/e/f"])
        self.assertTrue(self.volume.exists("/d/e"))
        changed = self.volume.update_metadata("/d/e", mode=0o711, uid=1, gid=2)
        self.assertEqual((changed.mode, changed.uid, changed.gid), (0o711, 1, 2))
        self.volume.remove("/d")
        self.assertFalse(self.volume.exists("/d/e"))
        self.assertEqual(self.volume.list("/"), [])

    def test_large_files_stream_both_ways(self):
        pieces = [bytes([i % 251]) * 100_003 for i in range(200)]
        entry = self.volume.write_file("/large", iter_file(pieces))
        whole = b"".join(pieces)
        self.assertEqual(entry.size, len(whole))
        digest = hashlib.sha256()
        for piece in self.volume.read_file("/large", format="stream"):
            digest.update(piece)
        self.assertEqual(digest.hexdigest(), hashlib.sha256(whole).hexdigest())

    def test_another_token_opens_nothing(self):
        other = Volume.create(f"t-{os.urandom(6).hex()}")
        self.addCleanup(Volume.destroy, other.volume_id)
        wrong = Volume(self.volume.volume_id, self.volume.name, token=other.token)
        with self.assertRaises(AuthenticationException):
            wrong.list("/")


class Mounts(Case):
    def test_mounted_by_object_and_by_name(self):
        volume = Volume.create(f"t-{os.urandom(6).hex()}")
        self.addCleanup(Volume.destroy, volume.volume_id)
        volume.write_file("/in", "from outside", uid=1000)
        with own(volume_mounts={"/mnt/data": volume}) as one, own(volume_mounts={"/home/user/shared": volume.name}) as two:
            self.assertEqual(one.files.read("/mnt/data/in"), "from outside")
            one.files.write("/mnt/data/out", "by the agent")
            self.assertEqual(two.commands.run("cat ~/shared/out").stdout, "by the agent")
            two.commands.run("echo more >> ~/shared/out")
            self.assertEqual(volume.read_file("/out"), "by the agentmore\n")
            self.assertEqual([(m["path"], m["name"]) for m in one.get_info().volume_mounts], [("/mnt/data", volume.name)])
            with self.assertRaisesRegex(VolumeException, "409: volume"):
                Volume.destroy(volume.volume_id)
        with self.assertRaisesRegex(Exception, "not found"):
            Sandbox.create(volume_mounts={"/mnt": "nosuch"})


def iter_file(pieces):
    """A file of which nobody knows the length."""
    class Pieces(io.RawIOBase):
        rest = list(pieces)

        def readable(self):
            return True

        def read(self, _=-1):
            return self.rest.pop(0) if self.rest else b""

    return Pieces()


class AsyncVolumes(unittest.IsolatedAsyncioTestCase):
    async def test_every_call(self):
        volume = await AsyncVolume.create(f"t-{os.urandom(6).hex()}")
        try:
            self.assertEqual((await AsyncVolume.connect(volume.volume_id)).token, volume.token)
            self.assertEqual((await AsyncVolume.get_info(volume.volume_id)).name, volume.name)
            self.assertIn(volume.name, [v.name for v in await AsyncVolume.list()])
            await asyncio.gather(*(volume.write_file(f"/many/{i}", f"file {i}", force=True) for i in range(20)))
            self.assertEqual(len(await volume.list("/many")), 20)
            self.assertEqual(await volume.read_file("/many/7"), "file 7")
            self.assertEqual(await volume.read_file("/many/7", format="bytes"), b"file 7")
            got = b""
            async for piece in await volume.read_file("/many/7", format="stream"):
                got += piece
            self.assertEqual(got, b"file 7")
            self.assertEqual((await volume.make_dir("/d", mode=0o750)).mode, 0o750)
            self.assertEqual((await volume.update_metadata("/d", uid=12)).uid, 12)
            self.assertEqual((await volume.get_info("/d")).type, VolumeFileType.DIRECTORY)
            self.assertTrue(await volume.exists("/d"))
            await volume.remove("/d")
            self.assertFalse(await volume.exists("/d"))
            with self.assertRaises(VolumePathNotFoundException):
                await volume.read_file("/d")
        finally:
            self.assertTrue(await AsyncVolume.destroy(volume.volume_id))
        self.assertFalse(await AsyncVolume.destroy(volume.volume_id))


if __name__ == "__main__":
    unittest.main()
