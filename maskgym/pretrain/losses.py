"""What a student is taught by: pure functions of the patch loss (B, *grid) and the mask (B, *grid), True = hidden."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from torch import Tensor

from maskgym.errors import BadInput

Loss = Callable[[Tensor, Tensor], Tensor]


def hidden_mean(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Mean over the hidden patches."""
    return (patch_loss * mask).sum() / mask.sum()


def hidden_sum(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Sum over the hidden patches of an image, mean over images (MPS-AMS)."""
    return (patch_loss * mask).sum() / len(mask)


def whole(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Mean over all patches, visible ones too (AHM)."""
    return patch_loss.mean()


def rrl(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Weigh each hidden patch by its loss over the mean of its image's hidden patches (AMLP).

    As printed the loss is that weight alone, which is 1 on average whatever the network does; so here the weight is
    held fixed and multiplies the loss.
    """
    return _hidden(_relative(patch_loss, mask).detach() * patch_loss, mask).mean()


def rrl_literal(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """AMLP's loss as printed: always 1, with no gradient to speak of."""
    return _hidden(_relative(patch_loss, mask), mask).mean()


LOSSES: dict[str, Loss] = {
    "hidden-mean": hidden_mean,
    "hidden-sum": hidden_sum,
    "whole": whole,
    "rrl": rrl,
    "rrl-literal": rrl_literal,
}


def parse_loss(text: str) -> Loss:
    """Read a sum of losses, as hidden-mean+rrl or hidden-mean+0.5*rrl.

    >>> import torch
    >>> float(parse_loss("hidden-mean+0.5*whole")(torch.tensor([[4.0, 0.0]]), torch.tensor([[True, False]])))
    5.0
    """
    terms = []
    for part in text.replace(" ", "").split("+"):
        weight, _, name = part.rpartition("*")
        if name not in LOSSES:
            near = get_close_matches(name, LOSSES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LOSSES)}"
            raise BadInput(f"there is no loss {name!r}: {hint}")
        try:
            terms.append((float(weight or 1), LOSSES[name]))
        except ValueError:
            raise BadInput(f"{part!r} is no loss with a weight: write 0.5*rrl") from None

    def total(patch_loss: Tensor, mask: Tensor) -> Tensor:
        (weight, first), *rest = terms
        loss = weight * first(patch_loss, mask)
        for weight, term in rest:
            loss = loss + weight * term(patch_loss, mask)
        return loss

    return total


def _relative(patch_loss: Tensor, mask: Tensor) -> Tensor:
    """Loss over the mean loss of the hidden patches of the same image, (B, *grid)."""
    mean = _hidden(patch_loss, mask).view(-1, *[1] * (mask.dim() - 1))
    return patch_loss / mean.clamp(min=1e-12)


def _hidden(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the hidden patches of each image, (B,)."""
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
