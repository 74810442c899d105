"""Slurm's configuration for a lab: several virtual nodes on one machine, with GPUs that are made of air."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from pathlib import Path

from lab.place import Memory, Place
from lab.release import Release

CGROUP_V1_MEMORY = Path("/sys/fs/cgroup/memory")
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")
CPUS_PER_NODE = 8
MEMORY_PER_NODE_MIB = 6000

WITH_CGROUPS = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup
"""
WITHOUT_CGROUPS = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
"""

SLURM_CONF = """\
# Written by `./run cluster up`; changes made here are lost.
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket},cred_expire=10
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={root}/munge/jwt.key
SlurmctldPort={ports[slurmctld]}
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmdSpoolDir={root}/spool/%n
SlurmdLogFile={root}/log/slurmd-%n.log
StateSaveLocation={root}/state
{plugins}{process_control}JobAcctGatherFrequency=1
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu{shard_type}
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
MinJobAge=300
JobRequeue=1
SchedulerParameters=bf_interval=5,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=SUSPEND,GANG
{nodes}
PartitionName=gpu  Nodes=ALL Default=YES MaxTime=1-0 DefaultTime=10 PriorityTier=10
PartitionName=low  Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=1  PreemptMode=REQUEUE
PartitionName=lowc Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=1  PreemptMode=CANCEL
PartitionName=lows Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=1  PreemptMode=SUSPEND OverSubscribe=FORCE:1
PartitionName=high Nodes=ALL MaxTime=1-0 DefaultTime=10 PriorityTier=20 PreemptMode=OFF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[slurmdbd]}
AccountingStoragePass={munge_socket}
AccountingStorageTRES=gres/gpu{shard_tres}
AccountingStoreFlags=job_comment,job_script,job_env
PrologEpilogTimeout=30
Include {root}/etc/hooks.conf
"""

NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory_mib}{gres}"

SLURMDBD_CONF = """\
{plugins}AuthType=auth/munge
AuthInfo=socket={munge_socket}
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={root}/munge/jwt.key
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[slurmdbd]}
SlurmUser=root
PidFile={root}/run/slurmdbd.pid
LogFile={root}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""

CGROUP_CONF = """\
CgroupMountpoint=/sys/fs/cgroup
ConstrainRAMSpace=yes
AllowedRAMSpace=100
ConstrainCores=no
ConstrainDevices=no
"""


def cgroups_usable() -> bool:
    """Whether Slurm could hold jobs in cgroups here. A slurmd may still refuse; the lab then goes on without."""
    return os.access(CGROUP_V1_MEMORY, os.W_OK) or (
        os.access(CGROUP_V2, os.W_OK) and "memory" in CGROUP_V2.read_text().split()
    )


def write(at: Place, memory: Memory) -> None:
    """Write slurm.conf and its companions, and make the GPUs' device files."""
    names = memory.node_names(at.name)
    facts = {
        "cluster": at.name,
        "host": socket.gethostname().split(".")[0],
        "root": at.root,
        "munge_socket": at.munge_socket,
        "ports": memory.ports,
        "process_control": WITH_CGROUPS if memory.cgroups else WITHOUT_CGROUPS,
    }
    plugins = Release(memory.slurm).plugins
    facts["plugins"] = f"PluginDir={plugins}\n" if plugins else ""
    facts["shard_type"], facts["shard_tres"] = (",shard", ",gres/shard") if memory.shards else ("", "")
    shards = f",shard:{memory.shards}" if memory.shards else ""
    gres = f" Gres=gpu:a100:{memory.gpus}{shards}" if memory.gpus else ""
    nodes = [
        NODE.format(
            name=name,
            host=facts["host"],
            port=memory.ports[f"slurmd-{name}"],
            cpus=CPUS_PER_NODE,
            memory_mib=MEMORY_PER_NODE_MIB,
            gres=gres,
        )
        for name in names
    ]
    at.slurm_conf.write_text(SLURM_CONF.format(nodes="\n".join(nodes), **facts))
    (at.etc / "cgroup.conf").write_text(CGROUP_CONF + ("IgnoreSystemd=yes\n" if CGROUP_V2.exists() else ""))
    (at.etc / "gres.conf").write_text(_gres_conf(at, names, memory))
    _write_secret(at.etc / "slurmdbd.conf", SLURMDBD_CONF.format(**facts))
    if not (at.root / "munge/jwt.key").exists():
        _write_secret(at.root / "munge/jwt.key", secrets.token_hex(32))
    if not (at.etc / "hooks.conf").exists():
        (at.etc / "hooks.conf").write_text("PrologFlags=Alloc\n")  # an empty file makes noise on every command of 22.05
    for number in range(memory.gpus):
        _make_device(at.root / "dev" / f"nvidia{number}")


def _gres_conf(at: Place, names: list[str], memory: Memory) -> str:
    if not memory.gpus:
        return "AutoDetect=off\n"
    files = f"{at.root}/dev/nvidia{f'[0-{memory.gpus - 1}]' if memory.gpus > 1 else '0'}"
    lines = [f"NodeName={name} Name=gpu Type=a100 File={files}\n" for name in names]
    lines += [f"NodeName={name} Name=shard Count={memory.shards}\n" for name in names if memory.shards]
    return "AutoDetect=off\n" + "".join(lines)


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _make_device(path: Path) -> None:
    """A device file as a GPU has one; behind it is /dev/null."""
    if not path.exists():
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.chmod(0o666)
