"""BentoML's plain API with its defaults."""

import bentoml
from onnx_model import OnnxModel
from rows import Row


@bentoml.service(workers=1)
class Housing:
    """One method, one model."""

    def __init__(self) -> None:
        self.model = OnnxModel()

    @bentoml.api
    def predict(self, rows: list[Row]) -> dict[str, list[float]]:
        """One value a row."""
        return {"predictions": self.model.predict([row.model_dump() for row in rows])}
