"""Files of past decisions: JSON lines, CSV and Parquet, read and written a piece at a time."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from recoup_cli.refusals import MISUSED, Refused
from recoup_core.rules.study.history import HistoryCase, HistoryInvalid, HistoryRecord, cases_of
from recoup_core.rules.study.history_table import check_columns, columns, record_of, row_of, whole_numbers

MAX_LINE: Final = 1024 * 1024
"""Bytes of one record; a decision has a few thousand."""

BATCH: Final = 1_000
"""Rows of Parquet held at once."""

CHUNK: Final = 500
"""Cases handed on together."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
"""What makes a spreadsheet compute a cell; and what keeps it from that, for it may begin a text, too."""

SUFFIXES: Final = (".jsonl", ".csv", ".parquet")

Write = Callable[[Iterable[HistoryRecord]], None]
Placed = Iterator[tuple[str, HistoryRecord]]


def file_kind(path: Path) -> str:
    """Return which of the formats a file's name asks for; raises `Refused`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise Refused(f"{path}: the name must end in {', '.join(SUFFIXES)}", code=MISUSED)
    return suffix


def read_chunks(path: Path) -> Iterator[list[HistoryCase]]:
    """Yield a file's cases, some at a time; raises `HistoryInvalid` and `Refused`."""
    readers = {".jsonl": _json_lines, ".csv": _csv_rows, ".parquet": _parquet_rows}
    chunk: list[HistoryCase] = []
    for case in cases_of(readers[file_kind(path)](path)):
        chunk.append(case)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextmanager
def writing(path: Path) -> Iterator[Write]:
    """Give what writes records to a new file, of the format its name asks for; raises `FileExistsError`.

    What was written before something went wrong is taken away again: half a history must not pass for a whole one.
    """
    writers = {".jsonl": _json_writer, ".csv": _csv_writer, ".parquet": _parquet_writer}
    writer = writers[file_kind(path)]
    with path.open("xb") as file:
        try:
            with writer(file) as write:
                yield write
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _json_lines(path: Path) -> Placed:
    decoder = msgspec.json.Decoder(HistoryRecord)
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            where = f"{path}:{number}"
            if len(line) > MAX_LINE:
                raise HistoryInvalid(where, f"the line is longer than {MAX_LINE // 1024} KiB")
            if not line.strip():
                continue
            try:
                yield where, decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise HistoryInvalid(where, str(error)) from None
            except UnicodeDecodeError:
                raise HistoryInvalid(where, "the line is not UTF-8") from None
            except RecursionError:
                raise HistoryInvalid(where, "the line is nested too deeply") from None


def _csv_rows(path: Path) -> Placed:
    csv.field_size_limit(MAX_LINE)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        try:
            check_columns(rows.fieldnames or (), f"{path}:1")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if None in row or None in row.values():
                    raise HistoryInvalid(where, "the row does not have as many cells as there are columns")
                yield where, record_of({name: _as_it_was(cell) for name, cell in row.items()}, where)
        except csv.Error as error:
            raise HistoryInvalid(f"{path}:{rows.line_num}", str(error)) from None
        except UnicodeDecodeError:
            raise HistoryInvalid(f"{path}:{rows.line_num + 1}", "the file is not UTF-8") from None


def _parquet_rows(path: Path) -> Placed:
    parquet = _pyarrow().parquet
    with _read_as_parquet(path):
        file = parquet.ParquetFile(path)
        check_columns(file.schema_arrow.names, str(path))
        number = 0
        for batch in file.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                where = f"{path}, row {number}"
                yield where, record_of(row, where)


@contextmanager
def _read_as_parquet(path: Path) -> Iterator[None]:
    arrow = _pyarrow()
    try:
        yield
    except arrow.lib.ArrowException as error:
        raise HistoryInvalid(str(path), f"is no Parquet file that can be read: {error}") from None


@contextmanager
def _json_writer(file: BinaryIO) -> Iterator[Write]:
    encoder = msgspec.json.Encoder()
    yield lambda records: file.writelines(encoder.encode(each) + b"\n" for each in records)


@contextmanager
def _csv_writer(file: BinaryIO) -> Iterator[Write]:
    with TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, columns())
        writer.writeheader()
        yield lambda records: writer.writerows(_words(row_of(each)) for each in records)


def _harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: names and codes in history are other people's texts."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _as_it_was(cell: str) -> str:
    """Undo `_harmless`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


@contextmanager
def _parquet_writer(file: BinaryIO) -> Iterator[Write]:
    arrow = _pyarrow()
    numbers = whole_numbers()
    schema = arrow.schema([(name, arrow.int64() if name in numbers else arrow.string()) for name in columns()])

    def cells(record: HistoryRecord) -> dict[str, Any]:
        row = row_of(record)
        return {name: value if name in numbers else _word(value) for name, value in row.items()}

    with arrow.parquet.ParquetWriter(file, schema) as writer:

        def write(records: Iterable[HistoryRecord]) -> None:
            writer.write_batch(arrow.RecordBatch.from_pylist([cells(each) for each in records], schema))

        yield write


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's cells; a number stays one, whatever its sign."""
    return {name: _word(value) if isinstance(value, int) else _harmless(_word(value)) for name, value in row.items()}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pyarrow() -> Any:
    """Return pyarrow, which only Parquet needs: imported when it is asked for."""
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError:
        hint = "install it (`pip install 'recoup[parquet]'`), or use .jsonl or .csv"
        raise Refused("Parquet needs the package pyarrow, which is not installed", hint, code=MISUSED) from None
    return pyarrow
