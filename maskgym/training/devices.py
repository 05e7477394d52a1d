"""Where a network is trained: device, precision, and one process or several."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput

PRECISIONS = ("32", "bf16")


class OneProcess:
    """One process on one device, under the names of Lightning Fabric, which takes two seconds to import."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device: str, precision: str):
        self.device, self.precision = torch.device(device), precision

    def setup(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both are ready as they are."""
        return network, optimiser

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the precision asked for."""
        return autocast(self.device, self.precision)

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()

    def no_backward_sync(self, network: nn.Module, enabled: bool = True) -> AbstractContextManager[Any]:
        """There is nobody to wait for."""
        return nullcontext()

    def all_gather(self, value: Tensor) -> Tensor:
        """Give what all processes have, one after the other."""
        return value[None]

    def barrier(self) -> None:
        """There is nobody to wait for."""


def make_fabric(device: str = "cpu", precision: str = "32", processes: int = 1) -> Any:
    """Start what is asked for, or what torchrun or `fabric run` say: one process, or Lightning Fabric for several."""
    kind, _, _ = device.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise BadInput(f"device {device!r} is not here: choose cpu" + (" or cuda" if kind != "cuda" else ""))
    check_precision(precision)
    launched = bool(os.environ.get("LT_CLI_USED") or "TORCHELASTIC_RUN_ID" in os.environ)
    if not launched and processes == 1:
        return OneProcess(device, precision)
    from lightning_fabric import Fabric

    how: Any = {"32": "32-true", "bf16": "bf16-mixed"}[precision]
    strategy = "ddp"
    if os.environ.get("LT_CLI_USED"):
        return Fabric()  # `fabric run` has said it all, precision too, and launched the processes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        fabric = Fabric(accelerator=kind, devices=local, num_nodes=nodes, strategy=strategy, precision=how)
    else:
        fabric = Fabric(accelerator=kind, devices=processes, strategy=strategy, precision=how)
    fabric.launch()
    return fabric


def check_precision(precision: str) -> None:
    """Refuse what is no precision."""
    if precision not in PRECISIONS:
        raise BadInput(f"unknown precision {precision!r}: choose {' or '.join(PRECISIONS)}")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Compute convolutions and products in the precision asked for; weights stay 32 bits wide."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def native_precision(device: torch.device) -> str:
    """Name the fastest precision that the device computes in itself: bf16, unless it would be emulated."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "32"


def compile_networks(*networks: nn.Module) -> None:
    """Let torch.compile fuse what each network computes, from its next call on; names and weights stay as they are."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl")):
        raise BadInput("compiling networks needs a C++ compiler: install g++, or leave --compile out")
    for network in networks:
        network.compile()


def first_process() -> bool:
    """Say whether this process is the one that speaks, also before and after there is a fabric."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def anywhere(fabric: Any, flag: bool) -> bool:
    """Say whether the flag is up in any process."""
    return flag if fabric.world_size == 1 else bool(fabric.strategy.reduce_boolean_decision(flag, all=False))


def out_of_memory(error: BaseException) -> bool:
    """Say whether this is the machine's way of telling that its memory is full."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def fitting_batch(forward: Callable[[int], object], batch: int) -> int:
    """Halve a batch until a forward and backward pass fits into memory; 0 = not even one image does."""
    while batch := batch // 2:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        else:
            return batch
    return 0
