"""`stem certify`: does the store behind a URL keep what its contract promises?"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import click
from attrs import frozen

from stem_core.cli.completing import broker_urls
from stem_core.cli.exits import ExitCode
from stem_core.cli.extensions import plugin_host
from stem_core.cli.parameters import argument, choice, json_option, option
from stem_core.cli.proving import Kit, refuse_without_kit
from stem_core.cli.terminal import Paint, Progress, Shade, count_of, visible
from stem_core.cli.verdicts import LEVELS, Kept, LevelVerdict, PromiseVerdict, Trial, judge
from stem_core.cli.version import versions
from stem_core.contracts.hookspecs import PluginContext
from stem_core.model.errors import ConfigError
from stem_core.model.settings import StemConfig
from stem_core.model.urls import StemURL

__all__ = ["certify"]

Kind = Literal["broker", "signer"]

_SHADES: Final[dict[Kept, Shade]] = {
    "kept": "good",
    "broken": "bad",
    "not claimed": "dim",
    "not run": "warn",
}


def _url_of_a_file() -> str | None:
    if not os.environ.get("STEM_BROKER_URL_FILE"):
        return None  # then no setting is judged before the URL is known to be missing
    url = StemConfig.from_environment(require_broker=False).broker_url
    return None if url is None else url.reveal()


def _not_missing(context: click.Context, argument: click.Parameter, url: str | None) -> str:
    if url is None:  # to click, what a default returns is there
        raise click.MissingParameter(ctx=context, param=argument)
    return url


@click.command(short_help="Prove that a broker, or a signer, is sound.")
@argument(
    "url",
    envvar="STEM_BROKER_URL",
    default=_url_of_a_file,
    required=True,
    callback=_not_missing,
    shell_complete=broker_urls,
)
@option(
    "--backend",
    metavar="URL",
    variable="STEM_CERTIFY_BACKEND",
    default="",
    help="The result backend to prove with it; the broker's own if not given.",
)
@option(
    "--verifier",
    metavar="URL",
    variable="STEM_CERTIFY_VERIFIER",
    default="",
    help="For a signer: one that knows its key and can only verify, to be proven with it.",
)
@option(
    "--level",
    "levels",
    variable="STEM_CERTIFY_LEVEL",
    type=choice(LEVELS),
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
@option(
    "--jobs",
    variable="STEM_CERTIFY_JOBS",
    type=click.IntRange(1, 64),
    metavar="N",
    default=1,
    help="Share the tests among N processes: most of them wait for time to pass. Much more than "
    "the machine has cores makes late what must not be.",
)
@json_option("CERTIFY")
def certify(
    url: str,
    backend: str,
    verifier: str,
    levels: Sequence[str],
    seed: int | None,
    jobs: int,
    as_json: bool,
) -> ExitCode:
    """Prove that the broker, or the signer, at URL keeps what its contract promises.

    Runs the conformance kit against it, in real time: it takes one or two minutes. What the
    broker does not declare is listed as not claimed. Each test works in a namespace of its
    own, made up at random; still, take a store that nothing depends on. The level chaos
    starts processes of its own that use the broker, and kills and freezes them.

    URL can also be given as STEM_BROKER_URL, or as the file that STEM_BROKER_URL_FILE names.
    Needs pip install "stem-core[testing]".

    Exit code 0 if every promise that is claimed is kept, 1 if one is broken, or if a
    --level that was asked for is not claimed or was not run. What needs more than a URL to
    be tried is named beside the verdict.

    \b
    stem certify redis://localhost:6379/15 --jobs 4
    stem certify sqlite:////tmp/try.db --level core --level lease
    """
    refuse_without_kit()
    subject = _subject(url, backend, verifier)
    subject.try_to_open()
    seed = seed or random.SystemRandom().randrange(1, 1 << 32)
    kit = Kit(urls=subject.urls, levels=levels, seed=seed, jobs=jobs)
    verdicts = _proven(kit, levels or subject.levels)
    is_certified = _is_certified(verdicts, levels)
    if as_json:
        facts = {
            "url": subject.shown,
            "kind": subject.kind,
            **subject.shown_beside,
            "certified": is_certified,
            "not_run": list(_exceptions(verdicts)),
            "seed": seed,
            "versions": versions(),
            "levels": [verdict.to_json() for verdict in verdicts],
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(_told(subject.shown, verdicts, is_certified, Paint.of(sys.stdout))))
    return ExitCode.OK if is_certified else ExitCode.FAILED


_KINDS_BESIDE: Final[Mapping[str, Literal["backend", "signer"]]] = {
    "backend": "backend",
    "verifier": "signer",
}


# ── what is to be proven ─────────────────────────────────────────────────────


@frozen(kw_only=True)
class _Subject:
    """What is proven, a ``broker`` or a ``signer``, and the URLs that were given beside it."""

    kind: Kind
    url: str
    beside: Mapping[str, str]

    @property
    def urls(self) -> Mapping[str, str]:
        """By what the kit calls them."""
        return {self.kind: self.url, **self.beside}

    @property
    def levels(self) -> Sequence[str]:
        """The levels on which there is something to prove."""
        return LEVELS if self.kind == "broker" else LEVELS[:1]

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return plugin_host().shown(self.kind, StemURL.parse(self.url))

    @property
    def shown_beside(self) -> Mapping[str, str]:
        """The URLs beside it, likewise, by what they are."""
        host, kinds = plugin_host(), _KINDS_BESIDE
        return {
            what: host.shown(kinds[what], StemURL.parse(url)) if url else ""
            for what, url in self.beside.items()
        }

    def try_to_open(self) -> None:
        """Open and close what is to be proven, or say why that is not possible."""
        if self.kind == "signer":
            for name, url in self.urls.items():
                _try_signer(url, "URL" if name == "signer" else "--verifier")
        else:
            asyncio.run(_try_broker(self.url, self.beside["backend"]))


def _subject(url: str, backend: str, verifier: str) -> _Subject:
    """Take *url* for a signer's if nobody else opens it and a signer does."""
    host, scheme = plugin_host(), StemURL.parse(url).scheme
    if host.offers("signer", scheme) and not host.offers("broker", scheme):
        if backend:
            raise click.UsageError(
                f"{_redacted(url)} is a signer, and --backend belongs to a broker."
            )
        return _Subject(kind="signer", url=url, beside={"verifier": verifier})
    if verifier:
        raise click.UsageError(f"{_redacted(url)} is no signer, and --verifier belongs to one.")
    return _Subject(kind="broker", url=url, beside={"backend": backend})


