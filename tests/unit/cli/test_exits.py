"""Exit codes: one meaning each, and one for every error there is."""

from __future__ import annotations

import pytest

from stem_core.cli.exits import MEANINGS, ExitCode, exit_code_of
from stem_core.model import errors
from stem_core.model.errors import StemError


def _members(family: type[StemError]) -> list[type[StemError]]:
    return [family, *(each for child in family.__subclasses__() for each in _members(child))]


@pytest.mark.parametrize(
    ("family", "code"),
    [
        (errors.ConfigError, ExitCode.CONFIG),
        (errors.PluginError, ExitCode.CONFIG),
        (errors.StoreError, ExitCode.UNREACHABLE),
    ],
)
def test_a_whole_family_has_the_code_that_the_error_tree_draws(
    family: type[StemError], code: ExitCode
) -> None:
    assert {exit_code_of(member("x")) for member in _members(family)} == {code}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArguments, ExitCode.USAGE),
        (errors.InvalidOption, ExitCode.USAGE),
        (errors.NotEncodable, ExitCode.USAGE),
        (errors.PublishRefused, ExitCode.FAILED),
        (errors.IdConflict, ExitCode.FAILED),
        (errors.UnknownTask, ExitCode.NOT_FOUND),
        (errors.ResultExpired, ExitCode.NOT_FOUND),
        (errors.ResultTimeout, ExitCode.TIMED_OUT),
        (errors.TaskFailed, ExitCode.FAILED),
        (errors.NoResultBackend, ExitCode.CONFIG),
    ],
)
def test_an_error_ends_the_program_with_its_code(error: type[StemError], code: ExitCode) -> None:
    assert exit_code_of(error("x")) is code


def test_no_error_ends_the_program_as_if_all_were_well() -> None:
    assert ExitCode.OK not in {exit_code_of(member("x")) for member in _members(StemError)}


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)
