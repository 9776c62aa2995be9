"""State of an unfinished training: one safetensors file, replaced atomically and deleted at the end.

It holds the step, the model, the best weights so far, the optimizers' state and torch's RNG state. The
sampler and the schedules are functions of the step. On a CPU a resumed run has the weights of an
uninterrupted one, bit for bit.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.optim import Optimizer

from extract.atomic import write_atomically

RESUME_FILE = "resume.safetensors"
_HEADER = "state"


def write_resume(
    out_dir: Path,
    progress: dict[str, Any],
    weights: dict[str, dict[str, Tensor]],
    optimizers: Sequence[Optimizer],
    device: torch.device,
) -> None:
    """Save `progress` (JSON-serialisable), named sets of weights, the optimizers' state and the RNG states.

    The RNG states are the CPU's and, on a GPU, that of `device`.
    """
    tensors = {f"{kind}/{name}": tensor for kind, state in weights.items() for name, tensor in state.items()}
    groups = []
    for i, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        groups.append(state["param_groups"])
        for number, values in state["state"].items():
            tensors |= {f"optimizer{i}/{number}/{key}": value.cpu() for key, value in values.items()}
    tensors["rng/cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["rng/cuda"] = torch.cuda.get_rng_state(device)
    header = json.dumps({"progress": progress, "groups": groups})
    content = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={_HEADER: header}
    )
    write_atomically(out_dir / RESUME_FILE, content)


def read_progress(out_dir: Path) -> dict[str, Any] | None:
    """The `progress` given to `write_resume`; None if there is no state or it is unreadable."""
    header = _read_header(out_dir / RESUME_FILE)
    return header["progress"] if header else None


def restore(
    content: bytes, optimizers: Sequence[Optimizer], device: torch.device
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Restore optimizers and RNG from a valid file's content; returns `progress` and the sets of weights."""
    length = int.from_bytes(content[:8], "little")  # of safetensors' own header, which holds ours
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_HEADER])
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in safetensors.torch.load(content).items():
        kind, _, rest = name.partition("/")
        parts.setdefault(kind, {})[rest] = tensor
    for i, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts.pop(f"optimizer{i}", {}).items():
            number, key = name.split("/")
            state.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": header["groups"][i]})
    rng = parts.pop("rng")
    torch.set_rng_state(rng["cpu"])
    if device.type == "cuda" and "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"], device)
    return header["progress"], parts


def _read_header(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            return json.loads(file.metadata()[_HEADER])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError):
        return None  # foreign or damaged: the training starts from step 0
