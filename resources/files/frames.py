"""Bulk frames: one Parquet file an asset and round, written whole or not at all.

Belongs here: where frames lie and how they are replaced. Does not belong here: small tables (see ``warehouse``).
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl
from dagster import ConfigurableResource
from polars.testing import assert_frame_equal
from pyarrow.parquet import ParquetWriter
from pydantic import Field
from upath import UPath

from resources.files.storage import files_below, is_local, read_all, write_bytes_atomically, written_atomically

Schema = Mapping[str, pl.DataType]


class SettledFrameError(RuntimeError):
    """A settled round was about to be rewritten with other content."""


def write_parquet(path: UPath, frame: pl.DataFrame) -> None:
    """Write ``frame`` to ``path`` atomically."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write_bytes_atomically(path, buffer.getvalue())


def read_parquet(path: UPath) -> pl.DataFrame:
    """Read one Parquet file from a local path or a URI."""
    return parsed_parquet(path.read_bytes())


def read_parquets(paths: Iterable[UPath]) -> Iterator[pl.DataFrame]:
    """:func:`read_parquet` of each file, in order."""
    return map(parsed_parquet, read_all(paths))


def parsed_parquet(data: bytes) -> pl.DataFrame:
    """The frame in the bytes of a Parquet file."""
    return pl.read_parquet(io.BytesIO(data))


class FramesResource(ConfigurableResource):
    """Parquet frames under one folder or URI, at ``<root>/<asset>/<round_id>.parquet``."""

    root: str = Field(description="Folder or URI of the frames.")

    def path(self, asset: str, round_id: str) -> UPath:
        return UPath(self.root, asset, f"{round_id}.parquet")

    def of_round(self, round_id: str) -> dict[str, UPath]:
        """Every frame of a round by its asset."""
        name = f"{round_id}.parquet"
        return {each.path.parent.name: each.path for each in files_below(UPath(self.root)) if each.path.name == name}

    def write(self, asset: str, round_id: str, frame: pl.DataFrame, *, settled: bool = False) -> UPath:
        """Replace the frame of ``asset`` in ``round_id``; of a ``settled`` round, confirm that it is the same.

        Raises:
            SettledFrameError: the round is settled and the frame there has other content.
        """
        path = self.path(asset, round_id)
        if settled and path.exists():
            stored = read_parquet(path)
            later = [
                name
                for name in frame.columns
                if name not in stored.columns and frame[name].null_count() == frame.height
            ]
            try:  # an empty column that an earlier version had not yet says nothing else
                assert_frame_equal(stored, frame.drop(later))
            except AssertionError as difference:
                raise SettledFrameError(
                    f"{round_id} is settled, and {asset} would now differ from {path}: {difference}. "
                    "Settings, seed and inputs must be those the round was settled with."
                ) from None
            return path
        write_parquet(path, frame)
        return path

    def write_chunks(
        self, asset: str, round_id: str, chunks: Iterable[pl.DataFrame], schema: Schema, *, settled: bool = False
    ) -> UPath:
        """:meth:`write` for a frame that is never in memory as a whole, but where a settled round is confirmed.

        Args:
            chunks: Frames of ``schema``, one below the other.

        Raises:
            SettledFrameError: as :meth:`write`.
        """
        path = self.path(asset, round_id)
        empty = pl.DataFrame(schema=schema)
        if settled and path.exists():
            return self.write(asset, round_id, pl.concat([empty, *chunks]), settled=True)
        with (
            written_atomically(path) as file,
            ParquetWriter(file, empty.to_arrow().schema, compression="zstd") as writer,
        ):
            for chunk in chunks:
                writer.write_table(chunk.select(list(schema)).to_arrow())
        return path

    def read(self, asset: str, round_id: str) -> pl.DataFrame:
        """The frame of ``asset`` in ``round_id``.

        Raises:
            FileNotFoundError: it has not been materialised; the message says what to do.
        """
        path = self.path(asset, round_id)
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: materialise {asset} of {round_id} first.")
        return read_parquet(path)

    def scan(self, asset: str, round_ids: Sequence[str], schema: Schema | None = None) -> pl.LazyFrame:
        """The frames of ``asset`` in all of ``round_ids`` that have one, one below the other, with ``round_id``: only the columns
        and rows that are asked for are read, so that looking into many rounds costs little.

        Args:
            schema: Columns that there should be; those that an earlier version did not write are empty. None: all frames have
                the same.

        Raises:
            FileNotFoundError: none of them has one.
        """
        paths = self._of_rounds(asset, round_ids)
        if not is_local(UPath(self.root)):
            scans = [_scanned(path).with_columns(round_id=pl.lit(round_id)) for round_id, path in paths.items()]
            if schema is None:
                return pl.concat(scans)
            empty = pl.LazyFrame(schema={**schema, "round_id": pl.String()})
            return pl.concat([empty, *scans], how="diagonal").select(*schema, "round_id")
        name = pl.col("round_id").str.extract(r"([^/\\]+)\.parquet$")
        files = [str(path) for path in paths.values()]
        frame = pl.scan_parquet(
            files,
            glob=False,
            include_file_paths="round_id",
            schema=None if schema is None else dict(schema),
            missing_columns="raise" if schema is None else "insert",
        )
        return frame.with_columns(round_id=name)

    def read_through(self, asset: str, round_ids: list[str]) -> pl.DataFrame:
        """The frames of ``asset`` in all of ``round_ids`` that have one, one below the other, with ``round_id``.

        Raises:
            FileNotFoundError: none of them has one.
        """
        paths = self._of_rounds(asset, round_ids)
        frames = zip(paths, read_parquets(paths.values()), strict=True)
        return pl.concat(
            (frame.with_columns(round_id=pl.lit(round_id)) for round_id, frame in frames), how="diagonal_relaxed"
        )

    def _of_rounds(self, asset: str, round_ids: Sequence[str]) -> dict[str, UPath]:
        """Where the frames lie that there are, by round."""
        lying = {each.path.name for each in files_below(UPath(self.root, asset))}
        paths = {each: path for each in round_ids if (path := self.path(asset, each)).name in lying}
        if not paths:
            raise FileNotFoundError(f"no frame of {asset} in {', '.join(round_ids) or 'no round'} under {self.root}.")
        return paths


def _scanned(path: UPath) -> pl.LazyFrame:
    """A Parquet file of a store, of which nothing is read yet."""
    from pyarrow.dataset import dataset

    return pl.scan_pyarrow_dataset(dataset(path.path, filesystem=path.fs, format="parquet"))
