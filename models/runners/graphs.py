"""Which ONNX graphs a pipeline folder carries, and where: beside the weights they point into."""

from __future__ import annotations

from typing import Final

# ONNX Runtime refuses external data outside a graph's own folder, so each graph lives with its
# component's safetensors file.
TEXT_ENCODER: Final = "text_encoder/model.onnx"
UNET: Final = "unet/model.onnx"
VAE_DECODER: Final = "vae/decoder.onnx"
VAE_ENCODER: Final = "vae/encoder.onnx"

# Only image-to-image needs the encoder; everything else refuses to start without its graph.
REQUIRED: Final = (TEXT_ENCODER, UNET, VAE_DECODER)
