"""Output as it comes, input, and a command in the background."""
from e2b import Sandbox

with Sandbox.create(timeout=120) as sandbox:
    sandbox.commands.run(
        "for i in 1 2 3; do echo step $i; sleep 0.3; done; echo done >&2",
        on_stdout=lambda text: print("out:", text, end=""),
        on_stderr=lambda text: print("err:", text, end=""),
    )

    # A command that goes on while we do something else, and reads what we send.
    sort = sandbox.commands.run("sort", background=True, stdin=True)
    for line in ("pear\n", "apple\n", "fig\n"):
        sandbox.commands.send_stdin(sort.pid, line)
    sandbox.commands.close_stdin(sort.pid)
    print(sort.wait().stdout, end="")

    server = sandbox.commands.run("sleep 600", background=True)
    print("running:", [process.cmd for process in sandbox.commands.list()])
    print("killed:", server.kill())
