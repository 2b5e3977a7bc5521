"""What each layer type becomes in ONNX: a module for each family of ``ops/``."""
