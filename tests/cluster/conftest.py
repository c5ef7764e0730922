"""What the tests of the cluster share."""

from collections.abc import Iterator

import pytest

from tests.cluster.head import Head, ray_head


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """One Ray head with dashboard and token authentication for every test that submits jobs."""
    with ray_head() as started:
        yield started
