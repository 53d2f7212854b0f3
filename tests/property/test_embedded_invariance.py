"""On ONNX Runtime the embedded model's pixels do not depend on what a request is batched with."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.options import LoadOptions
from models.registry import load_model
from tests.factories import EngineBench, make_request, make_source


@pytest.fixture(scope="module")
def model():
    loaded = load_model(LoadOptions(verify_digests=False))
    yield loaded
    loaded.close()


sources = st.none() | st.builds(
    make_source,
    strength=st.sampled_from([0.5, 1.0]),
    masked=st.booleans(),
    picture_seed=st.integers(0, 2),
)


def mixes(model_id, schedulers):
    return st.lists(
        st.builds(
            make_request,
            model_id=st.just(model_id),
            seed=st.integers(0, 2**32),
            steps=st.integers(2, 4),  # so that half of them is at least one
            guidance=st.sampled_from([1.0, 4.0]),
            rescale=st.sampled_from([0.0, 0.5]),
            scheduler=st.sampled_from(schedulers),
            prompt=st.sampled_from(["a red apple", "a dog, 3d style, on a pink background"]),
            num_images=st.integers(1, 2),
            source=sources,
            num_previews=st.integers(0, 1),
        ),
        min_size=2,
        max_size=6,
    )


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mix_gives_the_bits_that_each_request_gives_alone(model, data):
    requests = data.draw(mixes(model.spec.model_id, model.spec.schedulers))
    bench = EngineBench(model)
    sinks = []
    for request in requests:
        sinks.append(bench.submit(request)[1])
        bench.loop.tick()
    bench.run()
    for request, sink in zip(requests, sinks, strict=True):
        assert sink.digests == bench.digests_alone(request)
