"""How a network's tensors are computed: ONNX Runtime or torch."""
