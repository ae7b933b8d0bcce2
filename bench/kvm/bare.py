# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""The barest Firecracker: a process in a chroot, API calls, and the same agent. No daemon, warden, jail or firewall."""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time

GUEST = ("169.254.0.21", 49983)
NETNS, TAP = "tbbare", "tap0"
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def inside(netns):
    """This thread is in the network namespace."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{netns}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


class Connection(http.client.HTTPConnection):
    """HTTP over a socket that is made elsewhere."""

    def __init__(self, connected):
        super().__init__("localhost", timeout=120)
        self.sock = connected

    def connect(self):
        raise OSError("the connection was closed")


def first_output(connection, headers, command):
    """Runs `command` by the agent's Connect RPC and returns what it printed first."""
    message = json.dumps({"process": {"cmd": command[0], "args": command[1:]}}).encode()
    connection.request("POST", "/process.Process/Start", b"\0" + struct.pack(">I", len(message)) + message,
                       {"Content-Type": "application/connect+json", "Connect-Protocol-Version": "1", **headers})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"Start: {response.status} {response.read()}")
    while True:
        head = response.read(5)
        event = json.loads(response.read(struct.unpack(">I", head[1:])[0]))
        data = event.get("event", {}).get("data", {})
        if "stdout" in data:
            return data["stdout"]
        if "end" in event.get("event", {}) or head[0] & 2:
            raise RuntimeError(f"the command printed nothing: {event}")


class BareFirecracker:
    """VMs restored from `boot`, a directory with memory.img, vmm.state and disk.img, one at a time."""

    def __init__(self, firecracker, boot, directory):
        self.firecracker, self.boot, self.root = firecracker, boot, pathlib.Path(directory)
        self.process = None
        subprocess.run(["ip", "netns", "del", NETNS], capture_output=True)
        ip("netns", "add", NETNS)
        ip("-n", NETNS, "tuntap", "add", TAP, "mode", "tap", "vnet_hdr")
        # As the guest knows its gateway; with another address its replies would be lost for 10 s.
        ip("-n", NETNS, "link", "set", TAP, "address", "02:fc:00:00:00:06")
        ip("-n", NETNS, "addr", "add", "169.254.0.22/30", "dev", TAP)
        ip("-n", NETNS, "link", "set", TAP, "up")
        ip("-n", NETNS, "neigh", "add", GUEST[0], "lladdr", "02:fc:00:00:00:05", "nud", "permanent", "dev", TAP)

    def close(self):
        self.end()
        ip("netns", "del", NETNS)

    def prepare(self):
        """What a bare user would have ready before a request comes: the files and the device nodes."""
        self.end()
        (self.root / "dev/net").mkdir(parents=True)
        (self.root / "snapshots").mkdir()
        for name, number in (("kvm", (10, 232)), ("net/tun", (10, 200)), ("urandom", (1, 9)), ("null", (1, 3))):
            os.mknod(self.root / "dev" / name, 0o600 | 0o020000, os.makedev(*number))
        shutil.copy(self.firecracker, self.root / "firecracker")
        os.link(self.boot / "memory.img", self.root / "memory.img")  # one file, one copy in the page cache
        os.link(self.boot / "vmm.state", self.root / "vmm.state")
        subprocess.run(["cp", "--reflink=always", self.boot / "disk.img", self.root / "rootfs.ext4"], check=True)

    def launch(self):
        def enter():
            os.chroot(self.root)
            os.chdir("/")
        with inside(NETNS):
            self.process = subprocess.Popen(["/firecracker", "--api-sock", "/api.sock", "--level", "Error"], preexec_fn=enter,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def boot_with_balloon(self, kernel, memory_mib):
        """`kernel`: a directory with vmlinux and initrd.img. The balloon is empty at first."""
        for name in ("vmlinux", "initrd.img"):
            shutil.copy(kernel / name, self.root / name)
        self.launch()
        self.api("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": memory_mib, "track_dirty_pages": True})
        self.api("PUT", "/boot-source", {"kernel_image_path": "/vmlinux", "initrd_path": "/initrd.img", "boot_args":
                                         "console=ttyS0 quiet reboot=k panic=-1 random.trust_cpu=on"})
        self.api("PUT", "/drives/rootfs", {"drive_id": "rootfs", "path_on_host": "/rootfs.ext4", "is_root_device": False,
                                           "is_read_only": False})
        self.api("PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": TAP, "guest_mac": "02:fc:00:00:00:05"})
        self.api("PUT", "/balloon", {"amount_mib": 0, "deflate_on_oom": True, "stats_polling_interval_s": 1})
        self.api("PUT", "/actions", {"action_type": "InstanceStart"})

    def start(self, track_dirty=False):
        """Process, snapshot load, resume. Returns when Firecracker has answered."""
        self.launch()
        self.api("PUT", "/snapshot/load", {
            "snapshot_path": "/vmm.state", "mem_backend": {"backend_type": "File", "backend_path": "/memory.img"},
            "enable_diff_snapshots": track_dirty, "resume_vm": True})

    def api(self, method, path, body=None):
        deadline = time.monotonic() + 30
        connected = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connected.connect(str(self.root / "api.sock"))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.0005)
        connection = Connection(connected)
        if body is None:
            connection.request(method, path)
        else:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text}")
        return json.loads(text) if text else None

    def connect(self, seconds=60):
        """To the agent. A guest that was just resumed may need a moment."""
        deadline = time.monotonic() + seconds
        while True:
            with inside(NETNS):
                connected = socket.socket()
            connected.settimeout(1)
            try:
                connected.connect(GUEST)
                connected.settimeout(120)
                return Connection(connected)
            except OSError:
                connected.close()
                if time.monotonic() > deadline:
                    raise

    def snapshot(self, kind, memory):
        """Pause, snapshot, resume: milliseconds that the guest stood still, and those of the snapshot call alone."""
        began = time.perf_counter()
        self.api("PATCH", "/vm", {"state": "Paused"})
        called = time.perf_counter()
        self.api("PUT", "/snapshot/create", {"snapshot_type": kind, "snapshot_path": "/snapshots/vmm.state", "mem_file_path": memory})
        done = time.perf_counter()
        self.api("PATCH", "/vm", {"state": "Resumed"})
        return (time.perf_counter() - began) * 1000, (done - called) * 1000

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.root.exists():
            shutil.rmtree(self.root)
