"""The launch examples start what they say, on all nodes, and stop as their schedulers want it."""

import argparse
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import parse_args

from trainer.train import settings_of

EXAMPLES = Path(__file__).parent.parent / "examples"
SLURM, KUBERNETES = EXAMPLES / "train_slurm.sh", EXAMPLES / "train_kubernetes.yaml"
TRAINING = [
    "imf",
    "--config",
    "paper",
    "--data",
    "/data/vfhq-shards",
    "--output",
    "/runs/imf",
    "--resume",
    "auto",
]

# Stand-ins for Slurm's programs. srun tells what it was given and, where it is to be stopped, waits for that.
SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$TOLD/srun"
printf '%s' "$OMP_NUM_THREADS $SRUN_CPUS_PER_TASK" > "$TOLD/environment"
[ -p "$TOLD/ready" ] || exit "$CODE"
stopped() { read -r < "$TOLD/saved"; echo saved > "$TOLD/done"; exit 1; }
trap stopped TERM
echo > "$TOLD/ready"
while :; do sleep 0.01; done
"""
SCONTROL = """#!/bin/bash
[ "$1" != show ] || { printf 'node7\\nnode9\\n'; exit; }
echo "$* $(cat "$TOLD/done")" > "$TOLD/scontrol"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch script on the first of two nodes."""
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("activate", "")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "TOLD": str(tmp_path),
        "CODE": "0",
        "REENACT_VENV": str(tmp_path),
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "node[7,9]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "64",
    }


def torchrun(words: list[str]) -> argparse.Namespace:
    """What torchrun makes of the words after its name. Ends the test where it doesn't know one."""
    asked = parse_args(words)
    assert isinstance(asked, argparse.Namespace)
    assert asked.module
    assert asked.training_script == "trainer.train"
    return asked


def kubernetes() -> tuple[dict[str, Any], dict[str, Any]]:
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


def parted(words: list[str]) -> list[str]:
    """Options and their values as words of their own."""
    return [part for word in words for part in word.split("=", 1)]


def test_the_trainer_knows_the_options():
    asked = settings_of(TRAINING[0], TRAINING[1:])
    assert (asked.data, asked.output, asked.resume) == ("/data/vfhq-shards", Path("/runs/imf"), "auto")


def test_slurm_starts_torchrun_on_all_nodes(cluster: dict[str, str]):
    done = subprocess.run(["bash", str(SLURM)], env=cluster, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = Path(cluster["TOLD"])
    words = (told / "srun").read_text().splitlines()
    asked = torchrun(words[words.index("torchrun") + 1 :])
    assert (asked.nnodes, asked.nproc_per_node) == ("2", "8")
    assert (asked.rdzv_backend, asked.rdzv_endpoint, asked.rdzv_id) == ("c10d", "node7:29500", "42.0")
    assert asked.training_script_args == TRAINING
    assert (told / "environment").read_text() == "1 64"
    assert not (told / "scontrol").exists()  # what has ended is not queued again


def test_slurm_fails_where_training_does(cluster: dict[str, str]):
    done = subprocess.run(["bash", str(SLURM)], env=cluster | {"CODE": "3"}, check=False)
    assert done.returncode == 3
    assert not (Path(cluster["TOLD"]) / "scontrol").exists()


def test_slurm_queues_again_what_was_stopped(cluster: dict[str, str]):
    """After all have saved."""
    told = Path(cluster["TOLD"])
    os.mkfifo(told / "ready")
    os.mkfifo(told / "saved")
    with subprocess.Popen(["bash", str(SLURM)], env=cluster, stderr=subprocess.PIPE, text=True) as job:
        try:
            (told / "ready").read_text()
            job.send_signal(signal.SIGTERM)
            (told / "saved").write_text("now\n")  # waits until the step was told to stop
            _, said = job.communicate(timeout=30)
        finally:
            job.kill()
    assert job.returncode == 0, said
    assert (told / "scontrol").read_text().split() == ["requeue", "42", "saved"]


def test_slurm_says_what_it_asks_of_a_node_as_torchrun_needs_it():
    lines = SLURM.read_text().splitlines()
    words = [line.split()[1].partition("=") for line in lines if line.startswith("#SBATCH")]
    asked = {name: value for name, _, value in words}
    assert (asked["--nodes"], asked["--ntasks-per-node"], asked["--gpus-per-node"]) == ("2", "1", "8")
    assert asked["--signal"] == "B:TERM@120"
    assert "--requeue" in asked


def test_kubernetes_starts_torchrun_in_all_pods():
    service, job = kubernetes()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    first, *words = container["command"]
    assert first == "torchrun"
    asked = torchrun(words)
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert (asked.nnodes, asked.nproc_per_node) == (str(job["spec"]["completions"]), str(gpus))
    assert parted(asked.training_script_args) == TRAINING

    name, port = job["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["parallelism"] == job["spec"]["completions"] == 2
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert asked.rdzv_endpoint == f"{name}-0.{pod['subdomain']}:{port}"


def test_kubernetes_mounts_what_training_reads_and_leaves_it_time_to_save():
    pod = kubernetes()[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    paths = {one["mountPath"] for one in container["volumeMounts"]}
    assert paths == {"/data", "/runs", "/dev/shm"}
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < pod["terminationGracePeriodSeconds"]
    assert pod["restartPolicy"] == "Never"  # which a failure policy needs
