# SPDX-FileCopyrightText: The Tinderbox authors
# SPDX-License-Identifier: Apache-2.0
"""What the emulated machine is made of: a kernel, an initramfs, a state disk. All are cached.

Everything comes from Debian packages, which are downloaded and unpacked, never installed.
"""
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# In the initramfs, in this order: what it takes to mount the host's root file system.
EARLY_MODULES = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "netfs",
                 "fscache", "9pnet", "9pnet_virtio", "9p", "overlay")
DISK_BYTES = 12 << 30  # sparse


class Failed(Exception):
    """What went wrong, for a person."""


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          **options)
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def kernel_package():
    """The newest generic kernel of this Debian: `linux-image-6.1.0-57-amd64`."""
    def look():
        found = re.search(r"^\s*Depends: (linux-image-\d\S+)$",
                          subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True,
                                         text=True).stdout, re.M)
        return found and found[1]
    package = look()
    if not package:
        run("apt-get", "update")
        package = look()
    if not package:
        raise Failed("apt knows no linux-image-amd64. Check /etc/apt/sources.list.")
    return package


class Parts:
    """Below `directory`; made when first asked for."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def tree(self):
        """The kernel's and busybox's packages, unpacked: boot/vmlinuz-*, lib/modules/*, bin/busybox."""
        package = kernel_package()
        tree = self.directory / package
        if tree.exists():
            return tree
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=".tmp-") as temporary:
            # apt downloads as a user of its own, who must be able to write here.
            downloads = pathlib.Path(temporary, "downloads")
            downloads.mkdir()
            os.chmod(temporary, 0o755)
            shutil.chown(downloads, "_apt")
            for wanted in (package, "busybox-static"):
                run("apt-get", "download", wanted, cwd=downloads)
            unpacked = pathlib.Path(temporary, "tree")
            for deb in downloads.glob("*.deb"):
                run("dpkg-deb", "-x", deb, unpacked)
            (release,) = os.listdir(unpacked / "lib/modules")
            run(unpacked / "bin/busybox", "depmod", "-b", unpacked, release)
            unpacked.rename(tree)
        return tree

    def kernel(self):
        (kernel,) = self.tree().glob("boot/vmlinuz-*")
        return kernel

    def modules(self):
        return self.tree() / "lib/modules"

    def initramfs(self, into, environment):
        """Writes the initramfs `into`; `environment` reaches the machine as shell variables."""
        busybox = self.tree() / "bin/busybox"
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=".tmp-") as temporary:
            root = pathlib.Path(temporary)
            for name in ("bin", "dev", "proc", "sys", "low", "up", "new", "lib/modules"):
                (root / name).mkdir(parents=True)
            shutil.copy(busybox, root / "bin/busybox")
            shutil.copy(HERE / "guest/init", root / "init")
            for name in EARLY_MODULES:
                (module,) = self.modules().rglob(f"{name}.ko")
                shutil.copy(module, root / "lib/modules")
            (root / "lib/modules/order").write_text("\n".join(EARLY_MODULES) + "\n")
            (root / "machine.env").write_text("".join(f"{name}='{value}'\n" for name, value in environment.items()))
            names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
            with open(into, "wb") as out:
                subprocess.run([busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out,
                               stderr=subprocess.DEVNULL, check=True)

    def state_disk(self, state, pool):
        """A disk with the kernel and the base template of the state directory `state`.

        `pool`: "xfs" and "btrfs" are the disk's own file system, which has reflinks; with "loop" it is ext4, and
        the pool is an XFS image in it. Made again if the template, the kernel or the agent (in the initramfs) has changed.
        """
        with open_pool(pathlib.Path(state)) as templates:
            return self.disk_with(pathlib.Path(state) / "kernels", templates, pool)

    def disk_with(self, kernels, templates, pool):
        base = [path for path in templates.glob("*") if is_built(path)]
        if not base:
            raise Failed(f"no base template in {templates}. Run tests/e2e/prepare-state first.")
        current = kernels / (kernels / "current").read_text().strip()
        contents = "\n".join((path / "manifest.json").read_text() for path in [current, *sorted(base)])
        disk, stamp = self.directory / f"state-{pool}.img", self.directory / f"state-{pool}.stamp"
        if disk.exists() and stamp.exists() and stamp.read_text() == contents:
            return disk
        self.directory.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        with open(disk, "wb") as file:
            file.truncate(DISK_BYTES)
        make = {"xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "-f"), "loop": ("mkfs.ext4", "-q", "-F")}
        run(*make[pool], disk)
        with mounted(disk) as root:
            run("cp", "-a", kernels, root)
            target = root / "pool"
            target.mkdir(mode=0o700)
            with contextlib.ExitStack() as stack:
                if pool == "loop":
                    image = root / "pool.img"
                    with open(image, "wb") as file:
                        file.truncate(DISK_BYTES - (2 << 30))
                    run("mkfs.xfs", "-q", image)
                    target = stack.enter_context(mounted(image))
                    target.chmod(0o700)
                (target / "templates").mkdir(mode=0o700)
                for path in base:
                    run("cp", "-a", "--sparse=always", path, target / "templates")
        stamp.write_text(contents)
        return disk


def is_built(template):
    """Whether it is a template that was built: neither a snapshot of a sandbox nor a boot snapshot."""
    return (template / "manifest.json").exists() and not (template / "memory.img").exists()


@contextlib.contextmanager
def open_pool(state):
    """The templates of a state directory. Its pool may be an image that no daemon has mounted."""
    image = state / "pool.img"
    if image.exists() and not os.path.ismount(state / "pool"):
        # nouuid: a copy of this pool may be mounted elsewhere.
        with mounted(image, "loop,ro,nouuid") as pool:
            yield pool / "templates"
    else:
        yield state / "pool/templates"


@contextlib.contextmanager
def mounted(image, options="loop"):
    with tempfile.TemporaryDirectory(prefix="tinderbox-kvm-") as directory:
        run("mount", "-o", options, image, directory)
        try:
            yield pathlib.Path(directory)
        finally:
            run("umount", directory)
