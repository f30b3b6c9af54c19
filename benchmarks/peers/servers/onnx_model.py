"""The graph in onnxruntime, as somebody writes it who serves one model: rows as mappings in, a list of values out."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime


class OnnxModel:
    """One thread a session, as all contestants have. The columns come from the manifest beside the graph."""

    def __init__(self) -> None:
        folder = os.environ["BENCH_BUNDLE"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
        self.columns = read_columns()
        self.types = {c["name"]: object if c["kind"] == "category" else np.float64 for c in self.columns}

    def predict(self, rows: list[dict]) -> list[float]:
        """One value a row."""
        feeds = {name: np.array([[row[name]] for row in rows], dtype=kind) for name, kind in self.types.items()}
        return self.session.run(["prediction"], feeds)[0][:, 0].tolist()


def read_columns() -> list[dict]:
    """name, kind, minimum, maximum, categories, missing."""
    return json.loads(Path(os.environ["BENCH_BUNDLE"], "manifest.json").read_text())["columns"]
