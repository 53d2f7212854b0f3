"""`mintmark profile`: measure what the configured model takes on this machine, for `plan`."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.config import load_settings
from service.errors import ConfigurationError
from service.planning.profile import (
    DeviceFacts,
    ModelDescription,
    Profile,
    write_profile,
)
from service.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.interface import DiffusionModel
    from models.options import LoadOptions
    from models.spec import ModelSpec
    from service.config import Settings
    from service.domain.result import DecodedImage
    from service.planning.measure import MeasurePlan

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_BUSY_LOAD = 0.3  # processes that run on average, beside us: then the machine is not idle


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("profile.json"),
    show_default=True,
)
@click.option("--model", "place", help="A model folder; by default MINTMARK_MODEL__PATH's.")
@click.option("--size", "sizes", multiple=True, help="E.g. 768x512; by default the native size.")
@click.option(
    "--max-rows",
    type=click.IntRange(2, 1024),
    help="Largest batch to measure; by default MINTMARK_ENGINE__MAX_BATCH_ROWS.",
)
@click.option("--rounds", type=click.IntRange(5, 1000), default=7, show_default=True)
@click.option("--pin-batch-rows", is_flag=True, help="Cover padded calls of larger pictures.")
@click.option("--device-name", help="By default what the system says.")
def profile(  # noqa: PLR0913 - one parameter for each option
    output: Path,
    *,
    place: str | None,
    sizes: tuple[str, ...],
    max_rows: int | None,
    rounds: int,
    pin_batch_rows: bool,
    device_name: str | None,
) -> None:
    """Measure a model's steps by batch size, and its text, decoding and marking times.

    Settings come from MINTMARK_… variables, as for serve. Nothing is served and no output is
    recorded. The machine should be idle: what others take is measured too.
    """
    from service.planning.measure import MeasurePlan, measure  # noqa: PLC0415 - keeps --help fast

    settings = load_settings()
    options = settings.model.each()[0]
    if place is not None:
        options = options.model_copy(update={"path": place, "model_id": None})
    load_average = os.getloadavg()[0]
    if load_average > _BUSY_LOAD:
        click.echo(
            f"The machine is busy (load average {load_average:.2f}): the profile will say so, and "
            "plans made from it will ask for too much.",
            err=True,
        )
    with ExitStack() as stack:
        model, load_s = _load(options, stack)
        mark = _open_marking(settings, model.spec, stack)
        plan = MeasurePlan(
            sizes_px=_sizes(sizes, model.spec),
            max_rows=max_rows or settings.engine.max_batch_rows,
            rounds=rounds,
            is_pinned=pin_batch_rows,
        )
        measured = measure(model, mark, plan, lambda line: click.echo(line, err=True))
        found = Profile(
            measured_at=datetime.now(UTC),
            device=_device(options, device_name, load_average),
            model=_description(options, model.spec),
            software=_software(options),
            load_s=load_s,
            encode_prompt=measured.encode_prompt,
            shapes=measured.shapes,
        )
    write_profile(found, output)
    click.echo(f"{output}: {_summary(found, plan)}")


def _load(options: LoadOptions, stack: ExitStack) -> tuple[DiffusionModel, float]:
    """Return the model, warm, and the seconds that took."""
    from models.errors import ModelError  # noqa: PLC0415 - loads native libraries
    from models.registry import load_model  # noqa: PLC0415
    from service.planning.stepping import SteppingBatch  # noqa: PLC0415

    began_s = time.perf_counter()
    try:
        model = load_model(options)
    except ModelError as error:
        raise ConfigurationError(f"The model cannot be loaded: {error}") from error
    stack.callback(model.close)
    model.decode(model.arrays.zeros((1, *model.spec.latent.shape(*model.spec.default_size_px))))
    SteppingBatch(model, model.spec.default_size_px, rows=2).take(1)
    return model, time.perf_counter() - began_s


def _open_marking(
    settings: Settings, spec: ModelSpec, stack: ExitStack
) -> Callable[[DecodedImage], object]:
    """Return the whole marking with the configured key and a ledger of its own."""
    from service.database.options import LedgerOptions  # noqa: PLC0415 - loads native libraries
    from service.domain.identity import new_request_id  # noqa: PLC0415
    from service.domain.request import OutputOptions  # noqa: PLC0415
    from service.provenance.closed_loop import MarkMargin  # noqa: PLC0415
    from service.provenance.keys import load_signing_material  # noqa: PLC0415
    from service.provenance.ledger import Ledger  # noqa: PLC0415
    from service.provenance.manifest import SystemIdentity  # noqa: PLC0415
    from service.provenance.pipeline import MarkingPipeline, MarkingRequest  # noqa: PLC0415
    from service.provenance.signer import C2paSigner  # noqa: PLC0415
    from service.provenance.watermark import Effort, SpreadSpectrumWatermarker  # noqa: PLC0415

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mintmark-profile-")))
    provenance = settings.provenance
    has_key = provenance.certificate_chain_path is not None
    material = load_signing_material(provenance, settings.server.state_dir if has_key else folder)
    provider = provenance.provider or material.organisation
    system = SystemIdentity(provider, provenance.system, installed_version())
    signer = C2paSigner(material, system)
    stack.callback(signer.close)
    ledger = Ledger.open(LedgerOptions(), folder)
    stack.callback(ledger.close)
    quality = provenance.watermark_margin_quality
    pipeline = MarkingPipeline(
        SpreadSpectrumWatermarker(effort=Effort.WHOLE),
        signer,
        ledger,
        margin=MarkMargin(quality) if quality else None,
    )
    request = MarkingRequest(new_request_id(), spec.model_id, spec.revision, OutputOptions())
    return lambda image: pipeline.mark(image, request)


def _sizes(texts: tuple[str, ...], spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Return the sizes to measure, the native one always among them, each once."""
    found = [spec.default_size_px]
    for text in texts:
        matched = _SIZE.fullmatch(text)
        size = (int(matched[1]), int(matched[2])) if matched else None
        if size is None or size not in spec.sizes_px:
            offered = ", ".join(f"{width}x{height}" for width, height in spec.sizes_px)
            raise ConfigurationError(f"{text} is no size of {spec.model_id}; it draws {offered}.")
        found.append(size)
    return tuple(dict.fromkeys(found))


