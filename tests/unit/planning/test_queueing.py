"""The simulation against what queueing theory says, where it says something exact."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from service.planning.arrivals import Paced, Poisson
from service.planning.autoscaler import AutoscalerOptions
from service.planning.fleet import Demand, Fleet, FleetOptions
from service.planning.routing import Routing
from service.planning.simulate import Ending
from tests.unit.planning.kit import LIMITS, ReplicaBench, make_costs

# A batch of one image: the row budget holds one guided one.
ONE = replace(LIMITS, max_batch_rows=2, max_queued_images=10**6, request_timeout_s=1e6)
SERVICE_S = 1.0
ONE_COSTS = make_costs(steps=4, step_s=(0.0, 0.25, 0.25))


def run(demand, replicas=1, limits=LIMITS, routing=Routing.ROUND_ROBIN, autoscaler=None):
    return Fleet(demand, FleetOptions(replicas, limits, routing, autoscaler), seed=5).run()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_batch_of_one_waits_as_an_m_d_1_queue_does(load):
    demand = Demand.draw(Poisson(load / SERVICE_S), [ONE_COSTS], 30_000.0, seed=3)
    outcome = run(demand, limits=ONE)
    waited_s = outcome.latencies_s.mean() - SERVICE_S
    # Pollaczek and Khinchine: half of what exponential service would make them wait.
    assert waited_s == pytest.approx(load * SERVICE_S / (2 * (1 - load)), rel=0.1)


def test_random_routing_makes_each_replica_an_m_d_1_queue_of_its_own():
    demand = Demand.draw(Poisson(4 * 0.6), [ONE_COSTS], 10_000.0, seed=3)
    outcome = run(demand, 4, ONE, Routing.RANDOM)
    assert outcome.latencies_s.mean() - SERVICE_S == pytest.approx(0.75, rel=0.1)


def means_by_routing(costs):
    demand = Demand.draw(Poisson(6 * 0.8), costs, 2_000.0, seed=1)
    return {each: run(demand, 6, ONE, each).latencies_s.mean() for each in Routing}


def test_equal_requests_wait_least_in_turns_which_is_then_one_queue_for_all():
    means_s = means_by_routing([ONE_COSTS])
    assert means_s[Routing.ROUND_ROBIN] < means_s[Routing.LEAST_CONNECTIONS]
    assert means_s[Routing.LEAST_CONNECTIONS] < means_s[Routing.RANDOM]


def test_unequal_requests_wait_least_behind_the_fewest_others():
    unequal = [make_costs(steps=steps, step_s=(0.0, 0.25, 0.25)) for steps in (1, 7)]
    means_s = means_by_routing(unequal)
    assert means_s[Routing.LEAST_CONNECTIONS] < means_s[Routing.ROUND_ROBIN]
    assert means_s[Routing.ROUND_ROBIN] < means_s[Routing.RANDOM]


def test_a_saturated_replica_finishes_as_many_as_its_full_batches_can():
    costs = make_costs(steps=10, step_s=(0.0, *[0.1] * 16))  # 8 images in 1 s
    demand = Demand.draw(Poisson(20.0), [costs], 400.0, seed=0)
    figures = run(demand, limits=replace(LIMITS, max_queued_images=64)).figures(None, 50.0)
    assert figures.images_per_s == pytest.approx(8.0, rel=0.02)
    assert figures.refusals == pytest.approx(1 - 8 / 20, abs=0.02)


@pytest.mark.parametrize("routing", list(Routing))
def test_every_request_ends_once_with_or_without_an_autoscaler(routing):
    kinds = [
        make_costs(steps=3, num_images=2),
        make_costs(steps=9, key=1, positions=384, is_guided=False),
    ]
    demand = Demand.draw(Poisson(8.0), kinds, 300.0, seed=2)
    limits = replace(LIMITS, max_queued_images=12, request_timeout_s=6.0)
    scaler = AutoscalerOptions(target_s=3.0, min_replicas=1, max_replicas=6, start_s=20.0)
    for autoscaler in (None, scaler):
        outcome = run(demand, 2, limits, routing, autoscaler)
        assert set(outcome.endings.tolist()) <= {int(ending) for ending in Ending}
        figures = outcome.figures(None)
        done = int((outcome.endings == Ending.DONE).sum())
        others = round((figures.refusals + figures.expiries) * figures.requests)
        assert done + others == figures.requests == len(demand.arrivals_s)
        assert (outcome.latencies_s[outcome.endings == Ending.REFUSED] == 0.0).all()
        assert outcome.latencies_s.max() <= limits.request_timeout_s + 0.5


def test_more_replicas_never_make_the_same_demand_slower_or_refuse_more():
    costs = make_costs(steps=8, step_s=(0.0, *(0.05 + 0.01 * rows for rows in range(1, 17))))
    demand = Demand.draw(Poisson(30.0), [costs], 120.0, seed=7)
    limits = replace(LIMITS, max_queued_images=40)
    figures = [run(demand, replicas, limits).figures(1.0) for replicas in (1, 2, 4, 8, 16)]
    for fewer, more in pairwise(figures):
        assert more.refusals <= fewer.refusals
        assert more.goodput >= fewer.goodput
        assert more.percentile_s(95) <= fewer.percentile_s(95)


def test_marking_is_a_station_of_its_own_with_its_own_queue():
    bench = ReplicaBench(replace(LIMITS, marking_threads=1))
    costs = make_costs(steps=1, step_s=(0.0, *[0.1] * 16), mark_s=1.0)
    bench.play([(0.0, costs), (0.0, costs), (0.0, costs)])
    assert [at_s for _, at_s in bench.answers.values()] == pytest.approx([1.1, 2.1, 3.1])


def test_what_marking_takes_from_the_device_delays_the_steps_beside_it():
    quick = make_costs(steps=1, step_s=(0.0, *[0.1] * 16), mark_s=1.0, mark_delay_s=0.05)
    long = make_costs(steps=5, step_s=(0.0, *[0.1] * 16))
    bench = ReplicaBench()
    bench.play([(0.0, quick), (0.0, long)])
    assert bench.answers[1][1] == pytest.approx(0.5 + 0.05)


def test_an_answer_that_is_marked_too_late_has_expired_at_its_deadline():
    bench = ReplicaBench(replace(LIMITS, request_timeout_s=1.0))
    bench.play([(0.0, make_costs(steps=2, mark_s=2.0))])
    assert bench.answers == {0: (Ending.EXPIRED, 1.0)}


def test_queued_work_counts_the_steps_that_are_left():
    costs = make_costs(steps=8, step_s=(0.0, *[0.5] * 16))
    bench = ReplicaBench(replace(LIMITS, max_batch_rows=2))
    bench.play([(0.0, costs)])  # teaches it that two rows take half a second
    bench.play_until(12.1, [(10.0, costs), (10.0, costs)])
    # Four of eight steps are done, and another image waits: 0.25 s per row and step.
    assert bench.replica.seconds_of_work(12.1) == pytest.approx(0.25 * 2 * (4 + 8))


def test_an_autoscaled_fleet_follows_the_load_and_costs_what_it_holds():
    costs = make_costs(steps=10, step_s=(0.0, *[0.1] * 16))
    calm = Paced(2.0).times(600.0, np.random.default_rng())
    busy = 600.0 + Paced(50.0).times(600.0, np.random.default_rng())
    arrivals_s = np.concatenate([calm, busy])
    demand = Demand(arrivals_s, [costs] * len(arrivals_s), length_s=1200.0)
    scaler = AutoscalerOptions(target_s=0.6, min_replicas=1, max_replicas=20, start_s=30.0)
    outcome = run(demand, 1, autoscaler=scaler)
    figures = outcome.figures(None)
    assert figures.refusals < 0.2
    late = outcome.figures(None, warm_up_s=1000.0)
    assert late.refusals == 0.0
    assert late.mean_replicas > 50 / 8  # as many as the load needs at least
    assert figures.mean_replicas < late.mean_replicas
