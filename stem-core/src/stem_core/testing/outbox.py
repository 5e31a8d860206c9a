"""What a Stem sent during a test, and assertions about it.

Rule of this module: what counts is what the broker accepted, decoded from its bytes. A
failed assertion shows what was sent instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, overload

from stem_core.model.duration import format_ms
from stem_core.model.envelope import Envelope
from stem_core.model.errors import UsageError
from stem_core.model.options import NOTHING_GIVEN
from stem_core.model.outcome import when
from stem_core.model.structure import unstructure
from stem_core.producer.how import PLAINLY
from stem_core.producer.override import Override
from stem_core.producer.tasks import AnyTask, Call, Task

__all__ = ["StemOutbox"]

_MOST_SHOWN: Final = 20


class StemOutbox(Sequence[Envelope]):
    """The envelopes that the broker accepted in this test, in order; also those that ran since.

    Follow-ups of tasks are among them. A call that was refused is not, nor the second of
    two calls that are one (the same id, or unique).
    """

    def __init__(self, override: Override) -> None:
        self._override = override
        self._cleared = 0

    def assert_enqueued(
        self,
        what: AnyTask | Call[Any] | str,
        args: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        count: int | None = None,
    ) -> tuple[Envelope, ...]:
        """Fail unless calls like this were enqueued; return their envelopes.

        Args:
            what: a task, the name of one, or a call: ``charge.call("ada", amount=5)`` means
                these arguments and no others.
            args: arguments by name that the call has, perhaps among others.
            queue: where it was sent.
            count: how many times exactly; without it, at least once. 0 for not at all.

        Raises:
            AssertionError: it is not so; says what was enqueued instead.
            UsageError: a question that nothing could ever answer.
        """
        __tracebackhide__ = True
        name, asked, is_exact = _asked(what, args)
        found = tuple(
            sent
            for sent in self
            if sent.task == name
            and _has(sent.args, asked, is_exact)
            and queue in (None, sent.queue)
        )
        if len(found) != count if count is not None else not found:
            self._fail(_missed(name, asked, is_exact, queue, count, len(found)))
        return found

    def assert_nothing_enqueued(self) -> None:
        """Fail if anything was enqueued.

        Raises:
            AssertionError: says what was.
        """
        __tracebackhide__ = True
        if len(self):
            self._fail("something was enqueued")

    def clear(self) -> None:
        """Forget what was enqueued so far; what waits at the broker stays there."""
        self._cleared = len(self._override.enqueued)

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise AssertionError(f"{what}\n{_listing(list(self))}")

    def __len__(self) -> int:
        return len(self._override.enqueued) - self._cleared

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self._override.enqueued[self._cleared :])

    @overload
    def __getitem__(self, index: int, /) -> Envelope: ...
    @overload
    def __getitem__(self, index: slice, /) -> Sequence[Envelope]: ...
    def __getitem__(self, index: int | slice, /) -> Envelope | Sequence[Envelope]:
        return self._override.enqueued[self._cleared :][index]

    def __repr__(self) -> str:
        return f"<StemOutbox: {_listing(list(self))}>"


# ── the question ─────────────────────────────────────────────────────────────


def _asked(
    what: AnyTask | Call[Any] | str, args: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any], bool]:
    """Return the task's name, the arguments as they travel, and whether they are all of them."""
    match what:
        case Call():
            if args is not None or what.given != NOTHING_GIVEN or what.how != PLAINLY:
                raise UsageError(
                    "of a call, its task and arguments are compared and nothing else",
                    way_out="Give the task and args=…, or task.call(…), and queue= beside it.",
                )
            return what.name, what.args, True
        case Task():
            _check_names(what, args or {})
            return what.name, _plain(args), False
        case str():
            return what, _plain(args), False
    raise UsageError(
        f"a task, its name or a call of it is needed, got {what!r:.60}",
        way_out='Write stem_outbox.assert_enqueued(charge, args={"amount": 5}).',
    )


def _plain(args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: unstructure(value) for name, value in (args or {}).items()}


def _check_names(task: AnyTask, args: Mapping[str, Any]) -> None:
    known = task.binding.names
    for name in args:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"{task.name} has no argument {name!r}",
                way_out=f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known)}.",
            )


def _has(args: Mapping[str, Any], asked: Mapping[str, Any], is_exact: bool) -> bool:
    if is_exact:
        return args == asked
    return all(name in args and args[name] == value for name, value in asked.items())


# ── the answer, for people ───────────────────────────────────────────────────


def _missed(
    name: str,
    asked: Mapping[str, Any],
    is_exact: bool,
    queue: str | None,
    count: int | None,
    found: int,
) -> str:
    wanted = name + (f" on queue {queue!r}" if queue is not None else "")
    if asked or is_exact:
        wanted += f" with {'exactly ' if is_exact else ''}args={dict(asked)!r}"
    if count is None:
        return f"{wanted} was not enqueued"
    return f"{wanted} was enqueued {_times(found)}, not {_times(count)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _listing(sent: Sequence[Envelope]) -> str:
    if not sent:
        return "nothing was enqueued"
    lines = [f"  {_line(envelope)}" for envelope in sent[:_MOST_SHOWN]]
    if len(sent) > _MOST_SHOWN:
        lines.append(f"  … and {len(sent) - _MOST_SHOWN} more")
    return "\n".join([f"enqueued: {len(sent)}", *lines])


def _line(sent: Envelope) -> str:
    later = ""
    if sent.delay_ms is not None:
        later = f" in {format_ms(sent.delay_ms)}"
    elif sent.not_before_ms is not None:
        later = f" at {when(sent.not_before_ms)}"
    return f"{sent.task} on queue {sent.queue!r}{later} with args={sent.args!r:.200}"
