"""A sandbox, a command, the end."""
from e2b import CommandExitException, Sandbox

sandbox = Sandbox.create(timeout=120)
print("sandbox", sandbox.sandbox_id)

result = sandbox.commands.run("python3 -c 'print(6 * 7)'; uname -sr")
print(result.stdout, end="")

try:
    sandbox.commands.run("echo this fails >&2; exit 3")
except CommandExitException as error:
    print("exit code", error.exit_code, "and it said:", error.stderr, end="")

sandbox.kill()
print("running:", sandbox.is_running())
