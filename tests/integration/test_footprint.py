"""What a model takes is what its files and tensors take; where it is not known, nothing is said."""

from __future__ import annotations

from models.options import LoadOptions
from models.runners.onnx_runner import OnnxRunner
from models.runners.torch_runner import TorchRunner

FOLDER = LoadOptions.embedded_folder()


def test_the_files_are_those_that_a_loader_reads():
    files = [*FOLDER.glob("*/*.safetensors"), *FOLDER.glob("*/*.onnx")]
    footprint = OnnxRunner(FOLDER, LoadOptions(num_threads=1)).footprint
    assert footprint.weights_bytes == sum(path.stat().st_size for path in files)
    assert footprint.memory_bytes is None


def test_torch_knows_what_its_tensors_take():
    taken = {}
    for dtype in ("float32", "float16"):
        options = LoadOptions(runner="torch", dtype=dtype, num_threads=1)
        taken[dtype] = TorchRunner(FOLDER, options).footprint.memory_bytes
    assert taken["float32"] is not None
    assert taken["float16"] is not None
    # The files hold float16; the autoencoder stays float32 in both.
    stored = sum(path.stat().st_size for path in FOLDER.glob("*/*.safetensors"))
    assert 1.9 * stored < taken["float32"] < 2.1 * stored
    assert stored < taken["float16"] < taken["float32"]
