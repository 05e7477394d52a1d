"""Where a pre-training runs: device, precision, and one process or several."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from maskgym.errors import BadInput
from maskgym.pretrain.settings import PretrainSettings


def make_fabric(settings: PretrainSettings) -> Any:
    """Start Lightning Fabric: as the settings say, or as torchrun or `fabric run` say."""
    from lightning_fabric import Fabric

    kind, _, number = settings.device.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise BadInput(f"device {settings.device!r} is not here: choose cpu" + (" or cuda" if kind != "cuda" else ""))
    precision: Any = {"32": "32-true", "bf16": "bf16-mixed"}[settings.precision]
    if os.environ.get("LT_CLI_USED"):
        fabric = Fabric()  # `fabric run` has said it all, precision too, and launched the processes
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        local, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        fabric = Fabric(accelerator=kind, devices=local, num_nodes=nodes, strategy="ddp", precision=precision)
    elif settings.processes > 1:
        fabric = Fabric(accelerator=kind, devices=settings.processes, strategy="ddp", precision=precision)
    else:
        fabric = Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=precision)
    if not os.environ.get("LT_CLI_USED"):
        fabric.launch()
    if settings.batch % (fabric.world_size * settings.accumulate):
        raise BadInput(
            f"batch {settings.batch} does not fall into {settings.accumulate} parts for {fabric.world_size} processes: "
            "choose a multiple"
        )
    return fabric


def first_process() -> bool:
    """Say whether this process is the one that speaks, also before and after there is a fabric."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


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
