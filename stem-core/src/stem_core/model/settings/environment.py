"""From a mapping of variables to the fields of attrs classes, with every problem at once.

Rule of this module: it knows how settings are read, not which there are. A value
appears in an error only when neither its name nor its type is secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Final, TypeAlias, get_type_hints

import attrs

from stem_core.model.duration import Milliseconds, format_ms
from stem_core.model.errors import ConfigError, InvalidName
from stem_core.model.structure import shown_value, text_reader

__all__ = ["Reader", "Variables", "setting", "settings_of"]

Reader: TypeAlias = Callable[[str, str], Any]
"""Takes a text and its variable; raises `ValueError` ("expected …") or a `ConfigError`."""

_LONGEST: Final = 65_536
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# What Kubernetes injects for a service called "stem" or "stem-…", and what our tests use.
_FOREIGN: Final = re.compile(
    r"STEM_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)|STEM_TEST_[A-Z0-9_]+"
)


def setting(
    env: str,
    *,
    help: str,
    default: Any = None,
    example: str = "",
    read: Reader | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
    or_file: bool = False,
    by_line: bool = False,
) -> Any:
    """Declare a field that a variable sets.

    Without *read* the field's type decides how a text is read. With *or_file*, which whatever
    can be secret has, the variable ``…_FILE`` may name a file that holds the value; *by_line*,
    one entry of it a line.
    """

    def in_range(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if minimum is not None and value is not None and value < minimum:
            raise ConfigError(f"{field.name}={value}: expected at least {minimum}")
        if maximum is not None and value is not None and value > maximum:
            raise ConfigError(f"{field.name}={value}: expected at most {maximum}")

    metadata = {
        "env": env,
        "help": help,
        "example": example,
        "read": read,
        "minimum": minimum,
        "maximum": maximum,
        "or_file": or_file,
        "by_line": by_line,
    }
    # Every instance gets a dict of its own.
    default = attrs.Factory(dict) if default == {} else default
    return attrs.field(default=default, validator=in_range, metadata=metadata)


def settings_of(cls: type[Any]) -> Iterator[attrs.Attribute[Any]]:
    """Return the fields of *cls* that variables set."""
    return (field for field in attrs.fields(cls) if "env" in field.metadata)


@attrs.frozen
class _Found:
    """What a variable says.

    Attributes:
        text: the value as it is written.
        variable: which one said it, or named the file that does.
        shown: variable and value, for people.
        hint: how a right one is written, behind ``Example:``.
        origin: where it comes from.
    """

    text: str = attrs.field(repr=False)
    variable: str
    shown: str
    hint: str
    origin: str


@attrs.define
class Variables:
    """The ``STEM_*`` variables of one environment, and what is wrong with them so far.

    Attributes:
        texts: what is given, by variable.
        origins: where each field that was read comes from.
        warnings, problems: in words.
        refused: the variables whose value is a problem already.
        mistyped: what stands there under a name that nobody reads, by the name it
            was probably meant to have.
    """

    texts: dict[str, str] = attrs.field(factory=dict, repr=False)
    origins: dict[str, str] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)
    problems: list[ConfigError] = attrs.field(factory=list)
    refused: set[str] = attrs.field(factory=set)
    mistyped: dict[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Variables:
        """Return those of *env*; an empty one counts as not given."""
        variables = cls()
        for name in sorted(env):
            if name.startswith("STEM_") and not _FOREIGN.fullmatch(name):
                variables._take(name, env[name])
        return variables

    def _take(self, name: str, raw: str) -> None:
        text = raw.strip(" \t")
        if _CONTROL.search(text) or len(text) > _LONGEST:
            what = "has a line break or control character, or is too long"
            self.problems.append(ConfigError(f"{name} {what}"))
            self.refused.add(name)
            return
        if text != raw:
            self.warnings.append(f"{name}: the white space around its value was removed")
        if text:
            self.texts[name] = text

    def judge_unknown(self, classes: Iterable[type[Any]], others: Set[str]) -> None:
        """Warn about every variable that nobody reads, with the nearest name.

        Known are those of the fields of *classes*, and *others*.
        """
        known = sorted({*_names_read(classes), *others})
        for name in sorted(self.texts.keys() - set(known)):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            guess = f" Did you mean {near[0]}?" if near else ""
            self.warnings.append(f"{name:.80} is not a variable of Stem and does nothing.{guess}")
            self.mistyped |= dict.fromkeys(near, f"{name:.80}")
        self.warnings.sort()

    def read(self, cls: type[Any], *, prefix: str = "") -> dict[str, Any]:
        """Return the values of *cls* that are given; note origins and problems.

        *prefix* is where *cls* stands in the configuration, such as ``"tls."``.
        """
        hints, values = get_type_hints(cls), {}
        for field in settings_of(cls):
            self.origins[prefix + field.name] = "default"
            try:
                found = self._find(field, hints[field.name])
                if found is not None:
                    values[field.name] = _value(field, hints[field.name], found)
                    self.origins[prefix + field.name] = found.origin
            except ConfigError as problem:
                self.problems.append(problem)
                self.refused.add(field.metadata["env"])
        return values

    def files(self, cls: type[Any]) -> dict[str, str]:
        """Return the paths of the files that values of *cls* may be read from, by variable."""
        names = (f"{field.metadata['env']}_FILE" for field in settings_of(cls))
        return {name: self.texts[name] for name in names if name in self.texts}

    def _find(self, field: attrs.Attribute[Any], hint: Any) -> _Found | None:
        """Return what is given for *field*.

        Raises:
            ConfigError: it is given twice, or its file cannot be read.
        """
        env, example = field.metadata["env"], field.metadata["example"]
        file = f"{env}_FILE"
        path = self.texts.get(file) if field.metadata["or_file"] else None
        if path is not None and env in self.texts:
            raise ConfigError(f"{env} and {file} are both set", way_out="Unset one of them.")
        if path is not None:
            text = _file_text(path, file, by_line=field.metadata["by_line"])
            shown, origin = f"{file}={path!r}", f"file of environment {file}"
            return _Found(text, file, shown, f"a file that holds {example}", origin)
        if env in self.texts:
            text = self.texts[env]
            shown = f"{env}={shown_value(env, hint, text)}"
            return _Found(text, env, shown, f"{env}={example}", f"environment {env}")
        return None

    def raise_problems(self) -> None:
        """Raise what was found: one problem as it is, several as one `ConfigError`."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            told = "\n".join(f"- {problem}" for problem in self.problems)
            raise ConfigError(f"{len(self.problems)} settings are wrong:\n{told}")


