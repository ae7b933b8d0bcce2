# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""One run of the emulated machine: QEMU, its serial ports, deadlines, and what it leaves in its log directory."""
import contextlib
import ctypes
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import time

from parts import Failed
from scenarios import CPU

MEMORY_MIB = 6000
READY_SECONDS = 300  # measured: 25 to 60
SILENT_SECONDS = 100  # the machine reports every 5 s that it lives, 15 to 40 s after its start


class Unusable(Failed):
    """The machine is of no use. `again`: worth another try, since it failed before its first result or QEMU is known to be
    the cause."""

    def __init__(self, what, again):
        super().__init__(what)
        self.again = again


@contextlib.contextmanager
def only_one():
    """Two machines on one host would starve each other. The kernel drops the name when we end, in whatever way."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind("\0kvm-machine.tinderbox-tests")
        except OSError:
            raise Failed("another emulated machine runs on this host. Wait until it has ended.") from None
        yield


class Machine:
    def __init__(self, parts, disk, logs, environment, scenarios, cpu=CPU, keep_disk=False, processors=2):
        """`scenarios`: (vmm, name, tests) each, in their order. `logs` is made; it must not exist. `keep_disk`: changes
        are written to `disk`; without it they are thrown away."""
        self.parts, self.disk, self.logs, self.keep_disk = parts, disk, logs, keep_disk
        self.cpu, self.processors = cpu, processors
        self.environment = {**environment, "MACHINE_SCENARIOS": json.dumps(scenarios),
                            "MACHINE_MODULES": parts.modules()}

    def command(self):
        initramfs = self.logs / "initramfs"
        self.parts.initramfs(initramfs, self.environment)
        # guest/run_scenarios.py starts the other processors. Without KASLR, addresses in logs can be looked up.
        append = "console=ttyS0 panic=-1 mitigations=off tsc=reliable no_timer_check quiet nokaslr maxcpus=1"
        return [
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", self.cpu,
            "-smp", self.processors, "-m", MEMORY_MIB, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
            "-serial", f"file:{self.logs}/console.log", "-serial", "stdio",
            "-monitor", f"unix:{self.logs}/monitor,server=on,wait=off",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-virtfs", f"local,path={self.logs},mount_tag=logs,security_model=none",
            # With snapshot=on, changes go to an unlinked temporary file.
            "-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe,snapshot={'off' if self.keep_disk else 'on'}",
            "-kernel", self.parts.kernel(), "-initrd", initramfs, "-append", append,
        ]

    def run(self, on_line, seconds):
        """Calls on_line(words) for each report. Returns the exit status of the scenarios.

        Raises Unusable if the machine stops reporting or ends without a result, Failed if not done within `seconds`.
        """
        self.logs.mkdir(parents=True)
        with open(self.logs / "qemu.log", "wb") as errors:
            qemu = subprocess.Popen([str(part) for part in self.command()], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=errors, preexec_fn=die_with_parent,
                                    env={**os.environ, "TMPDIR": "/var/tmp"})
        try:
            return self.follow(qemu.stdout, on_line, time.monotonic() + seconds)
        finally:
            qemu.kill()
            qemu.wait()
            qemu.stdout.close()
            (self.logs / "initramfs").unlink(missing_ok=True)

    def ask_monitor(self, command):
        """Three answers, one second apart, go to stuck.log: what the processors do."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor, \
                open(self.logs / "stuck.log", "wb") as log:
            monitor.settimeout(1)
            monitor.connect(str(self.logs / "monitor"))
            for _ in range(3):
                monitor.sendall(command.encode() + b"\n")
                with contextlib.suppress(TimeoutError):
                    while data := monitor.recv(65536):
                        log.write(data)

    def follow(self, pipe, on_line, end):
        began = heard = time.monotonic()
        ready, at_start, used = False, True, set()
        for line in lines(pipe):
            now = time.monotonic()
            if line is not None:
                heard = now
                words = line.split()
                if words[:1] == ["ready"]:
                    ready = True
                elif words[:1] == ["begin"] and words[1] not in used:
                    # The first use of KVM by this VMM.
                    used.add(words[1])
                    at_start = True
                elif words[:1] in (["test"], ["line"]):
                    at_start = False
                elif words[:1] == ["end"]:
                    return int(words[1])
                elif words[:1] == ["broken"]:
                    raise Unusable("not usable: " + " ".join(words[1:]), True)
                on_line(line)
            if not ready and now - began > READY_SECONDS:
                raise Unusable(f"not ready within {READY_SECONDS} s", True)
            if now - heard > SILENT_SECONDS:
                self.ask_monitor("info registers -a")
                raise Unusable(f"no sign of life for {SILENT_SECONDS} s", at_start)
            if now > end:
                raise Failed("the scenarios are not done in time")
        raise Unusable("ended early; console.log may have its kernel's panic", at_start or self.emulator_failed())

    def emulator_failed(self):
        """Whether the kernel panicked as it does if QEMU delivers an interrupt between #VMEXIT and VMLOAD, although #VMEXIT
        has cleared the global interrupt flag. The handler then runs with the guest's GS, and its page faults fill the stack.
        """
        console = (self.logs / "console.log").read_text(errors="replace")
        return re.search(r"stack guard page|corrupted stack end", console) and re.search(r"Comm: (fc_vcpu|CPU) \d", console)


def die_with_parent():
    """Whoever kills us with -9 must not leave a machine behind. See prctl(2)."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def lines(pipe):
    """Lines as they come; None about once a second when none comes."""
    os.set_blocking(pipe.fileno(), False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(1.0):
                yield None
                continue
            data = os.read(pipe.fileno(), 65536)
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").strip("\r")
