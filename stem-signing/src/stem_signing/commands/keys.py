"""`stem keys`: make, list, rotate, revoke and check keys, and see which ones work waits for.

Rule of this module: fingerprints are shown, keys never. The one exception is a command
whose purpose is to hand on public keys.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final, cast

import click
from attrs import asdict, evolve

from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import app_option, choice
from stem_core.cli.program import TeachingGroup
from stem_core.cli.terminal import Paint, count_of, table
from stem_core.plugin import SYSTEM_CLOCK, TASK, StemError, check_name
from stem_signing.commands.rings import (
    changed,
    file_of,
    fresh_entry,
    fresh_id,
    source_for,
    with_public_halves,
)
from stem_signing.commands.shown import COLUMNS, facts_of, row_of
from stem_signing.commands.waiting import columns_of, rows_of, waiting_of
from stem_signing.files import write_key_file
from stem_signing.keyring import Entry, Keyring, State
from stem_signing.keys import Algorithm
from stem_signing.ringfile import RingFile, written
from stem_signing.signer import KeyringSigner

__all__ = ["keys"]

_ALGORITHMS: Final = ("ed25519", "hmac-sha256")


def _id(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else check_name(text, kind="key id")
    except StemError as error:
        raise click.BadParameter(str(error)) from None


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")
_file = click.option(
    "--file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The key file; else the keys that STEM_SIGNER_URL or STEM_SIGNING_* names.",
)
_new_id = click.option(
    "--id", metavar="ID", callback=_id, help="What the key is called; else the date of today."
)


@click.group(cls=TeachingGroup, short_help="Make, rotate and check the keys that sign tasks.")
def keys() -> None:
    """Make, rotate and check the keys that sign tasks.

    \b
    Begin:         stem keys generate keys.toml
    Use them:      STEM_SIGNER_URL=ed25519+file:///…/keys.toml
    Change them:   stem keys rotate
    Wait for none: stem keys status
    """


# ── making ───────────────────────────────────────────────────────────────────


@keys.command(short_help="Make a key file with one new key.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--algorithm",
    type=choice(_ALGORITHMS),
    default="ed25519",
    show_default=True,
    help="ed25519 has public keys, for workers that cannot sign; hmac-sha256 is quicker.",
)
@_new_id
@_json
def generate(path: Path, algorithm: str, id: str | None, as_json: bool) -> None:
    """Make FILE with one new key that signs, readable by its owner only.

    A file that is there is never replaced: it may hold the only copy of a key.

    \b
    stem keys generate keys.toml
    stem keys generate keys.toml --algorithm hmac-sha256 --id 2030-01
    """
    entry = fresh_entry(cast(Algorithm, algorithm), id or fresh_id())
    write_key_file(path, written(RingFile((entry,), entry.id)), is_new=True)
    ring = Keyring.of([entry], active=entry.id)
    url = f"{algorithm}+file://{path.absolute()}"
    _show(ring, as_json, {"file": str(path), "url": url})
    if not as_json:
        click.echo(f"\nUse it:  STEM_SIGNER_URL={url}")


@keys.command(short_help="Add a key to a key file, and let it sign.")
@_file
@_new_id
@click.option("--stage", is_flag=True, help="Add it as one that verifies and does not sign yet.")
@click.option("--to", metavar="ID", callback=_id, help="Let this key sign, which is there already.")
@_json
def rotate(file: Path | None, id: str | None, stage: bool, to: str | None, as_json: bool) -> None:
    """Add a new key to the key file, and let it sign from now on.

    The key that signed before goes on to verify, so nothing that waits is refused.
    Processes that use the same file notice within a second, without a restart.

    Where each machine has a file of its own, every worker must know a key before the
    first producer signs with it: add it with --stage, hand the file on, and when it
    is everywhere, rotate with --to ID.

    \b
    stem keys rotate --file keys.toml
    stem keys rotate --file keys.toml --stage --id 2030-02
    stem keys rotate --file keys.toml --to 2030-02
    """
    if to is not None and (stage or id is not None):
        raise click.UsageError("--to takes a key that is there; --id and --stage make another one")

    def change(ring: RingFile) -> RingFile:
        signing = _signing(ring)
        if to is not None:
            return evolve(ring, active=to)
        taken = tuple(each.id for each in ring.entries)
        entry = fresh_entry(signing.key.algorithm, id or fresh_id(taken))
        active = signing.id if stage else entry.id
        return RingFile((*ring.entries, entry), active)

    path = file_of(file)
    _show(changed(path, change), as_json, {"file": str(path)})


def _signing(file: RingFile) -> Entry:
    ring = Keyring.of(file.entries, active=file.active)
    if ring.active is None:
        raise ValueError("it has public keys only: rotate the file that has the private ones")
    return ring.active


@keys.command(short_help="Refuse everything that a key has signed.")
@click.argument("id", metavar="ID")
@_file
@_json
def revoke(id: str, file: Path | None, as_json: bool) -> None:
    """Refuse from now on everything that the key ID has signed, what waits included.

    That becomes dead letters: `stem keys status` shows how much it is. The key that
    signs cannot be revoked before another one does.

    \b
    stem keys revoke 2030-01 --file keys.toml
    """

    def change(ring: RingFile) -> RingFile:
        entries = ring.entries
        if id not in [each.id for each in entries]:
            raise ValueError(f"there is no key {id!r:.80} in it")
        if id == _active_id(ring):
            raise ValueError(f"the key {id} signs: rotate first")
        return evolve(
            ring,
            active=_active_id(ring),
            entries=tuple(
                evolve(each, state=State.REVOKED) if each.id == id else each for each in entries
            ),
        )

    path = file_of(file)
    _show(changed(path, change), as_json, {"file": str(path)})


def _active_id(file: RingFile) -> str:
    active = Keyring.of(file.entries, active=file.active).active
    return "" if active is None else active.id


@keys.command(short_help="Print a key file with the public keys alone.")
@_file
def public(file: Path | None) -> None:
    """Print a key file that holds the public keys alone, for workers that cannot sign.

    \b
    stem keys public --file keys.toml > public.toml
    """
    click.echo(written(with_public_halves(source_for(file).read())), nl=False)


# ── looking ──────────────────────────────────────────────────────────────────


@keys.command("list", short_help="Show which keys there are.")
@_file
@_json
def list_(file: Path | None, as_json: bool) -> None:
    """Show the keys: what each is used for, until when, and its fingerprint.

    \b
    stem keys list --file keys.toml
    """
    _show(source_for(file).read(), as_json, {})


@keys.command(short_help="Prove that the keys can be used.")
@_file
@_json
def check(file: Path | None, as_json: bool) -> None:
    """Read the keys as a worker would, and sign and verify with the one that signs.

    Exit code 4 if they cannot be used; files that others may read are warned about,
    and refused with STEM_STRICT=1.

    \b
    stem keys check --file keys.toml
    """
    signer = KeyringSigner(source_for(file))
    if signer.can_sign:
        body = b"stem keys check"
        signer.verify(TASK, body, signer.sign(TASK, body))
    _show(signer.ring, as_json, {"can_sign": signer.can_sign})
    if not as_json:
        can = "sign and verify" if signer.can_sign else "verify, and not sign"
        click.echo(f"\nGood: with these keys a process can {can}.")


@keys.command(short_help="Show which keys the work that waits was signed with.")
@_file
@app_option
@_json
@click.pass_context
def status(ctx: click.Context, file: Path | None, app: str | None, as_json: bool) -> None:
    """Show for each key how much of what waits, and of the dead letters, it has signed.

    A key can be revoked or taken out when nobody signs with it any more and nothing
    waits for it. What waits is looked through message by message, which takes its
    time in long queues; what was enqueued meanwhile is seen too.

    Exit code 1 if something waits that these keys would refuse.

    \b
    stem keys status --file keys.toml --app shop.tasks
    """
    signer = KeyringSigner(source_for(file))
    found = asyncio.run(waiting_of(app))
    now_ms = SYSTEM_CLOCK.wall_ms()
    rows = rows_of(signer.ring, found, now_ms)
    if as_json:
        click.echo(json.dumps({"keys": [asdict(row) for row in rows]}, indent=2))
    else:
        head, *lines = table(*columns_of(rows), right=frozenset({3, 4}))
        click.echo("\n".join([Paint.of(sys.stdout)(head, "bold"), *lines]))
    refused = sum(row.waiting for row in rows if not row.is_accepted)
    if refused:
        if not as_json:
            click.echo(
                f"\n{count_of(refused, 'message')} would be refused by a worker with these keys."
            )
        ctx.exit(ExitCode.FAILED)


def _show(ring: Keyring, as_json: bool, more: dict[str, Any]) -> None:
    now_ms = SYSTEM_CLOCK.wall_ms()
    entries = list(ring.entries.values())
    if as_json:
        facts = [facts_of(each, now_ms) for each in entries]
        click.echo(json.dumps({**more, "keys": facts}, indent=2))
        return
    head, *lines = table(COLUMNS, [row_of(each, now_ms) for each in entries])
    click.echo("\n".join([Paint.of(sys.stdout)(head, "bold"), *lines]))
