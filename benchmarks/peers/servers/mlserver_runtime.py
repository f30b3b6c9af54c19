"""A custom MLServer runtime: one V2 input tensor a column."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import OnnxModel


class OnnxRuntime(MLModel):
    """Decodes with MLServer's codecs; they check types and shapes, not ranges."""

    async def load(self) -> bool:
        """Open the session."""
        self.onnx = OnnxModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One value a row."""
        columns = {}
        for tensor in payload.inputs:
            if tensor.datatype == "BYTES":
                columns[tensor.name] = StringCodec.decode_input(tensor)
            else:
                columns[tensor.name] = NumpyCodec.decode_input(tensor).ravel().tolist()
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        values = np.array(self.onnx.predict(rows))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="prediction", payload=values)]
        )
