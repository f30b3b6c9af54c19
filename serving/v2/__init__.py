"""The Open Inference Protocol, version 2: tensors in and out, as JSON or as the binary tensor data extension has it.

Sources: KServe's "Open Inference Protocol" and Triton's "Binary Tensor Data Extension" (HTTP/REST).
"""
