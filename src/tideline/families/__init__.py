"""What the model files share: folds, the tabular shell, each framework's core, trees and nets as ONNX."""
