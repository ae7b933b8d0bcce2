# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: a daemon of their own, and looks at the host from outside.

The daemon has its own run directory, names, addresses and port, so that it can run beside an installed one.
tests/e2e/prepare-state makes its state (kernel, base template) once.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("TINDERBOX_BUILD", ROOT / "build/release"))
# Two files of tests run at once, each in a lane of its own: "" or "b". The lanes share no name, address or state.
LANE = os.environ.get("TINDERBOX_TEST_LANE", "")
SUFFIX = f"-{LANE}" if LANE else ""
STATE = pathlib.Path(os.environ.get("TINDERBOX_TEST_STATE", str(ROOT / "build/test-state")) + SUFFIX)
RUN = pathlib.Path("/run/tinderbox-e2e" + SUFFIX)
CGROUP = "tinderbox-e2e" + SUFFIX
PREFIX, CIDR, UID_BASE = {"": ("tbe", "10.212.0.0/16", 1910000000), "b": ("tbf", "10.213.0.0/16", 1920000000)}[LANE]
# On the emulated machine with KVM (tests/kvm): the VMM that is tested, and how many times slower it is.
VMM = os.environ.get("TINDERBOX_TEST_VMM", "auto")
PATIENCE = float(os.environ.get("TINDERBOX_TEST_PATIENCE", "1"))

CONFIG = """
listen = "127.0.0.1:{port}"
socket = "{run}/tinderboxd.sock"
state_dir = "{state}"
run_dir = "{run}"
warden = "{build}/src/warden/tinderbox-warden"
agent = "{build}/src/agent/tinderbox-agent"
vmm = "{vmm}"
firecracker = "{firecracker}"

[network]
prefix = "{prefix}"
cidr = "{cidr}"
dns = ["203.0.113.53"]
ready_slots = {slots}

[limits]
cgroup = "{cgroup}"
uid_base = {uid_base}
boot_seconds = {boot_seconds}

# The tests' guests are idle: as many as a test wants, on a small machine, too.
[host.overcommit]
memory = 8.0
cpus = 100.0
disk = 100.0

[pool]
ready = {ready}
most = {most}
templates = []
"""


def program(name):
    """The path of a program in the build tree."""
    folders = {"tinderbox": "cli", "tinderboxd": "daemon", "tinderbox-launch": "launch"}
    return str(BUILD / "src" / folders[name] / name)


