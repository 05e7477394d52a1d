"""What an encoder makes of an image as a whole: its deepest answer, averaged over all places."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maskgym.networks.segmenters import stages_of

_STUDENTS = {"UNet": "small-unet", "ViTMae": "unetr", "STUNet": "stunet"}  # classes of students -> the segmenter's kind


class Features(nn.Module):
    """A student or a segmenter, of which only the encoder's deepest features are asked: a vector an image.

    Args:
        network: called with whatever `forward` is given.
        kind: of segmenter; of a student the kind that takes its weights, as `kind_of_student` names it.
    """

    def __init__(self, network: nn.Module, kind: str):
        super().__init__()
        self.network = network
        inner: Any = getattr(network, "net", network)  # plain U-Nets lie one level deeper as students
        self._deepest: list[nn.Module] = [inner.encoder if kind == "stunet" else stages_of(kind, inner)[-1]]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Give the mean over places or tokens of the deepest features, (B, F)."""
        seen: list[Tensor] = []

        def note(module: nn.Module, given: Any, output: Any) -> None:
            seen.append(output[-1] if isinstance(output, tuple | list) else output)

        hook = self._deepest[0].register_forward_hook(note)
        try:
            self.network(*inputs)
        finally:
            hook.remove()
        answer = seen[-1]
        return answer.mean(1) if answer.dim() == 3 else answer.flatten(2).mean(2)  # tokens (B, N, F), or a map


def kind_of_student(student: nn.Module) -> str:
    """Name the segmenter that takes a student's weights."""
    settings: Any = getattr(student, "settings", {})
    return str(settings.get("kind") or _STUDENTS[type(student).__name__])