def _description(options: LoadOptions, spec: ModelSpec) -> ModelDescription:
    return ModelDescription(
        model_id=spec.model_id,
        revision=spec.revision,
        runner=options.runner,
        dtype=options.dtype,
        num_threads=options.num_threads,
        default_steps=spec.defaults.num_inference_steps,
        default_is_guided=spec.defaults.guidance_scale > 1,
        native_size_px=spec.default_size_px,
    )


def _device(options: LoadOptions, name: str | None, load_average: float) -> DeviceFacts:
    found = name or (_gpu_name() if options.device == "cuda" else _cpu_name())
    return DeviceFacts(
        kind=options.device,
        name=found,
        cpu_cores=len(os.sched_getaffinity(0)),
        load_average=load_average,
    )


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    matched = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return matched[1].strip() if matched else platform.machine()


def _gpu_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - no input
    except (OSError, subprocess.SubprocessError):
        raise ConfigurationError(
            "nvidia-smi does not say which GPU this is; name it with --device-name."
        ) from None
    return answer.stdout.splitlines()[0].strip()


def _software(options: LoadOptions) -> dict[str, str]:
    names = ["numpy", "torch"] if options.runner == "torch" else ["numpy", "onnxruntime"]
    if options.runner == "onnx" and options.device == "cuda":
        names[-1] = "onnxruntime-gpu"
    return {"mintmark": installed_version(), **{name: version(name) for name in names}}


def _summary(found: Profile, plan: MeasurePlan) -> str:
    native = found.shape(*found.model.native_size_px)
    steps = ", ".join(f"{each.rows}: {each.step.median_s * 1000:.3g}" for each in native.steps)
    return (
        f"{found.model.model_id} on {found.device.name}, {plan.rounds} rounds; ms of a step by "
        f"rows {steps}; decode {native.decode.median_s * 1000:.3g}, "
        f"mark {native.mark.median_s * 1000:.3g}"
    )
