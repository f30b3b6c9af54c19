"""PyTorch: perceptrons side by side in batched matrix products, with the device that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.contracts import TidelineError
from tideline.families.mlp import Core, Weights, cosine_rate, draw_batches, draw_layers, emit_mlp, part_validation
from tideline.families.onnx import Net

CHUNK = 4096  # rows predicted at a time


def choose_device(asked: str) -> str:
    """auto: a GPU where there is one. Raises TidelineError if cuda is asked for and absent."""
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise TidelineError(
            "device: cuda is asked for, and torch sees none; set device: auto or cpu, or install with GPU=1"
        )
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


class TorchCore(Core):
    """`recipe.members` perceptrons; learns with AdamW and 1cycle, stops early, keeps the best weights."""

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        import torch

        self.device_ = choose_device(self.asked)
        torch.set_num_threads(self.threads)
        self.classes_ = int(z.max()) + 1 if self.problem == "classification" else 0
        self._train(X, z)

    def _train(self, X: np.ndarray, z: np.ndarray) -> None:
        import torch

        recipe = self.recipe
        fit, held = part_validation(z, 0.1, self.seed, self.time_ordered, self.classes_)
        kind = torch.long if self.classes_ else torch.float32
        x = torch.as_tensor(X, device=self.device_)
        t = torch.as_tensor(z, device=self.device_).to(kind)
        self._parameters: list[Any] = [
            torch.nn.Parameter(torch.as_tensor(a, device=self.device_)) for a in self._draw(X.shape[1])
        ]
        optimizer = torch.optim.AdamW(self._groups(), lr=recipe.learning_rate, betas=(0.9, 0.99))
        rng, dice = np.random.default_rng(self.seed), torch.Generator(self.device_).manual_seed(self.seed)
        steps = recipe.epochs * max(1, len(fit) // min(recipe.batch, len(fit)))
        rows = torch.as_tensor(held, device=self.device_)
        best, best_loss, worse, step = self._copy(), np.inf, 0, 0
        curve: dict[str, list[float]] = {"train": [], "validation": []}
        for epoch in range(recipe.epochs):
            total, batches = 0.0, 0
            for batch in draw_batches(len(fit), recipe.batch, rng):
                for group in optimizer.param_groups:
                    group["lr"] = cosine_rate(step, steps, recipe.learning_rate)
                chosen = torch.as_tensor(fit[batch], device=self.device_)
                loss = self._loss(self._forward(x[chosen], dice), t[chosen], members=True)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total, batches, step = total + float(loss.detach()), batches + 1, step + 1
            with torch.no_grad():
                held_loss = float(self._loss(self._forward(x[rows]), t[rows], members=False))
            curve["train"].append(total / batches)
            curve["validation"].append(held_loss)
            if self.callback is not None:
                self.callback(epoch, held_loss)
            best_loss, worse, best = (
                (held_loss, 0, self._copy()) if held_loss < best_loss else (best_loss, worse + 1, best)
            )
            if worse >= recipe.patience:
                break
        if not np.isfinite(best_loss):
            raise TidelineError(
                f"torch_mlp: training diverged (validation loss {curve['validation']}); lower learning_rate"
            )
        self.weights_, self.curve_ = self._pack(best), curve
        del self._parameters

    def predict(self, X: np.ndarray) -> np.ndarray:
        import torch

        torch.set_num_threads(self.threads)
        device = choose_device(self.asked)
        weights = self.weights_
        head = [] if weights.frequency is None else [weights.frequency, weights.phase]
        arrays = [*head, *(a for layer in weights.layers for a in layer)]
        self._parameters = [torch.as_tensor(a, device=device) for a in arrays]
        parts = []
        with torch.no_grad():
            for start in range(0, len(X), CHUNK):
                out = self._forward(torch.as_tensor(X[start : start + CHUNK], device=device)).double()
                out = torch.softmax(out, dim=2).mean(dim=0) if self.classes_ else out.mean(dim=0)[:, 0]
                parts.append(out.cpu().numpy())
        del self._parameters
        return np.concatenate(parts) if parts else np.empty((0, self.classes_) if self.classes_ else 0)

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

    def _groups(self) -> list[dict[str, Any]]:
        first = 2 if self.recipe.frequencies else 0
        weights = [p for i, p in enumerate(self._parameters) if i >= first and (i - first) % 2 == 0]
        others = [p for i, p in enumerate(self._parameters) if i < first or (i - first) % 2 == 1]
        return [{"params": weights, "weight_decay": self.recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]

    def _forward(self, x: Any, dice: Any = None) -> Any:
        """Outputs [members, n, out] of inputs [n, n_features]; units drop out where there are `dice` to throw."""
        import torch

        first, h = 0, x
        if self.recipe.frequencies:
            waves = torch.sin(x[:, :, None] * self._parameters[0] + self._parameters[1])
            first, h = 2, torch.cat([x, waves.flatten(1)], dim=1)
        h = h.expand(self.recipe.members, *h.shape)
        layers = self._parameters[first:]
        for i in range(0, len(layers), 2):
            h = torch.baddbmm(layers[i + 1], h, layers[i])
            if i < len(layers) - 2:
                h = torch.nn.functional.silu(h)
                if dice is not None and self.recipe.dropout > 0:
                    kept = torch.rand(h.shape, generator=dice, device=h.device) >= self.recipe.dropout
                    h = h * kept / (1.0 - self.recipe.dropout)
        return h

    def _loss(self, out: Any, t: Any, members: bool) -> Any:
        """Squared error or log loss: of each member while learning, of their mean while judging."""
        import torch

        if not self.classes_:
            return ((out[:, :, 0] - t) ** 2).mean() if members else ((out.mean(dim=0)[:, 0] - t) ** 2).mean()
        if members:
            return torch.nn.functional.cross_entropy(out.flatten(0, 1), t.repeat(len(out)))
        shares = torch.softmax(out, dim=2).mean(dim=0).clamp_min(1e-12)
        return torch.nn.functional.nll_loss(shares.log(), t)

    def _copy(self) -> list[np.ndarray]:
        return [p.detach().cpu().numpy().copy() for p in self._parameters]

    def _pack(self, arrays: list[np.ndarray]) -> Weights:
        first = 2 if self.recipe.frequencies else 0
        layers = tuple((arrays[i], arrays[i + 1]) for i in range(first, len(arrays), 2))
        frequency, phase = (arrays[0], arrays[1]) if first else (None, None)
        return Weights(frequency, phase, layers)
