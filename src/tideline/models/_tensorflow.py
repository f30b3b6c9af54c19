"""Keras on TensorFlow: perceptrons as branches of one model, with the device that was asked for."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, TidelineError
from tideline.models._mlp import Recipe, Weights, cosine_rate, emit_mlp, part_validation
from tideline.models._onnx import Net

CHUNK = 4096  # rows predicted at a time


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
    return tf, keras


def choose_device(tf: Any, asked: str) -> str:
    """auto: a GPU where there is one. Raises TidelineError if cuda is asked for and absent."""
    present = bool(tf.config.list_physical_devices("GPU"))
    if asked == "cuda" and not present:
        raise TidelineError(
            "device: cuda is asked for, and TensorFlow sees none; set device: auto or cpu, or install with GPU=1"
        )
    return "cuda" if asked != "cpu" and present else "cpu"


class KerasCore:
    """`recipe.members` perceptrons; learns with AdamW and 1cycle, stops early, restores the best weights."""

    def __init__(self, recipe: Recipe, context: BuildContext) -> None:
        self.recipe = recipe
        self.problem = context.problem
        self.seed = context.seed
        self.threads = context.threads
        self.asked = context.device
        self.time_ordered = context.time_ordered
        self.callback = context.epoch_callback

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        tf, keras = start_keras(self.threads)
        self.device_ = choose_device(tf, self.asked)
        self.classes_ = int(z.max()) + 1 if self.problem == "classification" else 0
        with tf.device("/GPU:0" if self.device_ == "cuda" else "/CPU:0"):
            self._train(keras, X, z)
        keras.utils.clear_session()

    def _train(self, keras: Any, X: np.ndarray, z: np.ndarray) -> None:
        recipe = self.recipe
        keras.utils.set_random_seed(self.seed)
        fit, held = part_validation(z, 0.1, self.seed, self.time_ordered, self.classes_)
        t = z.astype(np.int64 if self.classes_ else np.float32)[:, None, None]
        model = self._build(keras, X.shape[1])
        per_epoch = -(-len(fit) // recipe.batch)
        optimizer = keras.optimizers.AdamW(
            learning_rate=_one_cycle(keras, recipe.epochs * per_epoch, recipe.learning_rate),
            weight_decay=recipe.weight_decay,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer=optimizer, loss=_member_loss(keras, self.classes_), steps_per_execution=per_epoch)
        callbacks = [keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)]
        if self.callback is not None:
            report = self.callback
            callbacks.append(
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(epoch, float(logs["val_loss"])))
            )
        history = model.fit(
            X[fit],
            t[fit],
            batch_size=recipe.batch,
            epochs=recipe.epochs,
            validation_data=(X[held], t[held]),
            validation_batch_size=CHUNK,
            callbacks=callbacks,
            verbose=0,
        ).history
        if not np.isfinite(history["val_loss"]).any():
            raise TidelineError(
                f"keras_mlp: training diverged (validation loss {history['val_loss']}); lower learning_rate"
            )
        self.curve_ = {
            "train": [float(value) for value in history["loss"]],
            "validation": [float(value) for value in history["val_loss"]],
        }
        self.weights_ = self._pack(model)

    def predict(self, X: np.ndarray) -> np.ndarray:
        tf, keras = start_keras(self.threads)
        model = self._build(keras, X.shape[1])
        model.set_weights([array for kernel, bias in self.weights_.layers for array in (kernel, bias[:, 0])])
        parts = []
        with tf.device("/GPU:0" if choose_device(tf, self.asked) == "cuda" else "/CPU:0"):
            for start in range(0, len(X), CHUNK):
                out = keras.ops.convert_to_numpy(model(X[start : start + CHUNK], training=False)).astype(np.float64)
                if self.classes_:
                    powers = np.exp(out - out.max(axis=2, keepdims=True))
                    out = powers / powers.sum(axis=2, keepdims=True)
                parts.append(out.mean(axis=1) if self.classes_ else out.mean(axis=1)[:, 0])
        keras.utils.clear_session()
        return np.concatenate(parts) if parts else np.empty((0, self.classes_) if self.classes_ else 0)

    def emit(self, net: Net, x: str) -> str:
        return emit_mlp(net, x, self.weights_, "relu", self.classes_)

    def _build(self, keras: Any, n_features: int) -> Any:
        """Outputs [n, members, out] of inputs [n, n_features]; every member has its own slice of each kernel."""
        members, width = self.recipe.members, n_features
        inputs = keras.Input((n_features,))
        h, sizes = inputs, [*self.recipe.hidden, self.classes_ or 1]
        for number, size in enumerate(sizes):
            last = number == len(sizes) - 1
            h = keras.layers.EinsumDense(
                "bi,kio->bko" if number == 0 else "bki,kio->bko",
                output_shape=(members, size),
                bias_axes="ko",
                name=f"dense_{number}",
                activation=None if last else "relu",
                kernel_initializer=keras.initializers.RandomNormal(stddev=np.sqrt((0.1 if last else 2.0) / width)),
            )(h)
            if not last:
                h = keras.layers.Dropout(self.recipe.dropout)(h)
            width = size
        return keras.Model(inputs, h)

    def _pack(self, model: Any) -> Weights:
        arrays = model.get_weights()
        layers = zip(arrays[0::2], arrays[1::2], strict=True)
        return Weights(None, None, tuple((kernel, bias[:, None, :]) for kernel, bias in layers))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "callback": None}


def _one_cycle(keras: Any, steps: int, peak: float) -> Any:
    warm = max(1, steps // 10)
    start = cosine_rate(0, steps, peak)
    return keras.optimizers.schedules.CosineDecay(start, max(1, steps - warm), warmup_target=peak, warmup_steps=warm)


def _member_loss(keras: Any, classes: int) -> Any:
    """Mean over members of squared error or log loss; out is [n, members, out], t is [n, 1, 1]."""

    def loss(t: Any, out: Any) -> Any:
        if not classes:
            return keras.ops.mean((out - t) ** 2, axis=(1, 2))
        wanted = keras.ops.one_hot(keras.ops.cast(t[:, 0, 0], "int32"), classes)[:, None, :]
        return -keras.ops.mean(keras.ops.sum(wanted * keras.ops.log_softmax(out, axis=2), axis=2), axis=1)

    return loss
