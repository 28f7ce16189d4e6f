"""Bulk frames: one Parquet file an asset and round, written whole or not at all.

Belongs here: where frames lie and how they are replaced. Does not belong here: small tables (see ``warehouse``).
"""

import io
from collections.abc import Iterable, Mapping, Sequence

import polars as pl
from dagster import ConfigurableResource
from polars.testing import assert_frame_equal
from pyarrow.parquet import ParquetWriter
from pydantic import Field
from upath import UPath

from resources.storage import is_local, write_bytes_atomically, written_atomically

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
        root = UPath(self.root)
        assets = sorted(folder.name for folder in root.iterdir()) if root.exists() else []
        return {asset: path for asset in assets if (path := self.path(asset, round_id)).exists()}

    def write(self, asset: str, round_id: str, frame: pl.DataFrame, *, settled: bool = False) -> UPath:
        """Replace the frame of ``asset`` in ``round_id``; of a ``settled`` round, confirm that it is the same.

        Raises:
            SettledFrameError: the round is settled and the frame there has other content.
        """
        path = self.path(asset, round_id)
        if settled and path.exists():
            try:
                assert_frame_equal(read_parquet(path), frame)
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

    def scan(self, asset: str, round_ids: Sequence[str]) -> pl.LazyFrame:
        """The frames of ``asset`` in all of ``round_ids`` that have one, one below the other, with ``round_id``: of local files
        only the columns and rows that are asked for are read, so that looking into many rounds costs little.

        Raises:
            FileNotFoundError: none of them has one.
        """
        if not is_local(UPath(self.root)):
            return self.read_through(asset, list(round_ids)).lazy()
        paths = [str(path) for round_id in round_ids if (path := self.path(asset, round_id)).exists()]
        if not paths:
            raise FileNotFoundError(self._no_frame(asset, round_ids))
        name = pl.col("round_id").str.extract(r"([^/\\]+)\.parquet$")
        return pl.scan_parquet(paths, glob=False, include_file_paths="round_id").with_columns(round_id=name)

    def read_through(self, asset: str, round_ids: list[str]) -> pl.DataFrame:
        """The frames of ``asset`` in all of ``round_ids`` that have one, one below the other, with ``round_id``.

        Raises:
            FileNotFoundError: none of them has one.
        """
        frames = [
            read_parquet(path).with_columns(round_id=pl.lit(round_id))
            for round_id in round_ids
            if (path := self.path(asset, round_id)).exists()
        ]
        if not frames:
            raise FileNotFoundError(self._no_frame(asset, round_ids))
        return pl.concat(frames, how="diagonal_relaxed")

    def _no_frame(self, asset: str, round_ids: Sequence[str]) -> str:
        return f"no frame of {asset} in {', '.join(round_ids) or 'no round'} under {self.root}."
