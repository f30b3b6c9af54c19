"""LitServe with its default queue, which was faster than `fast_queue`; without batching, where requests wait."""

import sys

import litserve
from onnx_model import OnnxModel
from rows import Predictions, Rows


class Api(litserve.LitAPI):
    """Decode, predict, encode."""

    def setup(self, device: str) -> None:
        """Open the session."""
        self.model = OnnxModel()

    def decode_request(self, request: Rows) -> list[dict]:
        """LitServe hands over the pydantic model that the annotation names."""
        return [row.model_dump() for row in request.rows]

    def predict(self, rows: list[dict]) -> list[float]:
        """One value a row."""
        return self.model.predict(rows)

    def encode_response(self, values: list[float]) -> Predictions:
        """As the others answer."""
        return Predictions(predictions=values)


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
