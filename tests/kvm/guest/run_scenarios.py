#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""Runs on the emulated machine: first a look at KVM, then the scenarios, each in a process of its own.

Reports go to the second serial port, a line each:

  ready                                          KVM works; the scenarios begin
  begin VMM SCENARIO
  test ok|FAIL|skip SECONDS VMM NAME [REASON]
  line TEXT                                      what a program printed
  done VMM SCENARIO ok|FAIL SECONDS
"""
import fcntl
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(os.environ["MACHINE_ROOT"])
LOGS = pathlib.Path("/run/machine/logs")
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/kvm")]

from harness import Daemon  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402


def report(line, exact=False):
    with open("/dev/ttyS1", "w") as port:
        port.write((line.rstrip() if exact else " ".join(line.split())) + "\n")


class Reporter(unittest.TextTestResult):
    """Reports each test as it ends, and keeps the daemon's log of one that fails."""

    def startTest(self, test):
        super().startTest(test)
        self.began, self.verdict = time.monotonic(), ("ok", "")

    def stopTest(self, test):
        super().stopTest(test)
        outcome, reason = self.verdict
        self.tell(outcome, time.monotonic() - self.began, test.id(), reason)

    def tell(self, outcome, seconds, name, reason):
        report(f"test {outcome} {seconds:.1f} {os.environ['TINDERBOX_TEST_VMM']} {name} {reason[:400]}")

    def failed(self, test, error):
        self.verdict = ("FAIL", str(error[1]).strip() or error[0].__name__)
        log = pathlib.Path("/run/tinderbox-e2e/tinderboxd.log")
        if log.exists():
            shutil.copy(log, LOGS / f"{os.environ['TINDERBOX_TEST_VMM']}-{test.id()}.log".replace("/", "_"))

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.failed(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.failed(test, error)
        if not isinstance(test, unittest.TestCase):  # of setUpClass: no test begins or ends
            self.tell("FAIL", 0, test.id(), self.verdict[1])

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.failed(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.verdict = ("skip", reason)
        if not isinstance(test, unittest.TestCase):
            self.tell("skip", 0, test.id(), reason)


def run_one(name, selection):
    """In a process of its own. Exit status 0 if every test passed."""
    scenario = SCENARIOS[name]
    file = ROOT / "tests" / scenario.file
    sys.path.insert(0, str(file.parent))
    module = importlib.import_module(file.stem)
    for base in ("LifecycleTest", "DaemonTest"):  # bases that have no tests of their own
        if getattr(getattr(module, base, None), "__module__", "") != module.__name__:
            vars(module).pop(base, None)
    loader = unittest.TestLoader()
    tests = selection or scenario.tests
    suite = loader.loadTestsFromNames(tests, module) if tests else loader.loadTestsFromModule(module)
    if suite.countTestCases() == 0:
        raise SystemExit(f"scenario {name} has no tests")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Reporter).run(suite)
    return 0 if result.wasSuccessful() else 1


def run_program(scenario, arguments, environment):
    """Reports each line that it prints."""
    process = subprocess.Popen([str(ROOT / scenario.file), *arguments], env=environment, stdout=subprocess.PIPE,
                               stderr=sys.stdout, text=True)
    for line in process.stdout:
        report(f"line {line}", exact=True)
    return process.wait(scenario.minutes * 60)


def run_all(entries):
    status = 0
    for vmm, name, selection in entries:
        scenario = SCENARIOS[name]
        report(f"begin {vmm} {name}")
        began = time.monotonic()
        environment = {**os.environ, **scenario.environment, "TINDERBOX_TEST_VMM": vmm}
        try:
            if scenario.program:
                done = run_program(scenario, selection, environment)
            else:
                done = subprocess.run([sys.executable, __file__, name, *selection], env=environment,
                                      timeout=scenario.minutes * 60).returncode
        except subprocess.TimeoutExpired:
            done = f"not done after {scenario.minutes} minutes"
        report(f"done {vmm} {name} {'ok' if done == 0 else 'FAIL'} {time.monotonic() - began:.0f}")
        status = status or (1 if done else 0)
    return status


def hold_kvm():
    """Makes a VM that is there until the machine ends, and then starts the other processors.

    The kernel changes its own code when the first VM appears and when the last one goes (preempt notifiers, local APIC).
    QEMU 7.2 may then go on with the old code on another processor: both hang in the scheduler's breakpoint.
    """
    KVM_CREATE_VM, KVM_CREATE_IRQCHIP, KVM_CREATE_VCPU = 0xAE01, 0xAE60, 0xAE41
    vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), KVM_CREATE_VM, 0)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP)
    fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    for processor in pathlib.Path("/sys/devices/system/cpu").glob("cpu[1-9]*/online"):
        processor.write_text("1")


def look_at_kvm():
    """The daemon's own probe: the machine's first use of KVM. Under emulation it may hang here."""
    daemon = Daemon()
    try:
        info = daemon.start().json("info")
    finally:
        daemon.stop()  # the disk may hold sandboxes of the machine before
    report(f"note kvm: {info['kvm']}; vmm: {info['vmm']}")
    if info["kvm"]["verdict"] != "whole":
        report(f"broken the machine's KVM is not whole: {info['kvm']}")
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(run_one(sys.argv[1], sys.argv[2:]))
    hold_kvm()
    look_at_kvm()
    report("ready")
    sys.exit(run_all(json.loads(os.environ["MACHINE_SCENARIOS"])))
