# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""filesystem.Filesystem, by the SDK and below it."""
import asyncio
import unittest

from e2b import AsyncSandbox, FileType, InvalidArgumentException, NotFoundException
from e2b.sandbox.filesystem.watch_handle import FilesystemEventType

from case import Case, Stream, shared, unary, until

ROOT = "/home/user/fs"


def entry(path):
    return unary("filesystem.Filesystem/Stat", {"path": path}).json["entry"]


class Entries(Case):
    @classmethod
    def setUpClass(cls):
        shared().commands.run(f"rm -rf {ROOT}; mkdir -p {ROOT}/d/e/f && cd {ROOT} && printf 12345 > d/file && chmod 640 d/file && "
                              "ln -s file d/link && ln -s /no/such d/broken && ln -s d dirlink && mkfifo d/fifo && touch d/e/x")

    def test_stat_of_a_file(self):
        info = entry(f"{ROOT}/d/file")
        self.assertEqual({k: v for k, v in info.items() if k != "modifiedTime"}, {
            "name": "file", "type": "FILE_TYPE_FILE", "path": f"{ROOT}/d/file", "size": "5", "mode": 0o640,
            "permissions": "-rw-r-----", "owner": "user", "group": "user"})
        self.assertEqual(entry(f"{ROOT}/d")["permissions"], "drwxr-xr-x")

    def test_stat_of_links(self):
        info = entry(f"{ROOT}/d/link")
        self.assertEqual((info["type"], info["mode"], info["symlinkTarget"], info["isSymlink"]),
                         ("FILE_TYPE_FILE", 0o640, f"{ROOT}/d/file", True))
        self.assertTrue(info["permissions"].startswith("L"))
        broken = entry(f"{ROOT}/d/broken")
        self.assertNotIn("type", broken)
        self.assertTrue(broken["isSymlink"])
        self.assertEqual(shared().files.get_info(f"{ROOT}/d/link").type, FileType.SYMLINK)
        with self.assertRaises(NotFoundException):
            shared().files.get_info("/no/such")
        self.assertEqual([shared().files.exists(f"{ROOT}/d"), shared().files.exists("/no/such")], [True, False])

    def test_owner_and_group_by_name_else_number(self):
        self.sh(f"touch {ROOT}/num && chown 4242:4343 {ROOT}/num", user="root")
        info = entry(f"{ROOT}/num")
        self.assertEqual((info["owner"], info["group"]), ("4242", "4343"))
        self.sh(f"rm -f {ROOT}/num", user="root")

    def listed(self, path, **message):
        return [e["path"].removeprefix(path + "/") for e in
                unary("filesystem.Filesystem/ListDir", {"path": path, **message}).json.get("entries", [])]

    def test_list_is_pre_order_and_lexical_and_depth_0_means_1(self):
        one = self.listed(f"{ROOT}/d")
        self.assertEqual([p for p in one if p != "broken"], ["e", "file", "link"])
        self.assertEqual(self.listed(f"{ROOT}/d", depth=0), one)
        self.assertEqual([p for p in self.listed(f"{ROOT}/d", depth=3) if p != "broken"], ["e", "e/f", "e/x", "file", "link"])
        self.assertEqual([e.name for e in shared().files.list(f"{ROOT}/d/e")], ["f", "x"])

    def test_list_follows_a_link_given_as_root_and_keeps_its_prefix(self):
        self.assertIn("file", self.listed(f"{ROOT}/dirlink"))
        self.assertTrue(all(e.path.startswith(f"{ROOT}/dirlink/") for e in shared().files.list(f"{ROOT}/dirlink")))

    def test_list_refuses_files_and_missing(self):
        self.assertEqual(unary("filesystem.Filesystem/ListDir", {"path": f"{ROOT}/d/file"}).json["code"], "invalid_argument")
        self.assertEqual(unary("filesystem.Filesystem/ListDir", {"path": "/no/such"}).json["code"], "not_found")
        with self.assertRaises(InvalidArgumentException):
            shared().files.list(ROOT, depth=0)

    def test_make_dir(self):
        self.assertTrue(shared().files.make_dir(f"{ROOT}/new/deep"))
        self.assertFalse(shared().files.make_dir(f"{ROOT}/new/deep"))
        self.assertEqual(self.sh(f"stat -c '%U %a' {ROOT}/new"), "user 755\n")
        self.assertEqual(unary("filesystem.Filesystem/MakeDir", {"path": f"{ROOT}/d/file"}).json["code"], "invalid_argument")

    def test_move_makes_parents_and_renames(self):
        shared().files.write(f"{ROOT}/from", "moved")
        info = shared().files.rename(f"{ROOT}/from", f"{ROOT}/made/by/move")
        self.assertEqual((info.path, shared().files.read(f"{ROOT}/made/by/move")), (f"{ROOT}/made/by/move", "moved"))
        with self.assertRaises(NotFoundException):
            shared().files.rename(f"{ROOT}/from", f"{ROOT}/x")

    def test_remove_is_recursive_and_missing_is_success(self):
        shared().files.write(f"{ROOT}/gone/a/b", "x")
        shared().files.remove(f"{ROOT}/gone")
        self.assertFalse(shared().files.exists(f"{ROOT}/gone"))
        shared().files.remove(f"{ROOT}/gone")


