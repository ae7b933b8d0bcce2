# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What the emulated machine runs. Most scenarios are the end-to-end tests of tests/e2e, unchanged."""
import dataclasses

VMMS = ("firecracker", "qemu")
CPU = "max"


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Tests of one file, run by one Python process against daemons of its own; or a program."""

    file: str  # below tests/, or of a program below the project's root
    tests: tuple = ()  # "Class" or "Class.test"; empty: all of the file
    environment: dict = dataclasses.field(default_factory=dict)
    minutes: int = 15  # a deadline, not an estimate
    vmms: tuple = VMMS
    program: bool = False  # prints its results itself, and covers every VMM
    downloads: str = ""  # a program below tests/ that fetches what it needs: the machine has no network


SCENARIOS = {
    "choice": Scenario("kvm/machine_test.py", ("ChoiceTest",), vmms=("firecracker",)),
    "smoke": Scenario("kvm/machine_test.py", ("SmokeTest",)),
    "jail": Scenario("e2e/lifecycle_test.py", ("JailTest",)),
    "fork": Scenario("kvm/machine_test.py", ("ForkTest",)),
    "upgrade": Scenario("kvm/machine_test.py", ("UpgradeTest",)),
    "programs": Scenario("kvm/machine_test.py", ("ProgramsTest",), minutes=30),
    "run": Scenario("e2e/run_test.py"),
    # With 20 at once, both emulated processors hang.
    "lifecycle": Scenario("e2e/lifecycle_test.py", environment={"TINDERBOX_MANY": "6"}, minutes=20),
    "snapshot": Scenario("e2e/snapshot_test.py", minutes=40),
    "random": Scenario("e2e/random_test.py", minutes=20),
    "crash": Scenario("e2e/crash_test.py", minutes=40),
    "leak": Scenario("e2e/leak_test.py", environment={"TINDERBOX_CYCLES": "100"}, minutes=40),
    "network": Scenario("e2e/network_test.py", minutes=20),
    "volume": Scenario("e2e/volume_test.py", minutes=20),
    "storage": Scenario("e2e/storage_test.py", minutes=20),
    "bad-input": Scenario("e2e/bad_input_test.py"),
    "launch": Scenario("e2e/launch_test.py"),
    "sdk": Scenario("e2e/sdk_test.py", downloads="e2b/packages.py"),
    "bench": Scenario("bench/kvm/bench_kvm", program=True, minutes=60, vmms=("firecracker",)),
}

# Scenarios of several machines, one after the other, that share a disk: (tests, processor) of each.
SEQUENCES = {
    "reboot": (("Before", CPU), ("After", CPU), ("OnAnotherProcessor", "max,-avx2")),
}
SCENARIOS["reboot"] = Scenario("kvm/reboot_test.py")

# What ./test runs, as on the command line: (VMM, scenarios). Six minutes at most on two processors.
QUICK = (
    ("firecracker", ("choice", "smoke", "jail")),
    ("qemu", ("smoke:SmokeTest.test_2_create_by_restore_then_from_the_pool SmokeTest.test_3_pause_resume_fork", "jail")),
)
# A release runs all of these: (pool, cgroup version, scenarios). Tests that depend on the pool or on cgroups run with each.
EVERYTHING = tuple(name for name, scenario in SCENARIOS.items() if not scenario.program)
ALL = [
    ("xfs", "v2", EVERYTHING),
    ("btrfs", "v2", ("smoke", "fork", "snapshot", "volume")),
    ("loop", "v2", ("smoke", "fork", "snapshot", "volume")),
    ("xfs", "v1", ("smoke", "jail", "programs")),
]
