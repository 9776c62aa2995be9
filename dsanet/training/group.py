"""Several processes that train one detector together, each with a part of every batch.

Small values travel between CPUs by gloo, tensors between GPUs by NCCL. One process has no group.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import joblib
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dsanet.layers.split_batch import Rows
from extract.errors import InputError

T = TypeVar("T")
_TIMEOUT = timedelta(days=1)
"""A process waits while the first one validates or saves; a lost one is noticed by who started them."""
_CPU = torch.device("cpu")


class FirstProcessError(InputError):
    """An error of the first process, raised in the others too."""


@dataclass(frozen=True)
class Group:
    """The processes of a training; this one is number `rank`. Every method is called by all of them."""

    rank: int
    size: int
    device: torch.device
    on_machine: int
    """Processes on this machine."""

    @property
    def first(self) -> bool:
        """True in the process that writes the files."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """The value that `make` returns in the first process; an InputError there is raised in all."""
        sent: list[tuple[T | None, str | None]] = [(None, None)]
        failure: InputError | None = None
        if self.first:
            try:
                sent = [(make(), None)]
            except InputError as error:
                failure, sent = error, [(None, str(error))]
        dist.broadcast_object_list(sent, src=0, device=_CPU)
        value, reason = sent[0]
        if reason is not None:
            raise failure or FirstProcessError(reason)
        return value  # type: ignore[return-value]

    def from_each(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def share_model(self, net: nn.Module) -> None:
        """Give the model on the CPU, its buffers and the state of the random numbers of the first process.

        Raises InputError if a process has a model with other tensors.
        """
        tensors = dict(net.named_parameters()) | dict(net.named_buffers())
        shapes = [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]
        if any(other != shapes for other in self.from_each(shapes)):
            raise InputError("the processes have built different models; give all the same CLIP weights")
        with torch.no_grad():
            for tensor in tensors.values():
                dist.broadcast(tensor, src=0)
        self.share_random_state()

    def share_random_state(self) -> None:
        """Give all processes the state of the first one's random numbers."""
        torch.set_rng_state(self.from_first(torch.get_rng_state))
        if self.device.type == "cuda":
            state = self.from_first(lambda: torch.cuda.get_rng_state(self.device))
            torch.cuda.set_rng_state(state, self.device)

    def gather_rows(self, computed_B: Tensor, rows: Rows) -> Tensor:
        """(total, …): the rows of the whole batch, from those that each process has computed."""
        most = -(-rows.total // self.size)
        padded_B = computed_B.new_zeros(most, *computed_B.shape[1:])
        padded_B[: rows.count] = computed_B[: rows.count]
        sent = padded_B.view(torch.uint8)  # gloo does not know all types of numbers
        received = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(received, sent)
        counts = [Rows.of(rows.total, rank, self.size).count for rank in range(self.size)]
        parts = [part.view(padded_B.dtype)[:count] for part, count in zip(received, counts, strict=True)]
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients by their sums; a parameter that has none in any process keeps none."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        found_P = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        dist.all_reduce(found_P, dist.ReduceOp.MAX)
        used = [p for p, found in zip(trained, found_P.tolist(), strict=True) if found]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        for parameter, summed in zip(used, flat.split([p.numel() for p in used]), strict=True):
            parameter.grad = summed.view_as(parameter)


@contextmanager
def joined_group(
    device: torch.device, rank: int, size: int, on_machine: int, rendezvous: str
) -> Iterator[Group]:
    """Join the processes that meet at `rendezvous`, torch's `init_method`.

    After an error the connections are left to the end of the process: closing them could wait for the others.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=size, timeout=_TIMEOUT)
    yield Group(rank, size, device, on_machine)
    dist.destroy_process_group()


def stay_on_this_machine() -> None:
    """Let gloo and NCCL listen on the loopback interface only, unless the environment says otherwise."""
    if Path("/sys/class/net/lo").is_dir():
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")


def share_cores(device: torch.device, processes: int) -> None:
    """Let torch use this process's share of the cores on a CPU; OMP_NUM_THREADS is the user's choice."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, joblib.cpu_count() // processes))


def lost_connection(error: BaseException) -> bool:
    """True for the error of a process whose connection to another one has ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
