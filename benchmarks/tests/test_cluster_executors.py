"""Cells on a real Ray cluster, in processes of submitit, and on a real Slurm of one machine, with processes that are killed."""

from __future__ import annotations

import getpass
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfsup.artifacts import RunDirectory
from selfsup.errors import BenchmarkError, ConfigError
from selfsup.testing.toy.sequences.installed import installed
from selfsup_bench.cells.cell import Cell
from selfsup_bench.executors import Executor, Job
from selfsup_bench.executors.cluster import run_there, this_process
from selfsup_bench.executors.ray import RayExecutor
from selfsup_bench.executors.slurm import SubmititExecutor

SCRIPT = """
import os, pathlib, signal

name, _, deaths = cell["task"].partition("-")
print("cell", cell["task"], flush=True)
ran = pathlib.Path(out, cell["task"] + ".ran")
with ran.open("a") as file:
    file.write(f"{os.getpid()}\\n")
if name == "dies" and len(ran.read_text().split()) <= int(deaths):
    os.kill(os.getpid(), signal.SIGKILL)
if name == "raises":
    raise RuntimeError("no good")
"""
"""Appends a line a try; ``dies-2`` kills its process twice."""
TASKS = ("one", "dies-1", "dies-9", "raises", "two")


def jobs_of(out: Path, *tasks: str) -> list[Job]:
    made = []
    for seed, task in enumerate(tasks):
        cell = Cell(kind="raw", modality="vision", task=task, dataset="digits", evaluators=(), seed=seed)
        made.append(Job(key=cell.key({}), cell=cell, out=out, circumstances={}))
    return made


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "pretend.py"
    script.write_text(SCRIPT)
    for module in ("ray", "slurm"):
        monkeypatch.setattr(f"selfsup_bench.executors.{module}.work", partial(runpy.run_path, str(script)))


def check(executor: Executor, out: Path, said: list[str], *, died: str) -> None:
    """Every cell has one outcome; what died was tried twice more at most."""
    outcomes = {outcome.job.cell.task: outcome for outcome in executor.run(jobs_of(out, *TASKS))}
    assert set(outcomes) == set(TASKS)
    tries = {task: len((out / f"{task}.ran").read_text().split()) for task in TASKS}
    assert tries == {"one": 1, "dies-1": 2, "dies-9": 3, "raises": 1, "two": 1}
    assert [outcomes[task].error for task in ("one", "dies-1", "two")] == ["", "", ""]
    assert "no good" in outcomes["raises"].error
    assert died in outcomes["dies-9"].error
    assert outcomes["dies-9"].error.endswith(", 3 times")
    assert sorted(line.split(":")[0] for line in said) == ["dies-1.digits.seed1", "dies-9.digits.seed2", "dies-9.digits.seed2"]
    assert all("It is tried again (" in line for line in said)
    assert outcomes["dies-9"].job.log.read_text().split("\n").count("cell dies-9") == 3


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.usefixtures("pretend")
def test_ray_tries_killed_cells_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'selfsup-bench[ray]'")
    from ray.cluster_utils import Cluster

    # The paths of its sockets have to be short. 80 MiB is about the least that Ray takes.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()  # Cluster writes its address there, and does not make the folder
        head = {"num_cpus": 2, "include_dashboard": False, "temp_dir": f"{folder}/ray", "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        said: list[str] = []
        try:
            with pytest.raises(ConfigError, match=r"asks for 1 CPUs, 1 GPUs\. Its machines have: 2 CPUs, 0 GPUs"):
                list(RayExecutor(options={"address": cluster.address, "num_gpus": "1"}).run(jobs_of(tmp_path, "one")))
            check(RayExecutor(options={"address": cluster.address}, say=said.append), tmp_path, said, died="its Ray task died")
            assert not ray.is_initialized()
        finally:
            cluster.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("pretend")
def test_submitit_tries_killed_cells_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'selfsup-bench[submitit]'")
    said: list[str] = []
    executor = SubmititExecutor(options={"cluster": "local", "timeout_min": "5"}, poll_seconds=0.2, say=said.append)
    check(executor, tmp_path, said, died="died")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
FirstJobId={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
"""A Slurm of one machine, without accounting. Its jobs have numbers of their own: another test's Slurm may run beside it."""


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Slurm of this machine, for the packages ``slurmctld slurmd slurm-client munge`` of Debian."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'selfsup-bench[submitit]'")
    programs = {name: shutil.which(name) or shutil.which(f"{name}-wlm") for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    lacking = [name for name, path in programs.items() if path is None]
    if lacking or getpass.getuser() != "root":
        pytest.skip(f"needs root and Slurm: apt-get install slurmctld slurmd slurm-client munge ({', '.join(lacking)} missing)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # not pytest's: sockets need a short path
    folder.chmod(0o755)  # every user can enter
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, user="root", folder=folder, ports=(free_port(), free_port())))
    monkeypatch.setenv("SLURM_CONF", str(config))
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"))]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--force", "--foreground"]
    commands = ([programs["munged"], *munge], [programs["slurmctld"], "-D"], [programs["slurmd"], "-D"])
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(0.5)
        end = time.monotonic() + 60
        while "idle" not in subprocess.run(["sinfo", "-h"], capture_output=True, text=True, check=False).stdout:
            assert time.monotonic() < end, (folder / "controller.log").read_text()
            time.sleep(0.5)
        yield
    finally:
        subprocess.run(["scancel", "--me"], capture_output=True, check=False)  # a test that failed may have left a job
        for process in reversed(running):
            process.terminate()
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("slurm", "pretend")
def test_slurm_tries_killed_cells_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsup_bench.executors.slurm.MISSING_SECONDS", 2.0)
    said: list[str] = []
    executor = SubmititExecutor(options={"timeout_min": "5", "mem_gb": "0"}, poll_seconds=0.5, say=said.append)
    check(executor, tmp_path, said, died="its job ")


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The command of a run on two devices, with the plugin of sequences installed; it lacks its ``--out``."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SELFSUP_PLUGINS", "sequences")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    options = "--data toy-frames --steps 4 --batch-size 8 --devices 2 --set accelerator=cpu"
    with installed(tmp_path / "site"):
        yield f"{sys.executable} -m selfsup pretrain sequence/simclr {options}"


