"""A sandbox that is paused costs no memory and no CPU, and goes on where it was."""
from e2b import Sandbox

sandbox = Sandbox.create(timeout=120)
counter = "i=0; while true; do i=$((i+1)); echo $i > /tmp/new; mv /tmp/new /tmp/count; sleep 0.1; done"
process = sandbox.commands.run(counter, background=True, timeout=0)
sandbox.commands.run("until [ -s /tmp/count ]; do sleep 0.1; done")

sandbox.pause()
print("running:", sandbox.is_running())

sandbox.connect(timeout=120)  # resumes it
before = int(sandbox.files.read("/tmp/count"))
sandbox.commands.run("sleep 1")
after = int(sandbox.files.read("/tmp/count"))
print("the same process counts on:", after > before, process.pid in [p.pid for p in sandbox.commands.list()])
sandbox.kill()
