"""The processes of one run: which of them a launcher, torchrun or SLURM's srun, has started, and how they part."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from padinv.exceptions import ConfigError


class Launched(NamedTuple):
    """The processes that a launcher has started for one run.

    Attributes:
        by: the launcher.
        in_all: the number of processes on all machines.
        on_this_node: the number of processes on this machine.
    """

    by: str
    in_all: int
    on_this_node: int


def launched_processes(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """The processes that torchrun or SLURM's srun has started; None for a process started by hand.

    >>> launched_processes({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"})
    Launched(by='torchrun', in_all=16, on_this_node=8)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        in_all = int(environment.get("WORLD_SIZE", 1))
        return Launched("torchrun", in_all, int(environment.get("LOCAL_WORLD_SIZE", in_all)))
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        in_all = int(environment["SLURM_NTASKS"])
        nodes = int(environment.get("SLURM_NNODES", 1))
        each = environment.get("SLURM_NTASKS_PER_NODE", "")
        return Launched("SLURM", in_all, int(each) if each.isdecimal() else max(1, in_all // nodes))
    return None


CLUSTERS = ("FLUX_", "JSM_", "KUBERNETES_", "LSB_", "OMPI_", "PMI_", "SLURM_", "TORCHELASTIC_")
"""Prefixes of the environment variables by which launchers tell each machine its number."""


def check_nodes(nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError if a run has several machines and nothing tells this one its number: it would wait for ever.

    >>> check_nodes(2, {"NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1"})
    """
    told = any(name in ("GROUP_RANK", "MASTER_ADDR", "NODE_RANK") or name.startswith(CLUSTERS) for name in environment)
    if nodes > 1 and not told:
        raise ConfigError(
            f"num_nodes is {nodes}, but nothing tells this machine which of them it is: start the command on each of "
            "them with torchrun or srun, or set NODE_RANK and MASTER_ADDR."
        )


def part() -> None:
    """Ends the group of processes that this one is in, if any, so that its threads end before Python does.

    Lightning does so for NCCL alone. Threads of gloo that outlive Python abort a process whose work is done
    (pytorch/pytorch#179291). After an error nothing is ended, since another process may still wait for this one.
    """
    distributed = sys.modules.get("torch.distributed")  # nobody is in a group who has not imported it
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
