"""What plugin authors may rely on, one fact a line: names, fields with types and defaults, members, signatures."""

import enum
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

import msgspec


def public_face(face: types.ModuleType) -> list[str]:
    """Return the lines of a module's `__all__`, sorted."""
    names = {name: getattr(face, name) for name in face.__all__}
    unions = {value: name for name, value in names.items() if get_origin(value) in (types.UnionType, Union)}
    return sorted(line for name, value in names.items() for line in _lines(name, value, unions))


def _lines(name: str, value: Any, unions: Mapping[Any, str]) -> Iterator[str]:
    if get_origin(value) in (types.UnionType, Union):
        yield from (f"{name} may be {_type(part, {})}" for part in get_args(value))
    elif not inspect.isclass(value):
        told = f"{name}{_signature(value, unions)}" if inspect.isroutine(value) else f"{name} is there"
        yield told
    elif issubclass(value, enum.Enum):
        yield from (f"{name}.{member.name} = {member.value!r}" for member in value)
    elif issubclass(value, msgspec.Struct):
        yield from (_field(name, field, unions) for field in msgspec.structs.fields(value))
        yield from _methods(name, value, unions)
    else:
        yield f"{name} is a {'protocol' if Protocol in value.__mro__ else 'class'}"
        hints = {} if issubclass(value, Exception) else get_type_hints(value)
        yield from (f"{name}.{field}: {_type(kind, unions)}" for field, kind in hints.items())
        yield from _methods(name, value, unions)


def _field(name: str, field: Any, unions: Mapping[Any, str]) -> str:
    if field.required:
        return f"{name}.{field.encode_name}: {_type(field.type, unions)}"
    default = field.default if field.default is not msgspec.NODEFAULT else "..."
    told = f"{type(default).__name__}()" if isinstance(default, msgspec.Struct) else repr(default)
    return f"{name}.{field.encode_name}: {_type(field.type, unions)} = {told}"


def _methods(name: str, kind: type, unions: Mapping[Any, str]) -> Iterator[str]:
    for method, found in vars(kind).items():
        function = getattr(found, "__func__", found)
        if inspect.isfunction(function) and (not method.startswith("_") or method == "__init__"):
            if Protocol in kind.__mro__ and method == "__init__":
                continue
            waits = "async " if inspect.iscoroutinefunction(function) else ""
            yield f"{waits}{name}.{method}{_signature(function, unions)}"


def _signature(function: Any, unions: Mapping[Any, str]) -> str:
    signature = inspect.signature(function)
    hints = get_type_hints(function)
    parts = [
        f"{'*' if one.kind is one.KEYWORD_ONLY else ''}{one.name}"
        f"{': ' + _type(hints[one.name], unions) if one.name in hints else ''}"
        f"{'' if one.default is one.empty else f' = {one.default!r}'}"
        for one in signature.parameters.values()
    ]
    return f"({', '.join(parts)}) -> {_type(hints.get('return', Any), unions)}"


def _type(kind: Any, unions: Mapping[Any, str]) -> str:
    """Return a type as authors write it: alternatives under the name they are exported by, else sorted."""
    if kind in unions:
        return unions[kind]
    if get_origin(kind) in (types.UnionType, Union):
        return " | ".join(sorted(_type(part, unions) for part in get_args(kind)))
    if get_args(kind):
        origin = getattr(get_origin(kind), "__name__", str(get_origin(kind)))
        return f"{origin}[{', '.join(_listed(part, unions) for part in get_args(kind))}]"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _listed(part: Any, unions: Mapping[Any, str]) -> str:
    return f"[{', '.join(_type(one, unions) for one in part)}]" if isinstance(part, list) else _type(part, unions)
