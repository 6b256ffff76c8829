"""Training and measuring: the only part that knows torch, Lightning, LightGBM and converters to ONNX."""
