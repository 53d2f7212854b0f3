"""Turns a diffusers folder into one that ONNX Runtime serves: `mintmark export FOLDER`.

Graphs are written beside the weights they point into, checked against torch, and only then given
their names, so a failed export leaves the folder as it was.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir
import onnxruntime as ort
import torch

from models.families.index import family_of
from models.runners.export_plan import GraphPlan, stable_diffusion_plans
from models.runners.export_sharing import WeightIndex, share_weights
from models.weights import WeightsError, check_weights, component_weights, write_digests

if TYPE_CHECKING:
    from collections.abc import Callable

_OPSET = 20
# The largest accepted difference from torch, relative to the largest output value (at least 1).
# Measured: 1e-6 on the embedded model; a wrong weight or a truncated time shows as 1e-2 and more.
_TOLERANCE = 1e-4
_PLANS: dict[str, Callable[[Path], list[GraphPlan]]] = {
    "stable_diffusion": stable_diffusion_plans,
}


@dataclass(frozen=True, slots=True)
class GraphReport:
    """One exported graph. `max_error` is the largest difference from torch, None if unchecked."""

    name: str
    size_bytes: int
    shared_tensors: int
    inline_bytes: int
    max_error: float | None
    duration_s: float


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What `export_folder` wrote."""

    folder: Path
    graphs: tuple[GraphReport, ...]

    def __str__(self) -> str:
        lines = [f"Exported {self.folder}"]
        for graph in self.graphs:
            error = "not checked" if graph.max_error is None else f"max error {graph.max_error:.1e}"
            lines.append(
                f"  {graph.name}: {graph.size_bytes / 1e6:.2f} MB, {graph.shared_tensors} tensors "
                f"shared with the weights, {graph.inline_bytes} bytes of constants, {error}, "
                f"{graph.duration_s:.1f} s"
            )
        return "\n".join(lines)


def export_folder(folder: Path, *, check: bool = True) -> ExportReport:
    """Write the ONNX graphs of a diffusers folder into it, and renew its `SHA256SUMS`.

    check: compare every graph with torch on several row counts and sizes. Raises WeightsError if
    the folder is not one of the supported pipelines, has no safetensors weights, is made of
    symbolic links, or if a graph differs from torch; the folder is then left as it was.
    """
    plans = _PLANS[family_of(folder)]
    check_weights(folder)
    _refuse_links(folder)
    partials: dict[Path, Path] = {}
    reports = []
    try:
        for plan in plans(folder):
            target = folder / plan.name
            partials[target] = target.with_suffix(".onnx.partial")
            reports.append(_export_graph(plan, partials[target], check=check))
        for target, partial in partials.items():
            partial.replace(target)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    write_digests(folder)
    return ExportReport(folder, tuple(reports))


def _export_graph(plan: GraphPlan, path: Path, *, check: bool) -> GraphReport:
    """Export one graph to `path`, sharing its folder's weights."""
    started_s = time.monotonic()
    model = _trace(plan)
    _strip_origins(model)
    sharing = share_weights(model, WeightIndex(component_weights(path.parent)))
    ir.save(model, path)
    max_error = _check_parity(plan, path) if check else None
    return GraphReport(
        name=plan.name,
        size_bytes=path.stat().st_size,
        shared_tensors=sharing.shared_tensors,
        inline_bytes=sharing.inline_bytes,
        max_error=max_error,
        duration_s=time.monotonic() - started_s,
    )


def _trace(plan: GraphPlan) -> ir.Model:
    """Run the exporter; the result holds its weights in memory."""
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter warns about its own internals (axis names it renames, its own deprecations).
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            plan.module.eval(),
            plan.example,
            dynamo=True,
            opset_version=_OPSET,
            dynamic_shapes=plan.dynamic_shapes,
            input_names=plan.input_names,
            output_names=(plan.output_name,),
            verbose=False,
        )
    assert program is not None
    return program.model


def _strip_origins(model: ir.Model) -> None:
    """Remove stack traces and file paths of the exporting machine from every node and value."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _check_parity(plan: GraphPlan, path: Path) -> float:
    """Return the largest relative difference from torch over the plan's trials, or raise."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for trial in plan.trials:
        feeds = {name: tensor.numpy() for name, tensor in zip(plan.input_names, trial, strict=True)}
        with torch.inference_mode():
            expected = plan.module(*trial)
        actual = torch.from_numpy(session.run(None, feeds)[0])
        scale = max(1.0, float(expected.abs().max()))
        worst = max(worst, float((expected - actual).abs().max()) / scale)
    # Written so that NaN fails too.
    if not worst <= _TOLERANCE:
        raise WeightsError(
            f"{plan.name} differs from torch by {worst:.1e} (at most {_TOLERANCE:.0e} is accepted)."
        )
    return worst


def _refuse_links(folder: Path) -> None:
    """Refuse folders such as a hub cache, whose weights are links to files elsewhere.

    ONNX Runtime follows the links and then finds the weights outside the graph's folder.
    """
    for path in folder.glob("*/*.safetensors"):
        if path.is_symlink():
            raise WeightsError(
                f"{path} is a symbolic link; export a real copy of the folder (cp -rL)."
            )


def main(arguments: list[str]) -> int:
    """Export the folder named by the only argument and print the report; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m models.runners.export FOLDER\n")
        return 2
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        report = export_folder(Path(arguments[0]))
    except WeightsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{report}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
