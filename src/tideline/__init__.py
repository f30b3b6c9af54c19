"""tideline: from versioned raw data to a served, evaluated ONNX model."""

__version__ = "0.1.0"
