"""The dashboard for whoever tunes: what the engine does with its time, memory and energy."""

from __future__ import annotations

from deploy.dashboards.layout import Dashboard, Panel, Query, Row, mean, quantile, total_rate, where

_MODEL = 'model=~"$model"'

_STEPS = Row(
    "Steps",
    (
        Panel(
            "Denoiser calls",
            "Each is one step of every picture in the batch; pictures of one size go together.",
            "cps",
            (
                Query(
                    total_rate("mintmark_step_seconds_count", "model, size", _MODEL),
                    "{{model}} {{size}}",
                ),
            ),
        ),
        Panel(
            "Time of a denoiser call",
            "By model and size of the pictures. It grows with the rows of the batch.",
            "s",
            (
                Query(
                    quantile(0.5, "mintmark_step_seconds", "model, size", _MODEL),
                    "{{model}} {{size}} p50",
                ),
                Query(
                    quantile(0.95, "mintmark_step_seconds", "model, size", _MODEL),
                    "{{model}} {{size}} p95",
                ),
            ),
        ),
        Panel(
            "Engine busy",
            "Share of the time in which the engine works. At 1 only more replicas help.",
            "percentunit",
            (Query(total_rate("mintmark_engine_busy_seconds_total", "pod"), "{{pod}}"),),
            max_value=1,
        ),
        Panel(
            "Rows of a batch",
            "Mean over the denoiser calls, guidance rows included. 1 or 2: nothing is batched.",
            "none",
            (Query(mean("mintmark_batch_rows", "model, size", _MODEL), "{{model}} {{size}}"),),
        ),
        Panel(
            "Rows denoised",
            "Rows a second: what batching is for. It should grow with the rows of a batch.",
            "cps",
            (Query(total_rate("mintmark_batch_rows_sum", "model", _MODEL), "{{model}}"),),
            is_stacked=True,
        ),
        Panel(
            "Cost of a row",
            "The denoiser's time for one row of one step. It should fall as batches grow.",
            "s",
            (
                Query(
                    total_rate("mintmark_step_seconds_sum", "model, size", _MODEL)
                    + " / "
                    + total_rate("mintmark_batch_rows_sum", "model, size", _MODEL),
                    "{{model}} {{size}}",
                ),
            ),
        ),
    ),
)

_AROUND = Row(
    "Before and after the steps",
    (
        Panel(
            "Encoding",
            "Mean time to encode a prompt, or a picture that is edited.",
            "s",
            (Query(mean("mintmark_encode_seconds", "what"), "{{what}}"),),
        ),
        Panel(
            "Decoding",
            "Time of one call of the decoder from latents to pixels.",
            "s",
            (
                Query(quantile(0.5, "mintmark_decode_seconds", ""), "p50"),
                Query(quantile(0.95, "mintmark_decode_seconds", ""), "p95"),
            ),
        ),
        Panel(
            "Pixels handed out",
            "Of signed pictures.",
            "cps",
            (Query(total_rate("mintmark_pixels_total", "model", _MODEL), "{{model}}"),),
            is_stacked=True,
        ),
        Panel(
            "Ends in the engine",
            "Requests that left the engine, by how.",
            "reqps",
            (Query(total_rate("mintmark_engine_requests_total", "outcome"), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Cancelling",
            "From the call that cancels until the place in the engine is free.",
            "s",
            (Query(quantile(0.95, "mintmark_cancel_seconds", ""), "p95"),),
        ),
        Panel(
            "Loading",
            "How long each replica took to load and warm up a model.",
            "s",
            (Query(f"mintmark_model_load_seconds{where(_MODEL)}", "{{pod}} {{model}}"),),
        ),
    ),
)

_MARKING = Row(
    "Marking",
    (
        Panel(
            "Time by stage",
            "Mean time of each stage for one picture, stacked: what provenance costs.",
            "s",
            (Query(mean("mintmark_marking_seconds", "stage"), "{{stage}}"),),
            is_stacked=True,
        ),
        Panel(
            "Time by stage, p95",
            "One picture in twenty takes longer in the stage.",
            "s",
            (Query(quantile(0.95, "mintmark_marking_seconds", "stage"), "{{stage}}"),),
        ),
        Panel(
            "Storing for links",
            "Time to store one picture, p95, by storage.",
            "s",
            (Query(quantile(0.95, "mintmark_store_seconds", "storage"), "{{storage}}"),),
        ),
    ),
)

_RESOURCES = Row(
    "Memory, processor, energy",
    (
        Panel(
            "Memory of the process",
            "Resident memory, by replica.",
            "bytes",
            (
                Query(
                    f"process_resident_memory_bytes{where()}"
                    " and on (namespace, job, pod, instance) mintmark_build_info",
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Memory of the weights",
            "On their device where the runner can tell, and on disk.",
            "bytes",
            (
                Query(
                    f"max by (model, device) (mintmark_model_memory_bytes{where(_MODEL)})",
                    "{{model}} on {{device}}",
                ),
                Query(
                    f"max by (model) (mintmark_model_weights_bytes{where(_MODEL)})",
                    "{{model}} on disk",
                ),
            ),
        ),
        Panel(
            "Processor",
            "Cores in use, by replica.",
            "none",
            (
                Query(
                    f"rate(process_cpu_seconds_total{where()}[$__rate_interval])"
                    " and on (namespace, job, pod, instance) mintmark_build_info",
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Power",
            "What the hardware counts, all processes of the machine. Empty where none counts it.",
            "watt",
            (
                Query(
                    total_rate("mintmark_energy_joules_total", "pod, source"), "{{pod}} {{source}}"
                ),
            ),
        ),
        Panel(
            "Energy of a picture",
            "All that the hardware counts, divided by the pictures handed out; idle time included.",
            "joule",
            (
                Query(
                    total_rate("mintmark_energy_joules_total", "pod")
                    + " / "
                    + total_rate("mintmark_images_total", "pod"),
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Open files",
            "Sockets included, by replica, as a share of what the process may open.",
            "percentunit",
            (
                Query(
                    f"process_open_fds{where()} / process_max_fds{where()}"
                    " and on (namespace, job, pod, instance) mintmark_build_info",
                    "{{pod}}",
                ),
            ),
            max_value=1,
        ),
    ),
)

ENGINE = Dashboard(
    "mintmark-engine",
    "Mintmark engine",
    "For whoever tunes: what the engine does with its time, memory and energy.",
    (_STEPS, _AROUND, _MARKING, _RESOURCES),
)
