"""Slurm's releases side by side: this system's own packages, and those of later Debians in folders of their own.

A later release is unpacked with all libraries that it needs, and its programs are told to load those. So it runs on
this system as any program does, with this system's users, files and Python, without a container.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import debian
from lab.place import LabError, labs_root
from lab.progress import run_step

SUITES = {"24.11": "trixie", "26.05": "forky"}
"""Debian's names for the systems that have a release which is not installed here.

One that is still in the making gets later releases: what it has then is taken in the place of the one named here.
"""
VERSIONS = ("22.05", *SUITES)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = tuple(name for name in debian.SLURM if name.startswith("slurm"))
_WANTED = " ".join(PACKAGES)
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = f"{_LIBRARIES}/ld-linux-x86-64.so.2"


@dataclass(frozen=True)
class Release:
    """Where the programs of a release lie."""

    version: str

    @property
    def root(self) -> Path:
        """The folder it was unpacked in; the system's own when it is that of the system."""
        return labs_root() / f"slurm-{self.version}" if self.version in SUITES else Path("/")

    @property
    def bin(self) -> Path:
        """squeue and the like."""
        return self.root / "usr/bin"

    @property
    def sbin(self) -> Path:
        """The daemons."""
        return self.root / "usr/sbin"

    @property
    def path(self) -> str:
        """Its programs before the system's, for PATH."""
        return f"{self.bin}:{self.sbin}:" if self.version in SUITES else ""

    @property
    def plugins(self) -> Path | None:
        """Its plugins, where slurm.conf has to name them."""
        return self.root / _LIBRARIES / "slurm-wlm" if self.version in SUITES else None

    @property
    def is_there(self) -> bool:
        """Whether it is installed, whole."""
        return self.version not in SUITES or (self._unpacked.exists() and self._unpacked.read_text() == _WANTED)

    @property
    def _unpacked(self) -> Path:
        """Tells what was unpacked."""
        return self.root / ".unpacked"

    def install(self) -> None:
        """Unpack it unless it is there. Raises LabError when the packages cannot be had."""
        if self.is_there:
            return
        if not KEYRING.exists() or subprocess.run(["uname", "-m"], capture_output=True).stdout.strip() != b"x86_64":
            raise LabError(f"Slurm {self.version} needs x86_64 and Debian's keys ({KEYRING})")
        if debian.missing(["patchelf"]):
            debian.install(["patchelf"], labs_root() / "setup-debian.log")
        shutil.rmtree(self.root, ignore_errors=True)
        self._unpack()
        self._link()
        self._point_at_own_libraries()
        self._unpacked.write_text(_WANTED)

    def _unpack(self) -> None:
        own = self.root / ".apt"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (own / folder).mkdir(parents=True)
        self.root.chmod(0o755)
        (own / "status").touch()
        (own / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITES[self.version]} main\n")
        facts = {
            "Dir::State": own / "state", "Dir::State::status": own / "status", "Dir::Cache": own / "cache",
            "Dir::Etc::sourcelist": own / "sources.list", "Dir::Etc::sourceparts": "-", "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false", "Acquire::Retries": 3, "DPkg::Post-Invoke": "",
        }  # fmt: skip
        apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in facts.items())]
        log = labs_root() / "setup-debian.log"
        run_step(f"list of packages of {SUITES[self.version]}", [[*apt, "update"]], log=log)
        run_step(f"Slurm {self.version}", [[*apt, "--download-only", "install", *PACKAGES]], log=log)
        for package in sorted((own / "cache/archives").glob("*.deb")):
            name, found, _ = package.name.split("_", 2)
            if name == "slurmctld":
                self._judge(found)
            subprocess.run(["dpkg", "-x", package, self.root], check=True)
        self.root.chmod(0o755)
        shutil.rmtree(own)

    def _judge(self, found: str) -> None:
        """Say so when the packages are of a later release. Raises LabError when they are of an earlier one."""
        suite = SUITES[self.version]
        if _release(found) < _release(self.version):
            raise LabError(f"{suite} has Slurm {found}, which is older than {self.version}")
        if _release(found) > _release(self.version):
            print(f"  {suite} has Slurm {found} by now: it is taken in the place of {self.version}", flush=True)

    def _link(self) -> None:
        """Do what update-alternatives does: slurmctld is slurmctld-wlm."""
        for program in (*self.bin.glob("*-wlm"), *self.sbin.glob("*-wlm")):
            plain = program.with_name(program.name.removesuffix("-wlm"))
            if not plain.exists():
                plain.symlink_to(program.name)

    def _point_at_own_libraries(self) -> None:
        libraries = self.root / _LIBRARIES
        path = ["--force-rpath", "--set-rpath", f"{libraries}/slurm-wlm:{libraries}"]
        loader = ["--set-interpreter", str(self.root / _LOADER)]
        for program in (*self.bin.glob("s*"), *self.sbin.glob("slurm*")):
            if not program.is_symlink() and program.read_bytes()[:4] == b"\x7fELF":
                subprocess.run(["patchelf", *loader, *path, program], check=True)
        for plugin in (libraries / "slurm-wlm").glob("*.so"):
            subprocess.run(["patchelf", *path, plugin], check=True)


def _release(version: str) -> tuple[int, ...]:
    """Year and month of a version such as `26.05` or `26.05.5-1+b2`."""
    year_month = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, year_month.groups())) if year_month else ()


def _mirror() -> str:
    """Where this system's own packages come from."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Created-By: Packages"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    mirror = next((uri for uri in found if "security" not in uri), None)
    if mirror is None:
        raise LabError("another Slurm is taken from Debian's packages: this system has no list of them")
    return mirror
