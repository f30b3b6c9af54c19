"""What a server and a model tell about themselves in the words of the protocol."""

from __future__ import annotations

from typing import Any

import tideline
from serving.live_model import LiveModel
from serving.v2.response import list_outputs

SERVER = {"name": "tideline", "version": tideline.__version__, "extensions": ["binary_tensor_data"]}


def describe_model(live: LiveModel, logged: bool) -> dict[str, Any]:
    """Inputs and outputs with datatypes; -1 stands for the number of rows."""
    manifest = live.manifest
    inputs = [
        {"name": c.name, "datatype": "BYTES" if c.kind in ("category", "date") else "FP64", "shape": [-1]}
        for c in manifest.columns
    ]
    outputs = [
        {"name": output.name, "datatype": output.datatype, "shape": [-1, *output.inner]}
        for output in list_outputs(manifest, logged)
    ]
    return {
        "name": manifest.task,
        "versions": [live.version],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
    }
