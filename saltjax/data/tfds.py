"""Documents from TensorFlow Datasets, without TensorFlow: sets prepared as array_record."""

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from saltjax.data.files import Read, Stamp, ignore, stamp
from saltjax.errors import UserError

BLOCK = 1024  # records fetched by one call


@dataclass(frozen=True)
class TfdsSplit:
    """One split of a TFDS set; a document is the text feature of a record, empty ones are skipped.

    `name` is a registered name (`wikipedia/20230601.de`, prepared or downloaded by TFDS) or a prepared directory, the
    one that holds `dataset_info.json`. Only sets stored as array_record can be read.

    Raises UserError: no such set or split, another file format, a feature that is missing, not text or not UTF-8, no
    document.
    """

    name: str
    split: str = "train"
    feature: str = "text"

    def documents(self, read: Read = ignore) -> Iterator[str]:
        source = self._source
        size, count = self.stamp().size, 0
        for start in range(0, len(source), BLOCK):
            indices = range(start, min(start + BLOCK, len(source)))
            for index, record in zip(indices, source.__getitems__(list(indices)), strict=True):
                if text := self._text(index, record):
                    count += 1
                    yield text
            read(size * indices.stop // len(source) - size * start // len(source))
        if not count:
            raise UserError(f"split {self.split!r} of TFDS set {self.name} holds no document")

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self._builder.info.full_name}\0{self.split}\0{self.feature}".encode())
        for path in self._files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"tfds:{digest.hexdigest()}"

    def stamp(self) -> Stamp:
        files = [stamp(str(path)) for path in self._files]
        what = (self._builder.info.full_name, self.split, self.feature, *(file.identity for file in files))
        return Stamp(repr(what), max(file.changed for file in files), sum(file.size for file in files))

    @property
    def _files(self) -> list[Any]:
        _ = self._source  # says that the split is missing, better than the next line would
        return list(self._builder.info.splits[self.split].filepaths)

    @cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds
        from etils import epath

        directory = epath.Path(self.name)
        try:
            if (directory / "dataset_info.json").is_file():
                return tfds.builder_from_directory(directory)
            builder = tfds.builder(self.name, file_format="array_record")
            with contextlib.redirect_stdout(sys.stderr):  # TFDS announces a download with print
                builder.download_and_prepare(file_format="array_record")
            return builder
        except Exception as error:  # TFDS raises anything here: no network, no TensorFlow, no such name
            raise UserError(
                f"TFDS set {self.name} cannot be had ({_first_line(error)}); give a registered name, or a directory "
                'with dataset_info.json that was prepared with file_format="array_record"'
            ) from None

    @cached_property
    def _source(self) -> Any:
        try:
            return self._builder.as_data_source(split=self.split)
        except Exception as error:  # an unknown split, or files that only TensorFlow reads
            raise UserError(
                f"split {self.split!r} of TFDS set {self.name} cannot be read ({_first_line(error)}); it has the "
                f'splits {", ".join(self._builder.info.splits)} and must be prepared with file_format="array_record"'
            ) from None

    def _text(self, index: int, record: dict[str, Any]) -> str:
        value = record.get(self.feature) if isinstance(record, dict) else None
        if not isinstance(value, (bytes, str)):
            raise UserError(f"TFDS set {self.name} has no text feature {self.feature!r}; it has {', '.join(record)}")
        try:
            return value.decode("utf-8") if isinstance(value, bytes) else value
        except UnicodeDecodeError as error:
            raise UserError(f"record {index} of TFDS set {self.name} is not UTF-8 at byte {error.start}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
