#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The E2B SDKs, unmodified, against one daemon: suite.py [NAME...] runs all, or the named parts.

The parts run beside each other, each a process of its own with a sandbox that its tests share; what one
printed is shown where it failed.
"""
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import packages  # noqa: E402
from harness import PREFIX, Daemon, host_objects  # noqa: E402

AT_ONCE = 2


def parts():
    """{name: command}"""
    python = {p.stem.removesuffix("_test"): [str(packages.PYTHON), str(p)] for p in sorted(HERE.glob("*_test.py"))}
    javascript = {f"js-{what}-{name}": [packages.node(), "--test", str(packages.JS / f"{what}.test.mjs")]
                  for what in ("conformance", "control") for name in ("e2b", "e2b-old")}
    javascript["js-volumes"] = [packages.node(), "--test", str(packages.JS / "volumes.test.mjs")]
    return {**python, **javascript}


def environment(daemon, name):
    env = daemon.environment()
    for line in daemon.tb("env").stdout.splitlines():
        key, _, value = line.removeprefix("export ").partition("=")
        env[key] = value.strip("'\"")
    env["PYTHONPATH"] = str(HERE)
    env["TINDERBOX_BUILD"] = str(packages.BUILD)
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["TINDERBOX_DOMAIN"] = "localhost"
    env["TINDERBOX_PREFIX"] = PREFIX
    env["TINDERBOX_E2B_JS"] = "e2b-old" if name.endswith("e2b-old") else "e2b"
    return env


def run(daemon, commands):
    """Runs all, AT_ONCE beside each other; returns the names of those that failed."""
    waiting, running, failed = list(commands.items()), {}, []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name, command = waiting.pop(0)
            process = subprocess.Popen(command, env=environment(daemon, name), stdin=subprocess.DEVNULL, cwd=packages.JS,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            running[name] = (process, time.monotonic())
        name = next(iter(running))
        process, began = running.pop(name)
        output, _ = process.communicate(timeout=400)
        print(f"== {name}: {'ok' if process.returncode == 0 else 'FAILED'}, {time.monotonic() - began:.1f} s", flush=True)
        if process.returncode != 0:
            failed.append(name)
            print(output, flush=True)
        elif count := [line for line in output.splitlines() if line.startswith(("Ran ", "# pass"))]:
            print("   " + count[0])
    return failed


def main(wanted):
    packages.prepare()
    for source in HERE.glob("js/*.mjs"):  # where the packages are: node looks for them from the program's own place
        (packages.JS / source.name).write_bytes(source.read_bytes())
    commands = {name: command for name, command in parts().items() if not wanted or name in wanted}
    if not commands:
        sys.exit(f"no such part; there are: {' '.join(parts())}")
    daemon = Daemon()
    try:
        daemon.start()
        failed = run(daemon, commands)
        daemon.tb("rm", "--all")
        if left := host_objects():
            failed.append(f"left behind: {left}")
        if failed:
            print(daemon.log_tail())
    finally:
        daemon.cleanup()
    if failed:
        sys.exit(f"failed: {failed}")


if __name__ == "__main__":
    main(sys.argv[1:])
