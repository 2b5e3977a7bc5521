"""Nets as ONNX models: what each layer type becomes, names, weights, and what runtimes can run."""
