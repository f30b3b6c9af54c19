"""Keras on TensorFlow: perceptrons as branches of one model, with the device that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.contracts import TidelineError
from tideline.families.keras_bench import open_bench, start_keras
from tideline.families.mlp import Core, Weights, cosine_rate, draw_batches, draw_layers, emit_mlp, part_validation
from tideline.families.onnx import Net

CHUNK = 4096  # rows predicted at a time


def choose_device(tf: Any, asked: str) -> str:
    """auto: a GPU where there is one. Raises TidelineError if cuda is asked for and absent."""
    present = bool(tf.config.list_physical_devices("GPU"))
    if asked == "cuda" and not present:
        raise TidelineError(
            "device: cuda is asked for, and TensorFlow sees none; set device: auto or cpu, or install with GPU=1"
        )
    return "cuda" if asked != "cpu" and present else "cpu"


class KerasCore(Core):
    """`recipe.members` perceptrons; learns with AdamW and 1cycle, stops early, restores the best weights."""

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        tf, _ = start_keras(self.threads)
        self.device_ = choose_device(tf, self.asked)
        self.classes_ = int(z.max()) + 1 if self.problem == "classification" else 0
        with tf.device("/GPU:0" if self.device_ == "cuda" else "/CPU:0"):
            self._train(tf, X, z)

    def _train(self, tf: Any, X: np.ndarray, z: np.ndarray) -> None:
        recipe, bench = self.recipe, open_bench(self.recipe, X.shape[1], self.classes_, self.threads)
        bench.reset(draw_layers(recipe, X.shape[1], self.classes_, self.seed + 1), self.seed)
        fit, held = part_validation(z, 0.1, self.seed, self.time_ordered, self.classes_)
        x = tf.constant(X)
        t = tf.constant(z.astype(np.int32 if self.classes_ else np.float32))
        rows = tf.constant(held)
        rng = np.random.default_rng(self.seed)
        steps = recipe.epochs * max(1, len(fit) // min(recipe.batch, len(fit)))
        best, best_loss, worse, step = bench.model.get_weights(), np.inf, 0, 0
        curve: dict[str, list[float]] = {"train": [], "validation": []}
        for epoch in range(recipe.epochs):
            batches = fit[np.stack(list(draw_batches(len(fit), recipe.batch, rng)))]
            rates = [cosine_rate(step + i, steps, recipe.learning_rate) for i in range(len(batches))]
            step += len(batches)
            loss = float(bench.run_epoch(x, t, tf.constant(batches), tf.constant(rates, tf.float32)))
            held_loss = float(bench.judge(x, t, rows))
            curve["train"].append(loss)
            curve["validation"].append(held_loss)
            if self.callback is not None:
                self.callback(epoch, held_loss)
            if held_loss < best_loss:
                best, best_loss, worse = bench.model.get_weights(), held_loss, 0
            else:
                worse += 1
            if worse >= recipe.patience:
                break
        if not np.isfinite(best_loss):
            raise TidelineError(
                f"keras_mlp: training diverged (validation loss {curve['validation']}); lower learning_rate"
            )
        layers = zip(best[0::2], best[1::2], strict=True)
        self.weights_ = Weights(None, None, tuple((kernel, bias[:, None, :]) for kernel, bias in layers))
        self.curve_ = curve

    def predict(self, X: np.ndarray) -> np.ndarray:
        tf, _ = start_keras(self.threads)
        bench = open_bench(self.recipe, X.shape[1], self.classes_, self.threads)
        bench.model.set_weights([array for kernel, bias in self.weights_.layers for array in (kernel, bias[:, 0])])
        parts = []
        with tf.device("/GPU:0" if choose_device(tf, self.asked) == "cuda" else "/CPU:0"):
            for start in range(0, len(X), CHUNK):
                out = bench.model(X[start : start + CHUNK], training=False).numpy().astype(np.float64)
                if self.classes_:
                    powers = np.exp(out - out.max(axis=2, keepdims=True))
                    out = powers / powers.sum(axis=2, keepdims=True)
                parts.append(out.mean(axis=1) if self.classes_ else out.mean(axis=1)[:, 0])
        return np.concatenate(parts) if parts else np.empty((0, self.classes_) if self.classes_ else 0)

    def emit(self, net: Net, x: str) -> str:
        return emit_mlp(net, x, self.weights_, "relu", self.classes_)
