"""The stream of a namespace: its name, its settings, and an atomic batch into it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Final

from nats_broker.draft import Change
from nats_broker.link import CONFLICTS, Link, Target, error_code, refusal
from nats_broker.options import NatsOptions
from stem_core.plugin import StemURL, StoreMisconfigured

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STORE_ID: Final = "stem.store"
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


def target_of(url: StemURL, options: NatsOptions, namespace: str) -> Target:
    """Return where *namespace* lives."""
    token = namespace
    if not _PLAIN.fullmatch(namespace):
        token = "=" + blake2b(namespace.encode(), digest_size=16).hexdigest()
    return Target(
        url=url,
        options=options,
        namespace=namespace,
        stream=f"STEM_{token}",
        prefix=f"stem.{token}",
    )


async def ensure(link: Link) -> str:
    """Create the stream if it is not there; return the identity that it was created with.

    Raises:
        StoreMisconfigured: the server is too old, or the stream is not ours.
    """
    target = link.target
    question, why = f"STREAM.INFO.{target.stream}", ""
    found = await link.ask(question, {})
    if found is None:
        # Of two that create it at once one is refused, and finds that of the other.
        settings = json.dumps(_settings(target)).encode()
        reply = await link.request(f"$JS.API.STREAM.CREATE.{target.stream}", settings, {})
        why = reply.get("error", {}).get("description", "")
        found = await link.ask(question, {})
    if found is None:
        raise StoreMisconfigured(f"{target.url}: the stream {target.stream} is refused: {why}")
    config: Mapping[str, Any] = found["config"]
    identity = config.get("metadata", {}).get(_STORE_ID)
    if not identity or not config.get("allow_atomic"):
        raise StoreMisconfigured(
            f"{target.url}: the stream {target.stream} takes no atomic batches, or is not ours",
            way_out="It takes nats-server 2.12 or newer.",
        )
    return str(identity)


def _settings(target: Target) -> dict[str, Any]:
    return {
        "name": target.stream,
        "subjects": [f"{target.prefix}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "num_replicas": target.options.replicas,
        "allow_atomic": True,
        "allow_msg_ttl": True,
        "metadata": {_STORE_ID: token_hex(8)},
    }


async def write(
    link: Link, changes: Mapping[str, Change], expected: Mapping[str, int]
) -> int | None:
    """Write all of *changes* or none; return the number of the last one in the stream.

    None means that a subject has moved on from what is *expected*.
    """
    batch, total = token_hex(8), len(changes)
    reply: Mapping[str, Any] = {}
    for number, (name, change) in enumerate(changes.items(), start=1):
        headers = {_EXPECTED: str(expected[name])}
        if change.ttl_s:
            headers["Nats-TTL"] = f"{change.ttl_s}s"
        if total > 1:
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
        subject = f"{link.target.prefix}.{name}"
        if number < total:
            await link.send(subject, change.data, headers)
            continue
        if total > 1:
            headers["Nats-Batch-Commit"] = "1"
        reply = await link.request(subject, change.data, headers)
    if error_code(reply) in CONFLICTS:
        return None
    if "error" in reply:
        raise refusal(reply)
    return int(reply["seq"])
