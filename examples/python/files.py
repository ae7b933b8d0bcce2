"""Files in and out, and a directory that is watched."""
import time

from e2b import Sandbox

with Sandbox.create(timeout=120) as sandbox:
    # Missing directories are made; relative paths start at the user's home.
    sandbox.files.write("project/data.csv", "name,count\nfig,3\n")
    sandbox.files.write_files([
        {"path": "project/a.txt", "data": "text"},
        {"path": "project/b.bin", "data": b"\x00\x01\x02"},
    ])
    print(sandbox.files.read("project/data.csv"), end="")
    for entry in sandbox.files.list("project"):
        print(f"{entry.permissions} {entry.size:5} {entry.name}")

    watch = sandbox.files.watch_dir("project", recursive=True)
    sandbox.commands.run("mkdir project/out && echo result > project/out/r.txt && rm project/a.txt")
    time.sleep(0.5)
    for event in watch.get_new_events():
        print(event.type.value, event.name)
    watch.stop()

    # A link that whoever has it can use without a key, for a minute.
    print("download:", sandbox.download_url("project/data.csv", use_signature_expiration=60))
