"""Reading the packaged data files; whoever parses them names the file and the row of anything wrong."""

import csv
import io
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")


class ReferenceDataBroken(Exception):
    """A data file of this installation contradicts its own form; a release with such a file must not run."""

    def __init__(self, file: str, where: str, problem: str) -> None:
        super().__init__(f"{file}, {where}: {problem}")
        self.file, self.where, self.problem = file, where, problem


def read_data(name: str) -> str:
    """Return the text of a file in `data/`."""
    return files("recoup_core.reference").joinpath("data", name).read_text("utf-8")


def csv_rows(name: str, text: str) -> list[tuple[str, dict[str, str]]]:
    """Return every row with the words that name it in an error; a row of another length is refused."""
    reader = csv.DictReader(io.StringIO(text), restkey="surplus", strict=True)
    rows: list[tuple[str, dict[str, str]]] = []
    for row in reader:
        where = f"line {reader.line_num}"
        if "surplus" in row or None in row.values():
            raise ReferenceDataBroken(name, where, "not as many fields as the header")
        rows.append((where, row))
    return rows


def yaml_as(name: str, text: str, form: type[T]) -> T:
    """Return the YAML text as a value of the given type; anything missing, surplus or of the wrong type is refused."""
    try:
        plain: Any = yaml.safe_load(text)
        return msgspec.convert(plain, form)
    except yaml.YAMLError as error:
        raise ReferenceDataBroken(name, "the whole file", str(error)) from error
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at ")
        raise ReferenceDataBroken(name, where.strip("`") or "the whole file", problem) from error
