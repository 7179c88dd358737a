"""What torchrun and srun tell a process; several machines that nothing tells apart are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from padinv.cli import main
from padinv.exceptions import ConfigError
from padinv.launching import Launched, check_nodes, launched_processes, part

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "4"}, None),  # Kubeflow counts nodes with it, and Lightning's own children have it
        (TORCHRUN, Launched("torchrun", 2, 2)),
        ({**TORCHRUN, "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, Launched("torchrun", 16, 8)),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, Launched("SLURM", 8, 4)),
        ({"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8"}, Launched("SLURM", 8, 8)),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, None),
    ],
)
def test_what_a_launcher_has_started(environment: dict[str, str], expected: Launched | None) -> None:
    assert launched_processes(environment) == expected


def test_several_machines_need_to_know_which_they_are() -> None:
    check_nodes(1, {})
    for environment in ({"NODE_RANK": "0"}, {"SLURM_NTASKS": "2"}, TORCHRUN):
        check_nodes(2, environment)
    with pytest.raises(ConfigError, match="num_nodes is 2, but nothing tells this machine which of them it is"):
        check_nodes(2, {})


def test_a_group_ends_before_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def joins(words: list[str]) -> int:
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
        torch.distributed.all_reduce(torch.ones(1))
        return 0

    part()  # nobody is in a group
    monkeypatch.setattr("padinv.training.cli.fit", joins)
    monkeypatch.setattr("sys.argv", ["padinv", "fit", "--schedule.images", "8"])
    assert main() == 0
    assert not torch.distributed.is_initialized()
