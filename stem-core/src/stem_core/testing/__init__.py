"""Tools for tests, of your own tasks and of brokers of your own. No room imports this one."""

from __future__ import annotations

from stem_core.testing.clock import FakeClock, LoadedDice

__all__ = ["FakeClock", "LoadedDice"]
