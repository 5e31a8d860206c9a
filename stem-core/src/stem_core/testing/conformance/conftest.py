"""Which tests there are to run: those whose URL was given, if it can be reached at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stem_core.testing.conformance.targets import FIXTURES, Targets
from stem_core.testing.contract.misuse import Misuse
from stem_core.testing.contract.opening import open_backend_stage, open_signer, open_stage

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what no URL was given for; refuse to begin without any."""
    ours = [item for item in items if _HERE in item.path.parents]
    targets = Targets.of(config)
    if not targets:
        raise pytest.UsageError(
            "nothing to prove: give --stem-broker-url=URL, --stem-backend-url=URL or "
            "--stem-signer-url=URL"
        )
    left_out = [item for item in ours if not _is_meant(item, targets)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_meant(item: pytest.Item, targets: Targets) -> bool:
    wanted: list[str] = getattr(item, "fixturenames", [])
    return all(getattr(targets, kind) for kind, name in FIXTURES.items() if name in wanted)


@pytest.fixture(scope="session", autouse=True)
def _reachable(request: pytest.FixtureRequest) -> None:
    """Stop before the first test when a URL does not open, instead of failing at each."""
    targets = Targets.of(request.config)
    try:
        if targets.broker:
            asyncio.run(_try_broker(targets.broker))
        if targets.backend:
            asyncio.run(_try_backend(targets.backend))
        if targets.signer:
            open_signer(targets.signer, "--stem-signer-url")
        if verifier := str(request.config.getoption("--stem-verifier-url")):
            open_signer(verifier, "--stem-verifier-url")
    except Misuse as why:
        pytest.exit(str(why), returncode=pytest.ExitCode.USAGE_ERROR)


async def _try_broker(url: str) -> None:
    stage = await open_stage(url, backend_url="", unit_ms=0)
    await stage.aclose()


async def _try_backend(url: str) -> None:
    stage = await open_backend_stage(url, unit_ms=0)
    await stage.aclose()
