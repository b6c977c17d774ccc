"""How settings are read: tables and environment texts become typed values, and every mistake is kept with its place.

Knows nothing of what may be set; `settings.py` says that. Values of secrets are never part of a problem's text.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import EnumMeta
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec

from recoup_core.secret import Secret, SecretUrl

PREFIX: Final = "RECOUP_"
MAX_SECRET_BYTES: Final = 64 * 1024
"""A `file:` reference to anything larger is a mistake, not a secret."""
NEAR: Final = 0.6
"""How alike an unknown key must be to a known one to be hinted at (difflib's ratio)."""
NEAR_VARIABLE: Final = 0.9
"""Unknown variables under our prefix belong to others unless they are this near to one of ours."""

T = TypeVar("T", bound=msgspec.Struct)
KeyPath = tuple[str, ...]


class Problem(msgspec.Struct, frozen=True):
    """One mistake: where it was made (a file's key or a variable), what is wrong, and what may have been meant."""

    where: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" (did you mean {self.hint}?)" if self.hint else "")


class SettingsInvalid(Exception):
    """The settings hold mistakes; `problems` names every one of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("the settings can't be used:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = tuple(problems)


class Variable(msgspec.Struct, frozen=True):
    """An environment variable that sets one key."""

    name: str
    text: str


def near(word: str, known: Sequence[str], ratio: float = NEAR) -> str | None:
    """Return the known word that is most like this one, where any is like it at all."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=ratio)), None)


