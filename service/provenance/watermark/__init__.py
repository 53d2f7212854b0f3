"""The embedded watermark: payload, code, carriers, embedding and blind detection (stop 9)."""

from service.provenance.watermark.detect import Effort
from service.provenance.watermark.profiles import MIN_SIDE_PX
from service.provenance.watermark.watermarker import PUBLIC_KEY, SpreadSpectrumWatermarker

__all__ = ["MIN_SIDE_PX", "PUBLIC_KEY", "Effort", "SpreadSpectrumWatermarker"]