def done_on_two_devices(run: Path) -> bool:
    about = RunDirectory(run).info()
    return (about["status"], about["config"]["devices"]) == ("done", 2)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("how", ["--ntasks=2", "--ntasks-per-node=2"])
def test_srun_starts_a_run_on_two_devices(tmp_path: Path, run_command: str, how: str) -> None:
    command = ["srun", how, *run_command.split(), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done_on_two_devices(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("slurm")
def test_two_runs_of_a_slurm_job_run_at_once(tmp_path: Path, run_command: str) -> None:
    runs, said = [tmp_path / "one", tmp_path / "two"], tmp_path / "said.txt"
    steps = [f"srun --overlap --ntasks=2 {run_command} --out {run}" for run in runs]
    script = f"{steps[0]} & first=$!; {steps[1]}; second=$?; wait $first && exit $second"
    command = ["sbatch", "--wait", "--ntasks=2", f"--output={said}", "--wrap", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + said.read_text()
    assert all(done_on_two_devices(run) for run in runs)


def test_retries_are_a_number() -> None:
    for kind in (RayExecutor, SubmititExecutor):
        with pytest.raises(BenchmarkError, match="retries is a number of times, 0 or more, and not '-1'"):
            kind(options={"retries": "-1"})


def test_a_cell_waits_for_the_folder_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.runtime import lock_folder

    (job,) = jobs_of(tmp_path, "one")
    job.folder.mkdir(parents=True)  # a process that prepares the data holds the folder before it exists
    lock = lock_folder(job.folder / "run", "a process that is dead")
    lock.__enter__()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lock.__exit__(None, None, None)

    monkeypatch.setattr("selfsup_bench.executors.cluster.time.sleep", wait)
    done = run_there(lambda values: values["key"], this_process(), {}, job.as_dict())
    assert (done, len(waits)) == (job.key, 3)


def test_one_look_at_the_queue_lists_the_folder_of_results_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a job without a result counts as dead only when it has been out of the queue for long enough."""
    from selfsup_bench.executors import slurm as module

    class Handle:
        def __init__(self, index: int) -> None:
            self.job_id = f"7_{index}"
            self.paths = SimpleNamespace(result_pickle=tmp_path / f"7_{index}_0_result.pkl")

    handles = [Handle(index) for index in range(50)]
    listed, now, queued = [0], [0.0], "7_0\n7_1\n"
    listing = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        listed[0] += 1
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **options: SimpleNamespace(stdout=queued))
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    handles[5].paths.result_pickle.touch()
    queue = module._SlurmQueue()
    assert queue.ended(handles) == [handles[5]]
    assert listed == [1]
    now[0], queued = 60.0, "7_1\n7_2\n"  # 7_2 was only out of sight
    assert queue.ended(handles) == [handles[5]]
    now[0] = 95.0
    handles[0].paths.result_pickle.touch()  # after 60 seconds, as a disk may show it
    assert queue.ended(handles) == [handle for handle in handles if handle.job_id not in ("7_1", "7_2")]
    assert listed == [3]
    assert queue.error(handles[9]) == ("its job 7_9 died", True)
