"""Perceptrons side by side as one torch module: its inputs' waves, layers in batched matrix products, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tideline.families.mlp import Recipe, Weights


class Perceptrons(torch.nn.Module):
    """`recipe.members` nets on the same inputs. arrays: frequency and phase if the recipe has any, then kernels and
    biases in turn, as `Weights` lists them. classes: 0 for regression."""

    def __init__(self, recipe: Recipe, arrays: Sequence[np.ndarray], classes: int, device: str) -> None:
        super().__init__()
        self.recipe, self.classes = recipe, classes
        self.arrays = torch.nn.ParameterList(torch.nn.Parameter(torch.as_tensor(a, device=device)) for a in arrays)

    @property
    def first(self) -> int:
        """Where the first layer begins."""
        return 2 if self.recipe.frequencies else 0

    def forward(self, x: torch.Tensor, dice: torch.Generator | None = None) -> torch.Tensor:
        """Outputs [members, n, out] of inputs [n, n_features]; units drop out where there are `dice` to throw."""
        recipe, arrays, h = self.recipe, list(self.arrays), x
        if self.first:
            waves = torch.sin(x[:, :, None] * arrays[0] + arrays[1])
            h = torch.cat([x, waves.flatten(1)], dim=1)
        h = h.expand(recipe.members, *h.shape)
        layers = arrays[self.first :]
        for i in range(0, len(layers), 2):
            h = torch.baddbmm(layers[i + 1], h, layers[i])
            if i < len(layers) - 2:
                h = torch.nn.functional.silu(h)
                if dice is not None and recipe.dropout > 0:
                    kept = torch.rand(h.shape, generator=dice, device=h.device) >= recipe.dropout
                    h = h * kept / (1.0 - recipe.dropout)
        return h

    def loss(self, out: torch.Tensor, t: torch.Tensor, members: bool) -> torch.Tensor:
        """Squared error or log loss: of each member while learning, of their mean while judging."""
        if not self.classes:
            return ((out[:, :, 0] - t) ** 2).mean() if members else ((out.mean(dim=0)[:, 0] - t) ** 2).mean()
        if members:
            return torch.nn.functional.cross_entropy(out.flatten(0, 1), t.repeat(len(out)))
        shares = torch.softmax(out, dim=2).mean(dim=0).clamp_min(1e-12)
        return torch.nn.functional.nll_loss(shares.log(), t)

    def group(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: only kernels decay."""
        kernels = [p for i, p in enumerate(self.arrays) if i >= self.first and (i - self.first) % 2 == 0]
        others = [p for i, p in enumerate(self.arrays) if i < self.first or (i - self.first) % 2 == 1]
        return [{"params": kernels, "weight_decay": self.recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]

    def copy(self) -> list[np.ndarray]:
        """All arrays as they are now."""
        return [p.detach().cpu().numpy().copy() for p in self.arrays]


def pack(recipe: Recipe, arrays: Sequence[np.ndarray]) -> Weights:
    """The arrays of a module as `Weights`."""
    first = 2 if recipe.frequencies else 0
    layers = tuple((arrays[i], arrays[i + 1]) for i in range(first, len(arrays), 2))
    frequency, phase = (arrays[0], arrays[1]) if first else (None, None)
    return Weights(frequency, phase, layers)


def unpack(weights: Weights) -> list[np.ndarray]:
    """What `pack` was given."""
    waves = [a for a in (weights.frequency, weights.phase) if a is not None]
    return [*waves, *(a for layer in weights.layers for a in layer)]