def dying_daemon():
    """The tests' own build of the daemon, the only one that knows TINDERBOX_DIE_AT."""
    return str(BUILD / "src/daemon/stages/tinderboxd")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds, what):
    """Waits until condition() is true and returns its value; fails after `seconds` (times PATIENCE)."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Daemon:
    """A tinderboxd of the tests' own. start() and stop() may alternate; sandboxes live on."""

    def __init__(self, vmm=VMM, extra="", extra_top="", ready=0, most=0, slots=0):
        self.port = free_port()
        self.process = None
        self.vmm, self.extra, self.extra_top, self.slots = vmm, extra, extra_top, slots
        self.ready, self.most = ready, most
        RUN.mkdir(parents=True, exist_ok=True)
        self.config = RUN / "tinderbox.toml"
        self.write_config()
        self.log = RUN / "tinderboxd.log"
        self.key = None

    def write_config(self):
        self.config.write_text(
            self.extra_top
            + CONFIG.format(port=self.port, run=RUN, state=STATE, build=BUILD, prefix=PREFIX, cidr=CIDR,
                            cgroup=CGROUP, uid_base=UID_BASE, vmm=self.vmm,
                            firecracker=os.environ.get("TINDERBOX_FIRECRACKER", ""),
                            boot_seconds=int(60 * PATIENCE), ready=self.ready, most=self.most,
                            slots=self.slots)
            + self.extra
        )

    def start(self, die_at=None, arguments=()):
        """`die_at`: the daemon kills itself at this point (src/sandbox/stage.h). `arguments`: of its command `run`."""
        output = open(self.log, "ab")
        self.process = subprocess.Popen(
            [dying_daemon() if die_at else program("tinderboxd"), "run", "--config", str(self.config), *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **({"TINDERBOX_DIE_AT": die_at} if die_at else {})},
        )
        output.close()

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"tinderboxd exited {self.process.returncode}:\n{self.log_tail()}")
            return self.tb("info", check=False).returncode == 0

        wait_for(answers, 30, "the daemon answers")
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30 * PATIENCE)
        self.process = None

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def cleanup(self):
        """Ends the daemon and everything that it made."""
        self.stop()
        shutil.rmtree(STATE / "pool/lost+found", ignore_errors=True)
        result = subprocess.run(
            [program("tinderboxd"), "cleanup", "--all", "--config", str(self.config)],
            capture_output=True, text=True,
        )
        if result.returncode != 0:
            raise AssertionError(f"cleanup exited {result.returncode}:\n{result.stderr}")
        shutil.rmtree(RUN, ignore_errors=True)

    def log_tail(self):
        return self.log.read_text(errors="replace")[-4000:]

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("E2B_", "TINDERBOX_"))}
        env["TINDERBOX_HOST"] = f"unix://{RUN}/tinderboxd.sock"
        env["HOME"] = str(RUN)
        env.pop("XDG_STATE_HOME", None)
        env.pop("XDG_CONFIG_HOME", None)
        return env

    def tb(self, *arguments, check=True, text=True, timeout=120, **options):
        """Runs the command line client and returns the finished process."""
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        if "input" in options:
            options.pop("stdin")
        result = subprocess.run(
            [program("tinderbox"), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text, timeout=timeout * PATIENCE,
            env=self.environment(), **options,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"tinderbox {arguments} exited {result.returncode}\n{result.stdout}\n{result.stderr}\n"
                f"daemon:\n{self.log_tail()}"
            )
        return result

    def popen(self, *arguments, **options):
        return subprocess.Popen([program("tinderbox"), *map(str, arguments)], env=self.environment(), **options)

    def json(self, *arguments):
        return json.loads(self.tb("--json", *arguments).stdout)

    def create(self, *arguments):
        return self.tb("create", *arguments).stdout.strip()

    def inspect(self, sandbox):
        answer = self.json("inspect", sandbox)
        return answer[0] if isinstance(answer, list) else answer

    def api(self, method, path, body=None, key=None, headers=None):
        """One request on the TCP port: (status, headers, decoded JSON or text)."""
        if key is None:
            key = self.api_key()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-KEY": key, "Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60 * PATIENCE) as answer:
                status, head, data = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, head, data = error.code, error.headers, error.read()
        try:
            return status, head, json.loads(data) if data else None
        except json.JSONDecodeError:
            return status, head, data.decode(errors="replace")

    def api_key(self):
        if self.key is None:
            for line in self.tb("env").stdout.splitlines():
                name, _, value = line.removeprefix("export ").partition("=")
                if name == "E2B_API_KEY":
                    self.key = value.strip("'\"")
        return self.key


class DaemonTest(unittest.TestCase):
    """A test case whose class has a daemon, and removes all sandboxes after each test."""

    daemon: Daemon
    extra_config = ""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(extra=cls.extra_config)
        cls.addClassCleanup(cls.daemon.cleanup)
        cls.daemon.start()

    def tearDown(self):
        if self.daemon.process is None:
            self.daemon.start()
        self.daemon.tb("rm", "--all")
        self.assertEqual(host_objects(), [], "left behind")

    def tb(self, *arguments, **options):
        return self.daemon.tb(*arguments, **options)


def read(path):
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_text(errors="replace")
    return ""


def host_objects(disks=True):
    """What of this daemon's sandboxes is on the host: nothing, once all are removed. Without `disks`, files of
    paused ones do not count."""

    def look():
        found = [f"netns {n}" for n in os.listdir("/run/netns") if n.startswith(PREFIX + "-")] if os.path.isdir("/run/netns") else []
        found += [f"link {n}" for n in os.listdir("/sys/class/net") if n.startswith(PREFIX + "v")]
        found += [f"run {p}" for p in RUN.glob("vm/*")]
        found += [f"disk {p}" for p in STATE.glob("pool/sandboxes/*" if disks else "pool/sandboxes/*/disk.img")]
        found += [f"half-made {p}" for p in [*STATE.glob("pool/captures/*"), *STATE.glob("pool/forks/*")]]
        found += [f"cgroup {p}" for p in pathlib.Path("/sys/fs/cgroup").glob(f"**/{CGROUP}/*/")]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            comm = read(f"/proc/{pid}/comm").strip()
            if comm == "tinderbox-warde" and f"/{CGROUP}/" in read(f"/proc/{pid}/cgroup"):
                found.append(f"process {pid}")
        return found

    deadline = time.monotonic() + 5 * PATIENCE
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def process_gone(pid):
    status = read(f"/proc/{pid}/status")
    return not status or "\nState:\tZ" in status
