"""The compiled part of Keras training: traced once in a process, used by every fold."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tideline.contracts import TidelineError
from tideline.families.mlp import Recipe


def start_keras(threads: int) -> tuple[Any, Any]:
    """(tensorflow, keras), quiet and deterministic. Raises TidelineError if Keras already runs on another backend."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise TidelineError(f"Keras runs on {keras.backend.backend()} in this process; set KERAS_BACKEND=tensorflow")
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")
    return tf, keras


@dataclass(frozen=True)
class Bench:
    """A model, its optimizer and its compiled steps; `reset` makes it as good as new."""

    model: Any
    optimizer: Any
    run_epoch: Any
    judge: Any

    def reset(self, weights: list[np.ndarray], seed: int) -> None:
        """Start from `weights`, with the optimizer's memory and the dropout's dice as at the start."""
        self.model.set_weights(weights)
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        for number, layer in enumerate(layer for layer in self.model.layers if hasattr(layer, "seed_generator")):
            layer.seed_generator.state.assign(np.array([seed, number], np.uint32))


@cache
def open_bench(recipe: Recipe, n_features: int, classes: int, threads: int) -> Bench:
    """The bench for nets of this shape. Not for several threads at once."""
    tf, keras = start_keras(threads)
    model = _build(keras, recipe, n_features, classes)
    optimizer = keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay, beta_2=0.99)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)

    def measure(t: Any, out: Any) -> Any:
        """Mean over rows and members of squared error or log loss; out [n, members, out]."""
        if not classes:
            return tf.reduce_mean((out[:, :, 0] - t[:, None]) ** 2)
        wanted = tf.repeat(t[:, None], recipe.members, axis=1)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=out))

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run_step(x: Any, t: Any, rate: Any) -> Any:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            loss = measure(t, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    matrix, whole = tf.TensorSpec([None, n_features], tf.float32), tf.TensorSpec([None, None], tf.int64)
    target = tf.TensorSpec([None], tf.int32 if classes else tf.float32)

    @tf.function(input_signature=[matrix, target, whole, tf.TensorSpec([None], tf.float32)])  # type: ignore[untyped-decorator]
    def run_epoch(x: Any, t: Any, batches: Any, rates: Any) -> Any:
        """Learn from row numbers `batches` [steps, batch] at `rates` [steps]; the mean loss."""

        def body(i: Any, total: Any) -> tuple[Any, Any]:
            rows = batches[i]
            return i + 1, total + run_step(tf.gather(x, rows), tf.gather(t, rows), rates[i])

        steps = tf.shape(batches)[0]
        _, total = tf.while_loop(lambda i, _: i < steps, body, (0, 0.0), parallel_iterations=1)
        return total / tf.cast(steps, tf.float32)

    @tf.function(input_signature=[matrix, target, tf.TensorSpec([None], tf.int64)])  # type: ignore[untyped-decorator]
    def judge(x: Any, t: Any, rows: Any) -> Any:
        """The loss of the members' mean on `rows`."""
        out = model(tf.gather(x, rows), training=False)
        if not classes:
            return tf.reduce_mean((tf.reduce_mean(out[:, :, 0], axis=1) - tf.gather(t, rows)) ** 2)
        shares = tf.reduce_mean(tf.nn.softmax(out, axis=2), axis=1)
        return -tf.reduce_mean(tf.math.log(tf.maximum(tf.gather(shares, tf.gather(t, rows), batch_dims=1), 1e-12)))

    return Bench(model, optimizer, run_epoch, judge)


def _build(keras: Any, recipe: Recipe, n_features: int, classes: int) -> Any:
    """Outputs [n, members, out] of inputs [n, n_features]; every member has its own slice of each kernel."""
    h = inputs = keras.Input((n_features,))
    sizes = [*recipe.hidden, classes or 1]
    for number, size in enumerate(sizes):
        last = number == len(sizes) - 1
        h = keras.layers.EinsumDense(
            "bi,kio->bko" if number == 0 else "bki,kio->bko",
            output_shape=(recipe.members, size),
            bias_axes="ko",
            activation=None if last else "relu",
        )(h)
        if not last and recipe.dropout > 0:
            h = keras.layers.Dropout(recipe.dropout, seed=number)(h)
    return keras.Model(inputs, h)
