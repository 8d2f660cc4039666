"""Documents from a column of text: Parquet, and Arrow as Hugging Face datasets keep it. Read with pyarrow alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from saltjax.data.files import Read, StoredFile, checked_text, ignore, random_access
from saltjax.errors import UserError

ROWS = 1024  # that are unpacked at once
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # of an Arrow stream that was closed


@dataclass(frozen=True)
class ParquetFile(StoredFile):
    """A document is a row's string in the column `field`; null and empty ones are skipped. Only that column is read.

    Raises UserError: see `files.opened`; no Parquet, or broken; no such column, or no strings in it; no document.
    """

    field: str = "text"

    def documents(self, read: Read = ignore) -> Iterator[str]:
        import pyarrow.parquet as pq

        def batches(file: Any) -> Iterator[Any]:
            parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            _check_column(self, parquet.schema_arrow)
            size, groups = self.stamp().size, parquet.num_row_groups
            for group in range(groups):
                yield from parquet.iter_batches(ROWS, row_groups=[group], columns=[self.field], use_threads=False)
                read(size * (group + 1) // groups - size * group // groups)

        return _documents(self, batches)

    def fingerprint(self) -> str:
        return f"parquet:{self.field}:{self.sha256()}"


@dataclass(frozen=True)
class ArrowFile(StoredFile):
    """As `ParquetFile`, from an Arrow stream (what `datasets.save_to_disk` writes) or an Arrow file (Feather)."""

    field: str = "text"

    def documents(self, read: Read = ignore) -> Iterator[str]:
        import pyarrow as pa

        def batches(file: Any) -> Iterator[Any]:
            is_file = file.read(6) == b"ARROW1"
            size = file.seek(-8, 2) + 8
            if not is_file and file.read(8) != END_OF_STREAM:
                raise pa.ArrowInvalid("its end is missing")
            file.seek(0)
            done = 0
            opened = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            _check_column(self, opened.schema)
            found = (opened.get_batch(i) for i in range(opened.num_record_batches)) if is_file else opened
            for batch in found:
                yield from (batch.select([self.field]).slice(at, ROWS) for at in range(0, batch.num_rows, ROWS))
                read(file.tell() - done)
                done = file.tell()
            read(size - done)

        return _documents(self, batches)

    def fingerprint(self) -> str:
        return f"arrow:{self.field}:{self.sha256()}"


def _documents(source: ParquetFile | ArrowFile, batches: Any) -> Iterator[str]:
    row, count = 0, 0
    with random_access(source.path) as file, _one_line(source):
        for batch in batches(file):
            for value in batch.column(0):
                row += 1
                if text := _text(value, f"{source.path}, row {row}"):
                    count += 1
                    yield text
    if not count:
        raise UserError(f"{source.path} holds no document: no row has text in {source.field!r}")


def _text(value: Any, where: str) -> str:
    try:
        return checked_text(value.as_py(), where)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start} of the text") from None


@contextmanager
def _one_line(source: StoredFile) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        kind = type(source).__name__.removesuffix("File")
        raise UserError(f"{source.path} cannot be read as {kind}: {' '.join(str(error).split())}") from None


def _check_column(source: ParquetFile | ArrowFile, schema: Any) -> None:
    import pyarrow as pa

    if source.field not in schema.names:
        raise UserError(f"{source.path} has no column {source.field!r}; there are {', '.join(schema.names) or 'none'}")
    kind = schema.field(source.field).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)):
        raise UserError(f"{source.path}: the column {source.field!r} holds {kind}, not strings; name another field")