def _redacted(url: str) -> str:
    return StemURL.parse(url).redacted() if url else ""


def _try_signer(url: str, name: str) -> None:
    if not url:
        return
    context = PluginContext(role="signer", environment=dict(os.environ))
    if plugin_host().open_signer(StemURL.parse(url), context) is None:
        raise ConfigError(
            f"{_redacted(url)} opens to no signer, and {name} is to prove one",
            way_out="Name one that signs, such as hmac-sha256+env://.",
        )


async def _try_broker(broker: str, backend: str) -> None:
    host, tls = plugin_host(), StemConfig.from_environment(require_broker=False).tls
    context = PluginContext(namespace="kit-probe", tls=tls)
    await (await host.open_broker(StemURL.parse(broker), context)).aclose()
    if backend:
        opened = await host.open_backend(StemURL.parse(backend), context)
        if opened is None:
            raise ConfigError(
                f"{_redacted(backend)} opens to no result backend, and --backend is to prove one",
                way_out="Leave --backend out to prove the broker's own.",
            )
        await opened.aclose()


# ── what came of it ──────────────────────────────────────────────────────────


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
    return judge(trials, sentences, levels)


def _is_certified(verdicts: Sequence[LevelVerdict], asked_for: Sequence[str]) -> bool:
    kept = all(verdict.verdict == "kept" for verdict in verdicts if verdict.level in asked_for)
    return kept and not any(verdict.verdict == "broken" for verdict in verdicts)


def _exceptions(verdicts: Sequence[LevelVerdict]) -> Iterator[dict[str, Any]]:
    """Say what was not tried, or not wholly, on levels that are certified."""
    for verdict in verdicts:
        for promise in (*verdict.of("not run"), *verdict.in_part):
            yield {
                "id": promise.id,
                "level": verdict.level,
                "in_part": promise.is_in_part,
                "why": _reasons(promise),
            }


# ── for people ───────────────────────────────────────────────────────────────


def _told(
    url: str, verdicts: Sequence[LevelVerdict], is_certified: bool, paint: Paint
) -> Iterator[str]:
    yield paint(url, "bold")
    yield from (f"  {verdict.level:<13}  {_summary(verdict, paint)}" for verdict in verdicts)
    yield from _broken(verdicts, paint)
    yield from _left_out(verdicts)
    yield ""
    yield paint(_certified(verdicts), "good") if is_certified else paint("not certified", "bad")


def _certified(verdicts: Sequence[LevelVerdict]) -> str:
    kept = [verdict for verdict in verdicts if verdict.verdict == "kept"]
    exceptions = list(_exceptions(kept))
    parts = [
        f"{', '.join(ids)} {what}"
        for is_in_part, what in ((False, "not run"), (True, "not wholly run"))
        if (ids := [each["id"] for each in exceptions if each["in_part"] is is_in_part])
    ]
    but = f" (except: {'; '.join(parts)})" if parts else ""
    return f"certified: {', '.join(verdict.level for verdict in kept)}{but}"


def _summary(verdict: LevelVerdict, paint: Paint) -> str:
    parts = []
    if verdict.of("kept"):
        parts.append(f"{count_of(len(verdict.of('kept')), 'promise')} kept")
    if verdict.verdict == "broken" and not verdict.of("broken"):
        parts.append("what is declared is not there")
    if verdict.of("broken"):
        parts.append(f"{len(verdict.of('broken'))} broken")
    if parts and verdict.of("not run"):
        parts.append(f"{len(verdict.of('not run'))} not run")
    return paint(", ".join(parts) or verdict.verdict, _SHADES[verdict.verdict])


def _broken(verdicts: Sequence[LevelVerdict], paint: Paint) -> Iterator[str]:
    for promise in (each for verdict in verdicts for each in verdict.broken):
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
    in_part = [promise for verdict in verdicts for promise in verdict.in_part]
    if in_part:
        yield ""
        yield "not wholly run"
        yield from (f"  {each.id:<12}  {_reasons(each)}" for each in in_part)


def _reasons(promise: PromiseVerdict) -> str:
    return "; ".join(sorted({trial.why for trial in promise.not_run}))