def _names_read(classes: Iterable[type[Any]]) -> Iterator[str]:
    for field in (field for cls in classes for field in settings_of(cls)):
        yield field.metadata["env"]
        if field.metadata["or_file"]:
            yield f"{field.metadata['env']}_FILE"


def _value(field: attrs.Attribute[Any], hint: Any, found: _Found) -> Any:
    try:
        read = field.metadata["read"]
        value = read(found.text, found.variable) if read else text_reader(hint)(found.text)
        _refuse_out_of_range(field, hint, value)
    except ValueError as error:
        raise ConfigError(f"{found.shown}: {error}", way_out=f"Example: {found.hint}") from None
    except InvalidName as error:
        raise ConfigError(f"{found.variable}: {error.message}", way_out=error.way_out) from None
    return value


def _refuse_out_of_range(field: attrs.Attribute[Any], hint: Any, value: Any) -> None:
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    if minimum is not None and value < minimum:
        raise ValueError(f"expected at least {_bound(minimum, hint)}")
    if maximum is not None and value > maximum:
        raise ValueError(f"expected at most {_bound(maximum, hint)}")


def _bound(number: int, hint: Any) -> str:
    return format_ms(number) if hint is Milliseconds else str(number)


def _file_text(path: str, variable: str, *, by_line: bool) -> str:
    """Read the file that *variable* names: the only I/O of the model, and none without it."""
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{variable}={_shown_path(path)} cannot be read: {why}",
            way_out="It takes the path of a file that holds the value.",
        ) from None
    if not text or len(text) > _LONGEST:
        raise ConfigError(f"{variable}={path!r}: the file is {'too long' if text else 'empty'}")
    if by_line:
        text = ",".join(line.strip() for line in text.splitlines() if line.strip())
    if _CONTROL.search(text):
        what = "a control character" if by_line else "several lines, or a control character"
        raise ConfigError(f"{variable}={path!r}: the file has {what}")
    return text


def _shown_path(path: str) -> str:
    """Return *path*, unless it can be the secret itself, a URL or a key, in the wrong variable."""
    return "***" if ":" in path else repr(path)
