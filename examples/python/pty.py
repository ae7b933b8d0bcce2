"""A terminal in the sandbox: typed into, resized, read."""
from e2b import PtySize, Sandbox

with Sandbox.create(timeout=120) as sandbox:
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), envs={"PS1": "$ "})
    sandbox.pty.resize(terminal.pid, PtySize(rows=40, cols=120))
    sandbox.pty.send_stdin(terminal.pid, b"stty size\n")
    sandbox.pty.send_stdin(terminal.pid, b"echo hello from $(tty)\n")
    sandbox.pty.send_stdin(terminal.pid, b"exit\n")
    terminal.wait(on_pty=lambda data: print(data.decode(errors="replace"), end=""))
