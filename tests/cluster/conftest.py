"""Real clusters on this machine's loopback, each in a folder of its own, ended with the tests that started them."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.sweeps import CHECKOUT

PATHS = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
JOB = ("data=faces", "data.seeds=[1]", "target_age=[20,40,60,80]", "method.n_outputs=6", "refine.patience=100000")
SWEEP = ("loss.aging=1,2,3,4", *JOB, "refine.max_steps=100")

SLURM = """\
ClusterName=adfd
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=60
JobRequeue=1
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=here Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}"
        time.sleep(0.2)


def free_ports(n: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


class Daemons:
    """Processes in the background, each in a group of its own, with a log; `end` kills them all."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.groups: list[int] = []

    def start(self, *command: str) -> int:
        with (self.folder / f"{Path(command[0]).name}{len(self.groups)}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.groups.append(process.pid)
        return process.pid

    def logs(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in self.folder.glob("*.log"))

    def end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in reversed(self.groups):
                kill(group, number)
            time.sleep(2 if number == signal.SIGTERM else 0)


def kill(group: int, number: int) -> None:
    """Signal a process group, and the children that left it."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(tuple(map(int, line.split())) for line in listed.splitlines())
    family = {group}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {**os.environ, "PATH": PATHS, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}


@pytest.fixture(scope="module")
def slurm(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Controller and node of a Slurm without accounting; the environment in which its commands find it."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install '.[launchers]' brings submitit")
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "squeue") if not shutil.which(name, path=PATHS)]:
        pytest.skip(f"no {', '.join(missing)}; apt-get install slurm-wlm munge")
    folder, host = Path(tempfile.mkdtemp(prefix="slurm")), socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    conf = folder / "slurm.conf"
    conf.write_text(SLURM.format(folder=folder, host=host, user=getpass.getuser(), ports=free_ports(2)))
    there = environment | {"SLURM_CONF": str(conf)}
    daemons = Daemons(folder, there)
    munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.txt"}
    munge |= {"seed-file": "munge.seed"}

    def idle() -> bool:
        said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=there, capture_output=True, text=True).stdout
        return said.strip() == "idle"

    try:
        daemons.start("munged", "--foreground", "--force", *(f"--{key}={folder / file}" for key, file in munge.items()))
        until((folder / "munge.sock").exists, 20, "munge's socket")
        daemons.start("slurmctld", "-D", "-i", "-f", str(conf))
        daemons.start("slurmd", "-D", "-N", host, "-f", str(conf))
        until(idle, 60, f"an idle node\n{daemons.logs()}")
        yield there
    finally:
        subprocess.run(["scancel", f"--user={getpass.getuser()}"], env=there, check=False)
        daemons.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_nodes(environment: dict[str, str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """A Ray of two nodes of two processors each: its address, and what kills the second node."""
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="pip install '.[launchers]' brings Ray")
    pytest.importorskip("ray", reason="pip install '.[launchers]' brings Ray")
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    quiet = environment | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    daemons = Daemons(folder, quiet)
    (port,) = free_ports(1)
    small = ("--num-cpus=2", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--block")
    address = f"127.0.0.1:{port}"

    def nodes(n: int) -> bool:
        said = subprocess.run(["ray", "status", f"--address={address}"], env=quiet, capture_output=True, text=True)
        return said.stdout.count("1 node_") >= n

    try:
        head = ("--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false", *small)
        daemons.start("ray", "start", *head)
        until(lambda: nodes(1), 90, f"Ray's head\n{daemons.logs()}")
        second = daemons.start("ray", "start", f"--address={address}", *small)
        until(lambda: nodes(2), 90, f"Ray's second node\n{daemons.logs()}")
        yield address, lambda: kill(second, signal.SIGKILL)
    finally:
        daemons.end()
        shutil.rmtree(folder, ignore_errors=True)
