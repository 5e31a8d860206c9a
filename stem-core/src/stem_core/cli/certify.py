"""`stem certify`: does the store behind a URL keep what its contract promises?"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click

from stem_core.cli.exits import ExitCode
from stem_core.cli.extensions import plugin_host
from stem_core.cli.parameters import argument, json_option, option
from stem_core.cli.proving import Kit, refuse_without_kit
from stem_core.cli.terminal import Paint, Progress, Shade, count_of, visible
from stem_core.cli.verdicts import LEVELS, Kept, LevelVerdict, Trial, judge
from stem_core.cli.version import versions
from stem_core.contracts.hookspecs import PluginContext
from stem_core.model.errors import ConfigError
from stem_core.model.settings import StemConfig
from stem_core.model.urls import StemURL

__all__ = ["certify"]

_SHADES: Final[dict[Kept, Shade]] = {
    "kept": "good",
    "broken": "bad",
    "not claimed": "dim",
    "not run": "warn",
}


@click.command(short_help="Prove that a broker keeps its promises.")
@argument("url", envvar="STEM_BROKER_URL")
@option(
    "--backend",
    metavar="URL",
    variable="STEM_CERTIFY_BACKEND",
    default="",
    help="The result backend to prove with it; the broker's own if not given.",
)
@option(
    "--level",
    "levels",
    variable="STEM_CERTIFY_LEVEL",
    type=click.Choice(LEVELS),
    multiple=True,
    metavar="LEVEL",
    help=f"Prove this level only: {', '.join(LEVELS)}; can be given several times.",
)
@option(
    "--seed",
    variable="STEM_CERTIFY_SEED",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw the moments of kills from this seed, to see a failure again.",
)
@json_option("CERTIFY")
def certify(
    url: str, backend: str, levels: Sequence[str], seed: int | None, as_json: bool
) -> ExitCode:
    """Prove that the broker at URL keeps what its contract promises.

    Runs the conformance kit against it, in real time: it takes one or two minutes. What the
    broker does not declare is listed as not claimed. Each test works in a namespace of its
    own, made up at random; still, take a store that nothing depends on. The level chaos
    starts processes of its own that use the broker, and kills and freezes them.

    URL can also be given as STEM_BROKER_URL. Needs pip install "stem-core[testing]".

    Exit code 0 if every promise that is claimed is kept, 1 if one is broken, or if a
    --level that was asked for is not claimed or was not run.
    """
    refuse_without_kit()
    broker, results = StemURL.parse(url), StemURL.parse(backend) if backend else None
    asyncio.run(_try_to_open(broker, results))
    seed = seed or random.SystemRandom().randrange(1, 1 << 32)
    kit = Kit(urls={"broker": url, "backend": backend}, levels=levels, seed=seed)
    verdicts = _proven(kit, levels)
    is_certified = _is_certified(verdicts, levels)
    if as_json:
        facts = {
            "url": broker.redacted(),
            "backend": results.redacted() if results else "",
            "certified": is_certified,
            "seed": seed,
            "versions": versions(),
            "levels": [verdict.to_json() for verdict in verdicts],
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        shown = "\n".join(_told(broker.redacted(), verdicts, is_certified, Paint.of(sys.stdout)))
        click.echo(shown)
    return ExitCode.OK if is_certified else ExitCode.FAILED


async def _try_to_open(broker: StemURL, backend: StemURL | None) -> None:
    """Open and close what is to be proven, or say why that is not possible."""
    host, tls = plugin_host(), StemConfig.from_environment(require_broker=False).tls
    context = PluginContext(namespace="kit-probe", tls=tls)
    await (await host.open_broker(broker, context)).aclose()
    if backend is not None:
        opened = await host.open_backend(backend, context)
        if opened is None:
            raise ConfigError(
                f"{backend.redacted()} opens to no result backend, and --backend is to prove one",
                way_out="Leave --backend out to prove the broker's own.",
            )
        await opened.aclose()


def _proven(kit: Kit, levels: Sequence[str]) -> tuple[LevelVerdict, ...]:
    """Run *kit*, show how far it is, and judge."""
    trials: list[Trial] = []
    sentences: dict[str, str] = {}
    progress = Progress(sys.stderr, 0, live=False)
    try:
        for line in kit.lines():
            if line["kind"] == "plan":
                sentences = line["sentences"]
                progress = Progress(sys.stderr, line["count"], live=sys.stderr.isatty())
                continue
            trials.append(Trial.of(line))
            progress.show(len(trials), trials[-1].test.removeprefix("test_").replace("_", " "))
    finally:
        progress.end()
    return judge(trials, sentences, levels or LEVELS)


def _is_certified(verdicts: Sequence[LevelVerdict], asked_for: Sequence[str]) -> bool:
    kept = all(verdict.verdict == "kept" for verdict in verdicts if verdict.level in asked_for)
    return kept and not any(verdict.verdict == "broken" for verdict in verdicts)


# ── for people ───────────────────────────────────────────────────────────────


def _told(
    url: str, verdicts: Sequence[LevelVerdict], is_certified: bool, paint: Paint
) -> Iterator[str]:
    yield paint(url, "bold")
    yield from (f"  {verdict.level:<13}  {_summary(verdict, paint)}" for verdict in verdicts)
    yield from _broken(verdicts, paint)
    yield from _left_out(verdicts)
    kept = ", ".join(verdict.level for verdict in verdicts if verdict.verdict == "kept")
    yield ""
    yield paint(f"certified: {kept}", "good") if is_certified else paint("not certified", "bad")


def _summary(verdict: LevelVerdict, paint: Paint) -> str:
    parts = []
    if verdict.of("kept"):
        parts.append(f"{count_of(len(verdict.of('kept')), 'promise')} kept")
    if verdict.of("broken"):
        parts.append(f"{len(verdict.of('broken'))} broken")
    return paint(", ".join(parts) or verdict.verdict, _SHADES[verdict.verdict])


def _broken(verdicts: Sequence[LevelVerdict], paint: Paint) -> Iterator[str]:
    broken = [promise for verdict in verdicts for promise in verdict.of("broken")]
    for promise in broken:
        yield ""
        yield f"{paint('broken', 'bad')}  {promise.id}  {promise.sentence}"
        for failure in promise.failures:
            yield f"  {failure.test}"
            yield from (f"    {visible(line)}" for line in failure.why.split("\n"))


def _left_out(verdicts: Sequence[LevelVerdict]) -> Iterator[str]:
    words: tuple[Kept, ...] = ("not claimed", "not run")
    for word in words:
        promises = [promise for verdict in verdicts for promise in verdict.of(word)]
        if promises:
            yield ""
            yield word
            yield from (f"  {each.id:<12}  {each.why}" for each in promises)
