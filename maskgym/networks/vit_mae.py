"""A masked autoencoder on MONAI's vision transformer: the encoder sees visible patches only.

The encoder is MONAI's `ViT`, so that its weights go into `UNETR` by name. MONAI's own masked autoencoder takes no mask
from outside and has no second head.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from maskgym.errors import BadInput
from maskgym.masking.patches import Patches


class _Seen(NamedTuple):
    """What the encoder made of the visible patches of a batch."""

    pieces: Tensor  # (B, V, pixels of a patch): what was looked at
    visible: Tensor  # (B, V) int64: which patches
    latent: Tensor  # (B, V, width)
    version: int  # of the encoder's weights


class ViTMae(nn.Module):
    """Encoder on visible patches, a light decoder for pixels and, if asked for, another that predicts patch losses.

    Args:
        channels: of the images.
        dims: 2 for images, 3 for volumes.
        size: of the images; positions are learned, so it is fixed.
        patch: of a patch.
        width: features per token.
        depth: blocks of the encoder; UNETR has 12.
        heads: of each block's attention.
        mlp: features inside a block's perceptron; 0 = 4 * width.
        decoder_width: features per token in both decoders.
        decoder_depth: blocks of the image decoder.
        predictor_depth: blocks of the loss predictor; 0 = there is none.
    """

    def __init__(
        self,
        channels: int = 1,
        dims: int = 2,
        size: tuple[int, ...] = (128, 128),
        patch: tuple[int, ...] = (16, 16),
        width: int = 192,
        depth: int = 12,
        heads: int = 6,
        mlp: int = 0,
        decoder_width: int = 96,
        decoder_depth: int = 2,
        predictor_depth: int = 0,
    ):
        super().__init__()
        from monai.networks.nets import ViT

        if min(width, heads, decoder_width, depth, decoder_depth) < 1 or width % heads or decoder_width % heads:
            raise BadInput(
                f"heads {heads} must divide width {width} and decoder_width {decoder_width}, and depth {depth} and "
                f"decoder_depth {decoder_depth} be at least 1"
            )
        mlp = mlp or 4 * width
        self.settings: dict[str, Any] = {
            "channels": channels,
            "dims": dims,
            "size": list(size),
            "patch": list(patch),
            "width": width,
            "depth": depth,
            "heads": heads,
            "mlp": mlp,
            "decoder_width": decoder_width,
            "decoder_depth": decoder_depth,
            "predictor_depth": predictor_depth,
        }
        self.patches = Patches(tuple(size), tuple(patch))
        self.vit = ViT(channels, size, patch, width, mlp, depth, heads, spatial_dims=dims)
        pixels = channels * prod(patch)
        self.decoder = _Decoder(self.patches.count, width, decoder_width, decoder_depth, heads, pixels)
        if predictor_depth:
            self.predictor = _Decoder(self.patches.count, width, decoder_width, predictor_depth, heads, 1)
            self.predict_loss = self._predict_loss
        for name, weight in self.named_parameters():
            if "norm_cross_attn" in name:  # MONAI's blocks have it and never use it
                weight.requires_grad_(False)
        self._seen: list[_Seen] = []  # of the last forward, for a prediction that follows; at most one

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Rebuild (B, C, *size) from the visible patches; mask (B, *grid) bool, hides equally many of every image."""
        seen = self._see(images, mask)
        self._seen = []
        if self.settings["predictor_depth"] and seen.latent.requires_grad:
            self._seen.append(seen)
            if not torch.compiler.is_compiling():  # what was differentiated once cannot be again
                seen.latent.register_hook(lambda _: self._seen.clear())
        return self.patches.join(self.decoder(seen.latent, seen.visible))

    def _predict_loss(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Say what each patch will cost, (B, *grid), from the visible patches, or from all without a mask.

        After a forward on the same visible patches, and before its backward, the encoder is not asked again.
        """
        remembered, self._seen = self._seen, []
        if remembered and mask is not None and self._same(remembered[0], images, mask):
            seen = remembered[0]
        else:
            seen = self._see(images, mask)
        return self.predictor(seen.latent, seen.visible).view(-1, *self.patches.grid)

    def _see(self, images: Tensor, mask: Tensor | None) -> _Seen:
        """Encode what is visible."""
        visible = _visible(images, mask, self.patches)
        pieces = _take(self.patches.split(images), visible)
        embedding = self.vit.patch_embedding
        kernel: Any = embedding.patch_embeddings  # a convolution whose stride is its size: a linear layer on patches
        tokens = nn.functional.linear(pieces, kernel.weight.flatten(1), kernel.bias)
        tokens = tokens + embedding.position_embeddings[0][visible]
        for block in self.vit.blocks:
            tokens = block(tokens)
        return _Seen(pieces, visible, self.vit.norm(tokens), self._written())

    def _same(self, seen: _Seen, images: Tensor, mask: Tensor) -> bool:
        visible = _visible(images, mask, self.patches)
        return (
            seen.version == self._written()
            and torch.equal(visible, seen.visible)
            and torch.equal(_take(self.patches.split(images), visible), seen.pieces)
        )

    def _written(self) -> int:
        """Count how often the encoder's weights were written to."""
        return sum(weight._version for weight in self.vit.parameters())


class _Decoder(nn.Module):
    """A few blocks over all patches, hidden ones as one learned token, and a linear head."""

    def __init__(self, count: int, inside: int, width: int, depth: int, heads: int, outside: int):
        super().__init__()
        from monai.networks.blocks import TransformerBlock

        self.embed = nn.Linear(inside, width)
        self.hidden = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, count, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, 4 * width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outside)

    def forward(self, latent: Tensor, visible: Tensor) -> Tensor:
        """Turn (B, V, inside) latents of the visible patches into (B, N, outside) answers for all."""
        tokens = self.embed(latent)
        everywhere = self.hidden.to(tokens.dtype).expand(len(latent), self.place.shape[1], -1)
        everywhere = everywhere.scatter(1, visible[..., None].expand(-1, -1, tokens.shape[-1]), tokens)
        tokens = everywhere + self.place
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens))


def _visible(images: Tensor, mask: Tensor | None, patches: Patches) -> Tensor:
    """List the visible patches of each image in order, (B, V) int64."""
    if tuple(images.shape[2:]) != patches.size:
        raise BadInput(f"this network has learned positions of {patches.size}, not of {tuple(images.shape[2:])}")
    if mask is None:
        return torch.arange(patches.count, device=images.device).expand(len(images), -1)
    hidden = mask.flatten(1)
    counts = hidden.sum(1)
    if hidden.shape[1] != patches.count or bool((counts != counts[0]).any()):
        raise BadInput("masks of one batch must hide equally many patches of this network's grid")
    return hidden.long().argsort(dim=1, stable=True)[:, : patches.count - int(counts[0])]


def _take(pieces: Tensor, which: Tensor) -> Tensor:
    """Pick the rows `which` (B, V) of (B, N, D)."""
    return pieces.gather(1, which[..., None].expand(-1, -1, pieces.shape[-1]))
