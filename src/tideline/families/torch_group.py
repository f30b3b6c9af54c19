"""Data-parallel training: torchrun starts the processes, each makes the same fits in step, gradients are averaged.

Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tideline.contracts import TidelineError

if TYPE_CHECKING:
    import torch

PR_SET_PDEATHSIG = 1  # prctl(2)


def choose_device(asked: str) -> str:
    """auto: a GPU where there is one. Raises TidelineError if cuda is asked for and absent."""
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise TidelineError(
            "device: cuda is asked for, and torch sees none; set device: auto or cpu, or install with GPU=1"
        )
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Group:
    """One of `size` processes that fit the same model; alone by default. here: how many of them share this machine."""

    rank: int = 0
    size: int = 1
    here: int = 1

    def wrap(self, net: torch.nn.Module) -> Any:
        """The module whose gradients are the group's mean."""
        if self.size == 1:
            return net
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(net)

    def share(self, batch: np.ndarray) -> tuple[np.ndarray, float]:
        """This process' rows of a batch, and the weight of their mean loss: the weighted gradients' mean over the
        group is the whole batch's gradient, also where it does not divide. Raises TidelineError if one gets no row."""
        if len(batch) < self.size:
            raise TidelineError(f"a batch of {len(batch)} rows cannot be shared by {self.size} processes")
        own = batch[self.rank :: self.size]
        return own, len(own) * self.size / len(batch)

    def agree(self, train_loss: float, held_loss: float, device: str) -> tuple[float, float]:
        """The group's mean training loss, and the first process' validation loss: all stop at the same epoch."""
        if self.size == 1:
            return train_loss, held_loss
        import torch
        import torch.distributed as dist

        shares = [train_loss / self.size, held_loss if self.rank == 0 else 0.0]
        losses = torch.tensor(shares, dtype=torch.float64, device=device)
        dist.all_reduce(losses)
        return float(losses[0]), float(losses[1])


def in_group() -> bool:
    """True in a process that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def start_group(processes: int, arguments: Sequence[str]) -> NoReturn:
    """Become a torchrun that runs `tideline ARGUMENTS` in so many processes of this machine."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    # One thread each, unless somebody says otherwise: what torchrun sets anyway, and warns of.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *torchrun, "-m", "tideline.cli", *arguments], environment)


@contextmanager
def join_group(device: str) -> Iterator[Group]:
    """The group that torchrun has made (NCCL on GPUs, otherwise gloo), or a group of one.

    Only the first process speaks. Raises TidelineError if there are more processes than GPUs.
    """
    if not in_group():
        yield Group()
        return
    import torch
    import torch.distributed as dist

    _end_with_parent()
    rank, size, local, here = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    on_gpu = choose_device(device) == "cuda"
    if on_gpu:
        if here > torch.cuda.device_count():
            there = f"{here} processes on a machine with {torch.cuda.device_count()} GPUs"
            raise TidelineError(f"{there}: lower `processes` in params.yaml, or set device: cpu")
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        with Path(os.devnull).open("w") as nothing, redirect_stdout(sys.stdout if rank == 0 else nothing):
            yield Group(rank, size, here)
    finally:
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """torchrun's children have sessions of their own: a killed torchrun would leave them at work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