def leaf_paths(kind: type[msgspec.Struct], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key that a variable can set: all but lists of tables."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from leaf_paths(field.type, (*above, field.name))
        elif get_origin(field.type) is not tuple:
            yield (*above, field.name)


class Reader:
    """Reads one set of settings; collects problems instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.good: dict[KeyPath, Any] = {}
        """Every value and table that was read without a mistake, for checks that need several at once."""
        self._environ = environ
        self._variables: dict[KeyPath, Variable] = {}

    def problem(self, where: str, what: str, hint: str | None = None) -> None:
        """Keep one mistake."""
        self.problems.append(Problem(where, what, hint))

    def where(self, path: KeyPath) -> str:
        """Return where the value of a key comes from: its variable, else its place in the file."""
        variable = self._variables.get(path)
        return variable.name if variable else ".".join(path)

    def take_variables(self, kind: type[msgspec.Struct], others: Sequence[str]) -> None:
        """Find the variables that set a key, by `RECOUP_A__B` or `RECOUP_A_B`; an empty one counts as not set."""
        paths = list(leaf_paths(kind))
        names = {PREFIX + sep.join(path).upper(): path for path in paths for sep in ("_", "__")}
        for name, text in sorted(self._environ.items()):
            if name in names and text:
                if names[name] in self._variables:
                    self.problem(name, f"is set twice, {self._variables[names[name]].name} says the same key")
                self._variables[names[name]] = Variable(name, text)
            elif name not in names and name.startswith(PREFIX) and not name.startswith(tuple(others)):
                self._judge_unknown(name, list(names))

    def _judge_unknown(self, name: str, known: Sequence[str]) -> None:
        if "__" in name:
            self.problem(name, "no setting has this name", near(name, known))
        elif hint := near(name, known, NEAR_VARIABLE):
            self.problem(name, "no setting has this name", hint)

    def struct(self, kind: type[T], table: object, path: KeyPath) -> T | None:
        """Read one table; None when it holds a mistake (which is kept)."""
        if not isinstance(table, Mapping):
            self.problem(".".join(path), f"must be a table, not {_kind_of(table)}")
            return None
        fields = msgspec.structs.fields(kind)
        known = [field.name for field in fields]
        for key in table:
            if key not in known:
                self.problem(".".join((*path, str(key))), "no setting has this name", near(str(key), known))
        before = len(self.problems)
        values = dict(value for field in fields for value in self._field(field, table, (*path, field.name)))
        if len(self.problems) > before:
            return None
        read = self.good[path] = kind(**values)
        return read

    def _field(
        self, field: msgspec.structs.FieldInfo, table: Mapping[str, Any], path: KeyPath
    ) -> Iterator[tuple[str, Any]]:
        variable = self._variables.get(path)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield field.name, self.struct(field.type, table.get(field.name, {}), path)
        elif variable is not None:
            listed = get_origin(field.type) is list
            text = [part.strip() for part in variable.text.split(",")] if listed else variable.text
            yield field.name, self._convert(text, field.type, path, strict=False)
        elif field.name not in table:
            if field.required:
                self.problem(".".join(path), "is missing")
        elif get_origin(field.type) is tuple:
            yield field.name, self._tables(get_args(field.type)[0], table[field.name], path)
        elif get_origin(field.type) is Mapping:
            yield field.name, self._options(table[field.name], path)
        else:
            yield field.name, self._convert(table[field.name], field.type, path, strict=True)

    def _tables(self, kind: type[msgspec.Struct], tables: object, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(tables, list):
            self.problem(".".join(path), f"must be a list of tables ([[{'.'.join(path)}]]), not {_kind_of(tables)}")
            return ()
        places = [(*path[:-1], f"{path[-1]}[{index}]") for index in range(len(tables))]
        return tuple(self.struct(kind, table, place) for table, place in zip(tables, places, strict=True))

    def _convert(self, raw: object, kind: Any, path: KeyPath, *, strict: bool) -> Any:
        secret = kind is SecretUrl or SecretUrl in get_args(kind)
        if secret and isinstance(raw, str):
            before = len(self.problems)
            resolved = self.resolve(raw, self.where(path))
            if len(self.problems) > before:
                return None
            raw = resolved.reveal() if isinstance(resolved, Secret) else resolved
        try:
            self.good[path] = msgspec.convert(raw, kind, strict=strict, dec_hook=_from_text)
            return self.good[path]
        except msgspec.ValidationError as mistake:
            choices = [str(choice) for choice in _choices(kind)]
            what = f"must be one of {', '.join(choices)}" if choices else _in_words(str(mistake), kind)
            self.problem(self.where(path), what, near(str(raw), choices) if choices else None)
            return None

    def _options(self, value: object, path: KeyPath) -> Any:
        """Resolve references in a plugin's options, at any depth."""
        if isinstance(value, str):
            return self.resolve(value, ".".join(path))
        if isinstance(value, Mapping):
            return {key: self._options(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._options(inner, (*path[:-1], f"{path[-1]}[{at}]")) for at, inner in enumerate(value)]
        return value

    def resolve(self, text: str, where: str) -> str | Secret:
        """Return what `env:NAME` or `file:/path` refers to, as a secret; any other text is itself."""
        scheme, _, name = text.partition(":")
        if scheme == "env":
            if not self._environ.get(name):
                self.problem(where, f"refers to the variable {name}, which is not set", near(name, list(self._environ)))
                return text
            return Secret(self._environ[name])
        return self._read_file(name, where) if scheme == "file" else text

    def _read_file(self, name: str, where: str) -> Secret:
        try:
            with Path(name).open("rb") as file:
                content = file.read(MAX_SECRET_BYTES + 1)
            if len(content) > MAX_SECRET_BYTES:
                self.problem(where, f"refers to {name}, which is larger than {MAX_SECRET_BYTES} bytes")
            return Secret(content.decode().rstrip("\r\n"))
        except OSError as mistake:
            self.problem(where, f"refers to {name}, which can't be read: {mistake.strerror}")
        except UnicodeDecodeError:
            self.problem(where, f"refers to {name}, which is not UTF-8 text")
        return Secret("")


def _choices(kind: Any) -> Iterable[object]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return kind if isinstance(kind, EnumMeta) else ()


def _in_words(mistake: str, kind: Any) -> str:
    """Say which shape a text must have by the words that its type has for it, not by its pattern."""
    for each in (kind, *get_args(kind)):
        for meta in getattr(each, "__metadata__", ()):
            if "matching regex" in mistake and getattr(meta, "description", None):
                return f"must be {meta.description}"
    return mistake


def _from_text(kind: type, value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def _kind_of(value: object) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list"}
    return names.get(type(value), "something else")