class Watching(Case):
    def fresh(self, name):
        path = f"{ROOT}/watch-{name}"
        self.sh(f"rm -rf {path}; mkdir -p {path}")
        return path

    def collect(self, handle, wanted, seconds=10):
        """Polls until all of `wanted` (type, name) were told; returns everything that was."""
        told = []

        def all_there():
            told.extend((e.type, e.name) for e in handle.get_new_events())
            return set(wanted) <= set(told)

        until(all_there, f"{wanted} in {told}", seconds)
        return told

    def test_create_write_chmod_rename_remove(self):
        path = self.fresh("kinds")
        handle = shared().files.watch_dir(path)
        shared().files.write(f"{path}/f", "x")
        self.sh(f"cd {path}; chmod 600 f; mv f g; rm g")
        kind = FilesystemEventType
        told = self.collect(handle, [(kind.CREATE, "f"), (kind.WRITE, "f"), (kind.CHMOD, "f"), (kind.RENAME, "f"),
                                     (kind.CREATE, "g"), (kind.REMOVE, "g")])
        self.assertLess(told.index((kind.CREATE, "f")), told.index((kind.RENAME, "f")))
        self.assertEqual(handle.get_new_events(), [], "drained")
        handle.stop()
        gone = unary("filesystem.Filesystem/GetWatcherEvents", {"watcherId": handle._watcher_id})
        self.assertEqual(gone.json["code"], "not_found")

    def test_recursive_covers_directories_created_later(self):
        path = self.fresh("deep")
        handle = shared().files.watch_dir(path, recursive=True)
        self.sh(f"mkdir -p {path}/a/b/c; sleep 0.3; echo x > {path}/a/b/c/file")
        self.collect(handle, [(FilesystemEventType.CREATE, "a"), (FilesystemEventType.WRITE, "a/b/c/file")])
        handle.stop()
        flat = shared().files.watch_dir(path)
        self.sh(f"echo y > {path}/a/below; echo z > {path}/end")
        told = self.collect(flat, [(FilesystemEventType.WRITE, "end")])
        self.assertNotIn("a/below", [name for _, name in told])
        flat.stop()

    def test_entries_only_for_create_write_chmod(self):
        path = self.fresh("entry")
        handle = shared().files.watch_dir(path, include_entry=True)
        self.sh(f"cd {path}; mkdir d; rmdir d; echo x > stays")
        events = []
        until(lambda: events.extend(handle.get_new_events()) or any(
            e.name == "stays" and e.type == FilesystemEventType.WRITE for e in events), "the write")
        self.assertTrue(any(e.entry and e.entry.path == f"{path}/stays" for e in events))
        self.assertTrue(all(e.entry is None for e in events if e.type == FilesystemEventType.REMOVE))
        handle.stop()

    def test_what_cannot_be_watched(self):
        with self.assertRaises(NotFoundException):
            shared().files.watch_dir("/no/such")
        with self.assertRaises(InvalidArgumentException):
            shared().files.watch_dir("/etc/passwd")
        _, end = Stream("filesystem.Filesystem/WatchDir", {"path": "/no/such"}).all()
        self.assertEqual(end["error"]["code"], "not_found")

    def test_watch_dir_starts_with_start_and_keeps_alive(self):
        path = self.fresh("stream")
        stream = Stream("filesystem.Filesystem/WatchDir", {"path": path}, {"Keepalive-Ping-Interval": "1"})
        frames = stream.frames()
        self.assertEqual(next(frames), (0, {"start": {}}))
        self.assertEqual(next(frames), (0, {"keepalive": {}}))
        shared().files.make_dir(f"{path}/made")
        self.assertEqual(next(frames), (0, {"filesystem": {"name": "made", "type": "EVENT_TYPE_CREATE"}}))
        stream.close()

    def test_async_python_watches_by_the_stream(self):
        path = self.fresh("async")

        async def run():
            sandbox = await AsyncSandbox.connect(shared().sandbox_id, timeout=600)
            events, enough = [], asyncio.Event()

            async def on_event(event):
                events.append((event.type, event.name))
                if event.type == FilesystemEventType.WRITE:
                    enough.set()

            handle = await sandbox.files.watch_dir(path, on_event=on_event)
            await sandbox.files.write(f"{path}/f", "x")
            await asyncio.wait_for(enough.wait(), 10)
            await handle.stop()
            return events

        self.assertIn((FilesystemEventType.CREATE, "f"), asyncio.run(run()))


if __name__ == "__main__":
    unittest.main()
