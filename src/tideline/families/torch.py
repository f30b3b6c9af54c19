"""PyTorch: perceptrons side by side in batched matrix products, with the device that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import BuildContext, TidelineError
from tideline.families.mlp import Core, Recipe, cosine_rate, draw_batches, draw_layers, emit_mlp, part_validation
from tideline.families.onnx import Net
from tideline.families.torch_group import Group, choose_device

if TYPE_CHECKING:
    from tideline.families.torch_net import Perceptrons

CHUNK = 4096  # rows predicted at a time


class TorchCore(Core):
    """`recipe.members` perceptrons; learns with AdamW and 1cycle, stops early, keeps the best weights.

    In a group of processes (torchrun) each learns from its share of every batch, and gradients are averaged.
    """

    def __init__(self, recipe: Recipe, context: BuildContext) -> None:
        super().__init__(recipe, context)
        self.group = Group(context.rank, context.ranks)

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        import torch

        self.device_ = choose_device(self.asked)
        torch.set_num_threads(self.threads)
        self.classes_ = int(z.max()) + 1 if self.problem == "classification" else 0
        self._train(X, z)

    def _train(self, X: np.ndarray, z: np.ndarray) -> None:
        import torch

        from tideline.families.torch_net import Perceptrons, pack

        recipe, group = self.recipe, self.group
        fit, held = part_validation(z, 0.1, self.seed, self.time_ordered, self.classes_)
        x = torch.as_tensor(X, device=self.device_)
        t = torch.as_tensor(z, device=self.device_).to(torch.long if self.classes_ else torch.float32)
        net = Perceptrons(recipe, self._draw(X.shape[1]), self.classes_, self.device_)
        model = group.wrap(net)
        optimizer = torch.optim.AdamW(net.group(), lr=recipe.learning_rate, betas=(0.9, 0.99))
        rng = np.random.default_rng(self.seed)
        dice = torch.Generator(self.device_).manual_seed(self.seed + 1_000_003 * group.rank)
        steps = recipe.epochs * max(1, len(fit) // min(recipe.batch, len(fit)))
        rows = torch.as_tensor(held, device=self.device_)
        best, best_loss, worse, step = net.copy(), np.inf, 0, 0
        curve: dict[str, list[float]] = {"train": [], "validation": []}
        for epoch in range(recipe.epochs):
            total, batches = 0.0, 0
            for batch in draw_batches(len(fit), recipe.batch, rng):
                for parameters in optimizer.param_groups:
                    parameters["lr"] = cosine_rate(step, steps, recipe.learning_rate)
                share, weight = group.share(batch)
                chosen = torch.as_tensor(fit[share], device=self.device_)
                loss = net.loss(model(x[chosen], dice), t[chosen], members=True)
                optimizer.zero_grad(set_to_none=True)
                (loss if weight == 1.0 else loss * weight).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total, batches, step = total + weight * float(loss.detach()), batches + 1, step + 1
            with torch.no_grad():
                held_loss = float(net.loss(net(x[rows]), t[rows], members=False))
            train_loss, held_loss = group.agree(total / batches, held_loss, self.device_)
            curve["train"].append(train_loss)
            curve["validation"].append(held_loss)
            if self.callback is not None:
                self.callback(epoch, held_loss)
            best_loss, worse, best = (
                (held_loss, 0, net.copy()) if held_loss < best_loss else (best_loss, worse + 1, best)
            )
            if worse >= recipe.patience:
                break
        if not np.isfinite(best_loss):
            raise TidelineError(
                f"torch_mlp: training diverged (validation loss {curve['validation']}); lower learning_rate"
            )
        self.weights_, self.curve_ = pack(recipe, best), curve

    def predict(self, X: np.ndarray) -> np.ndarray:
        import torch

        from tideline.families.torch_net import Perceptrons, unpack

        torch.set_num_threads(self.threads)
        device = choose_device(self.asked)
        net = Perceptrons(self.recipe, unpack(self.weights_), self.classes_, device)
        with torch.no_grad():
            parts = list(self._predict_parts(net, X, device))
        return np.concatenate(parts) if parts else np.empty((0, self.classes_) if self.classes_ else 0)

    def _predict_parts(self, net: Perceptrons, X: np.ndarray, device: str) -> Iterator[np.ndarray]:
        import torch

        for start in range(0, len(X), CHUNK):
            out = net(torch.as_tensor(X[start : start + CHUNK], device=device)).double()
            out = torch.softmax(out, dim=2).mean(dim=0) if self.classes_ else out.mean(dim=0)[:, 0]
            yield out.cpu().numpy()

    def emit(self, net: Net, x: str) -> str:
        return emit_mlp(net, x, self.weights_, "silu", self.classes_)

    def _draw(self, n_features: int) -> list[np.ndarray]:
        """First weights; frequencies around a wave or two per deviation."""
        recipe, rng, waves = self.recipe, np.random.default_rng(self.seed + 2), []
        if recipe.frequencies:
            shape = (n_features, recipe.frequencies)
            waves = [rng.normal(0.0, 2.0, shape), rng.uniform(-np.pi, np.pi, shape)]
        layers = draw_layers(recipe, n_features * (1 + recipe.frequencies), self.classes_, self.seed + 1)
        biases = [a[:, None, :] if i % 2 else a for i, a in enumerate(layers)]
        return [*(wave.astype(np.float32) for wave in waves), *biases]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "group": Group()}
