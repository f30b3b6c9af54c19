"""FastAPI, pydantic and onnxruntime; the handler once as `async def` (on the event loop), once as `def` (a thread)."""

from fastapi import FastAPI
from onnx_model import OnnxModel
from rows import Predictions, Rows

app = FastAPI()
model = OnnxModel()


@app.post("/predict")
async def predict(request: Rows) -> Predictions:
    """On the event loop."""
    return Predictions(predictions=model.predict([row.model_dump() for row in request.rows]))


@app.post("/predict-in-thread")
def predict_in_thread(request: Rows) -> Predictions:
    """In Starlette's thread pool."""
    return Predictions(predictions=model.predict([row.model_dump() for row in request.rows]))
