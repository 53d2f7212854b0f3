"""What the measurements amount to: medians over rounds, and ratios within rounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from loadtests.harness.request import Kind
from loadtests.harness.statistics import Window, figures_of
from loadtests.peers.options import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loadtests.peers.options import Turn
    from loadtests.peers.runner import Evidence, Taken

METRICS = ("p50_s", "p95_s", "p99_s", "goodput_per_s", "pictures_per_s", "cpu_s_per_picture")


@dataclass(frozen=True, slots=True)
class Point:
    """One cell of one turn, in figures. None: nothing was answered.

    Latencies count from when a request was due. `pictures_per_s`: of what came while the load was
    offered; of a burst, until its last picture. `unanswered`: requests without a picture.
    `stages_s`: seconds per picture.
    """

    subject: str
    round_number: int
    load: str
    fraction: float | None
    rate_per_s: float | None
    offered: int
    pictures: int
    signed: int
    unanswered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    attainment: float | None
    goodput_per_s: float
    pictures_per_s: float
    cpu_s_per_picture: float | None
    lag_p99_s: float
    others_share: float
    stages_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One subject under one load and rate.

    `figures`, `ratios`: by name of METRICS; one that some round lacks is left out. A ratio is the
    subject's figure over the baseline's of the same round, and then the median of those.
    """

    subject: str
    load: str
    fraction: float | None
    rate_per_s: float | None
    figures: dict[str, Spread]
    ratios: dict[str, Spread]
    unanswered: int
    stages_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that is reported. `alone_s`: by subject and profile, the median of its turns."""

    capacities_per_s: dict[str, float]
    alone_s: dict[str, dict[str, float]]
    objectives_s: dict[str, float]
    points: list[Point]
    rows: list[Row]

    @property
    def others_share(self) -> float:
        """Return the largest share of the machine that other processes took in any cell."""
        return max((each.others_share for each in self.points), default=0.0)

    @property
    def lag_p99_s(self) -> float:
        """Return how late the generator was at worst."""
        return max((each.lag_p99_s for each in self.points), default=0.0)

    @property
    def signed_share(self) -> dict[str, float]:
        """Return by subject the share of its pictures that carry credentials."""
        shares = {}
        for subject in self.alone_s:
            mine = [each for each in self.points if each.subject == subject]
            pictures = sum(each.pictures for each in mine)
            shares[subject] = sum(each.signed for each in mine) / pictures if pictures else 0.0
        return shares

    def as_json(self) -> dict[str, object]:
        """Return it for a file."""
        return asdict(self) | {
            "others_share": self.others_share,
            "lag_p99_s": self.lag_p99_s,
            "signed_share": self.signed_share,
        }


def compare(evidence: Evidence, duration_s: float, objective_scale: float) -> Comparison:
    """Return the comparison that some measurements amount to."""
    alone_s = alone_of(evidence.alone_s)
    objectives_s = objectives_of(alone_s, objective_scale)
    points = [point_of(taken, duration_s, objectives_s) for taken in evidence.taken]
    return Comparison(evidence.capacities_per_s, alone_s, objectives_s, points, rows_of(points))


def alone_of(alone_s: Iterable[tuple[Turn, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Return by subject and profile the median over the turns."""
    found: dict[str, dict[str, list[float]]] = {}
    for turn, taken_s in alone_s:
        for profile, seconds in taken_s.items():
            found.setdefault(turn.subject, {}).setdefault(profile, []).append(seconds)
    return {
        subject: {profile: median(values) for profile, values in profiles.items()}
        for subject, profiles in found.items()
    }


def objectives_of(alone_s: Mapping[str, Mapping[str, float]], scale: float) -> dict[str, float]:
    """Return the same objectives for all: `scale` times what the slowest subject takes alone.

    So nobody misses one by being slow when nothing else is asked of it.
    """
    slowest: dict[str, float] = {}
    for profiles in alone_s.values():
        for profile, seconds in profiles.items():
            slowest[profile] = max(slowest.get(profile, 0.0), seconds)
    return {profile: scale * seconds for profile, seconds in slowest.items()}


def point_of(taken: Taken, duration_s: float, objectives_s: dict[str, float]) -> Point:
    """Return the figures of one cell of one turn."""
    done = [each for each in taken.samples if each.kind is Kind.DONE]
    last_s = max((each.done_s for each in done), default=0.0)
    # A burst lasts until its last picture, which belongs to it.
    length_s = duration_s if taken.cell.fraction is not None else last_s * (1 + 1e-9)
    figures = figures_of(taken.samples, Window(0.0, length_s or duration_s), objectives_s)
    latency = figures.latency
    pictures = sum(each.pictures for each in done)
    return Point(
        subject=taken.turn.subject,
        round_number=taken.turn.round_number,
        load=taken.cell.load.name,
        fraction=taken.cell.fraction,
        rate_per_s=taken.rate_per_s,
        offered=len(taken.samples),
        pictures=pictures,
        signed=taken.signed,
        unanswered=len(taken.samples) - len(done),
        p50_s=None if latency is None else latency.p50_s,
        p95_s=None if latency is None else latency.p95_s,
        p99_s=None if latency is None else latency.p99_s,
        attainment=figures.attainment,
        goodput_per_s=figures.goodput_per_s,
        pictures_per_s=figures.pictures_per_s,
        cpu_s_per_picture=taken.cpu_s / pictures if pictures else None,
        lag_p99_s=taken.lag_p99_s,
        others_share=taken.others_share,
        stages_s={name: value / pictures for name, value in taken.stages_s.items()}
        if pictures
        else {},
    )


def rows_of(points: Sequence[Point]) -> list[Row]:
    """Return a row for each load, rate and subject, in the order in which they were measured."""
    keys = dict.fromkeys((each.load, each.fraction, each.subject) for each in points)
    ordered = list(dict.fromkeys((load, fraction) for load, fraction, _ in keys))
    subjects = list(dict.fromkeys(subject for _, _, subject in keys))
    return [
        _row([each for each in points if (each.load, each.fraction) == cell], subject)
        for cell in ordered
        for subject in subjects
        if (*cell, subject) in keys
    ]


def _row(cell: Sequence[Point], subject: str) -> Row:
    mine = [each for each in cell if each.subject == subject]
    baseline = {each.round_number: each for each in cell if each.subject == BASELINE}
    ratios = {}
    for name in METRICS:
        pairs = [
            (_value(each, name), _value(baseline.get(each.round_number), name)) for each in mine
        ]
        ratios[name] = [None if a is None or not b else a / b for a, b in pairs]
    stages = list(dict.fromkeys(stage for each in mine for stage in each.stages_s))
    return Row(
        subject=subject,
        load=mine[0].load,
        fraction=mine[0].fraction,
        rate_per_s=mine[0].rate_per_s,
        figures=_spreads({name: [_value(each, name) for each in mine] for name in METRICS}),
        ratios=_spreads(ratios),
        unanswered=sum(each.unanswered for each in mine),
        stages_s={
            stage: median(each.stages_s.get(stage, 0.0) for each in mine) for stage in stages
        },
    )


def _value(point: Point | None, name: str) -> float | None:
    return None if point is None else getattr(point, name)


def _spreads(values: Mapping[str, Sequence[float | None]]) -> dict[str, Spread]:
    found = {}
    for name, each in values.items():
        known = [value for value in each if value is not None]
        if known and len(known) == len(each):
            found[name] = Spread(median(known), min(known), max(known))
    return found
