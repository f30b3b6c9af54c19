"""Feature transforms: one file each, exposing `SPEC`, the transformer and its ONNX converter side by side."""
