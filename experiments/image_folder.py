"""Pictures of the user's own: one folder a class, or a manifest with a row a picture."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np

from ..harness.checks import one_of, require
from ..harness.errors import UsageError, shortened
from ..harness.table_columns import flags, groups, ids, present, users
from ..harness.tablefile import TableFile, read
from ..harness.types import Bools, Dataset
from ._picture_files import SUFFIXES, Colours, below, check_picture, entries, read_pictures
from ._table_encoding import codes
from ._table_target import Target, class_target

MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class ImageFolder:
    """PNG and JPEG files below a folder.

    Without a manifest they lie in FOLDER/CLASS/, in the order of the names of classes, then of files. A manifest is a
    table with one row a picture, in whose order the records are. It names every file below the folder but itself:
    a picture that it forgot would drop out of the audit in silence.

    Classes of folders are numbered in the order of their names, those of a column as `table` numbers them. Pictures
    are turned as their EXIF data say; transparency is dropped. Names that begin with a dot are passed over where no
    manifest has them.

    Attributes:
        path: the folder.
        size: height and width to which every picture is scaled; None where all have one size.
        colours: `grey` or `rgb`.
        manifest: CSV or Parquet file, in the folder or elsewhere.
        file_name: column of the manifest with the files, relative to the folder, with slashes.
        target: column of the classes, and pictures may lie at any depth; None: the class is the picture's folder.
        sensitive: columns whose groups the report compares. A missing cell belongs to the group `?`.
        record_id: column of names of records, no two alike.
        user_id: column that says who a record is about.
        member: column that says whether somebody else's model trained on the record: 1, true, yes; 0, false, no;
            empty or -1 for records of the population that it was never asked about.
        positive: of two classes the one that becomes class 1.
        name: name of the data set; by default the folder's.
        licence: terms under which the pictures may be used.
        public: whether pictures may be shown in a report.
    """

    path: Path
    size: tuple[int, int] | None = None
    colours: Colours = "grey"
    manifest: Path | None = None
    file_name: str = "file_name"
    target: str | None = None
    sensitive: tuple[str, ...] = ()
    record_id: str | None = None
    user_id: str | None = None
    member: str | None = None
    positive: str | None = None
    name: str | None = None
    licence: str = "not stated"
    public: bool = False

    def __post_init__(self) -> None:
        one_of(get_args(Colours), colours=self.colours)
        if self.size is not None:
            require(min(self.size) >= 1, "size", self.size, "height and width, at least 1")
        if self.manifest is not None:
            suffix = self.manifest.suffix.lower()
            require(suffix in MANIFESTS, "manifest", str(self.manifest), f"a file in {', '.join(MANIFESTS)}")
            return
        for field in ("target", "sensitive", "record_id", "user_id", "member"):
            value = getattr(self, field)
            require(not value, field, value, "left out, or manifest must name the table that has the column")

    def load(self) -> Dataset:
        """Return the pictures: float32 (n, h, w), or (n, 3, h, w) for `rgb`, in [0, 1].

        Raises:
            UsageError: there is no such folder, fewer than two classes, a class without pictures, a picture beside the
                classes, a file that is none or cannot be read, or pictures of different sizes without `size`. A
                manifest with a column or a file that is not there, a file that it does not name, names twice or that is
                not below the folder, repeated or missing ids, or a constant membership flag.
        """
        if not self.path.is_dir():
            raise UsageError(f"{self.path}: no such folder")
        if self.manifest is not None:
            return self._listed(self.manifest)
        found = entries(self.path)
        classes = self._ordered([entry.name for entry in found if entry.is_dir()])
        if loose := next((entry for entry in found if entry.suffix.lower() in SUFFIXES and entry.is_file()), None):
            raise UsageError(f"{loose}: a picture beside the folders of classes; move it into one, or use a manifest")
        files = [file for label in sorted(classes) for file in self._files_of(label)]
        labels = np.array([file.parent.name for file in files])
        return self._dataset(files, Target(codes(labels, classes), len(classes), tuple(classes)))

    def _files_of(self, label: str) -> list[Path]:
        files = entries(self.path / label)
        if not files:
            raise UsageError(f"{self.path / label}: a class without pictures")
        for file in files:
            check_picture(file)
        return files

    def _dataset(self, files: Sequence[Path], target: Target) -> Dataset:
        return Dataset(
            name=self.name or self.path.resolve().name,
            x=read_pictures(files, self.size, self.colours),
            y=target.y,
            n_classes=target.n_classes,
            bounds=(0.0, 1.0),
            public=self.public,
            licence=self.licence,
            class_names=target.names,
        )

    def _ordered(self, found: Collection[str]) -> list[str]:
        """Names of folders as classes in their order."""
        classes = sorted(set(found))
        if len(classes) < 2:
            raise UsageError(f"{self.path}: {len(classes)} classes; at least two folders of pictures are needed")
        if self.positive is not None:
            if len(classes) != 2 or self.positive not in classes:
                raise UsageError(
                    f"{self.path}: positive={self.positive!r}: must be one of two classes, not {classes[:20]}"
                )
            classes.sort(key=lambda label: label == self.positive)
        return classes

    def _listed(self, manifest: Path) -> Dataset:
        """The pictures of a manifest, which is checked before any of them is read."""
        table = self._table(manifest)
        every = np.ones(len(table.columns[self.file_name]), dtype=np.bool_)
        files = self._files(table, every)
        target = self._target(table, files, every)
        if self.record_id is not None:
            ids(table, self.record_id, every)
        sensitive = {name: groups(table, name, every) for name in self.sensitive}
        units = None if self.user_id is None else users(table, self.user_id, every)
        member = None if self.member is None else flags(table, self.member, every)
        data = self._dataset(files, target)
        return replace(data, sensitive=sensitive, units=units, released_member=member)

    def _table(self, manifest: Path) -> TableFile:
        single = {field: getattr(self, field) for field in ("file_name", "target", "record_id", "user_id", "member")}
        named = [(name, field) for field, name in single.items() if name is not None]
        named += [(name, "sensitive") for name in self.sensitive]
        table = read(manifest, {name for name, _ in named})
        for name, field in named:
            table.require(name, field)
        return table

    def _files(self, table: TableFile, every: Bools) -> list[Path]:
        """The files that the manifest names: all there, none twice, none left out."""
        rows: dict[Path, int] = {}
        for row, name in enumerate(present(table, self.file_name, every, "name").tolist()):
            file = self._file(name, table.at(self.file_name, row))
            first = rows.setdefault(file, row)
            if first != row:
                raise UsageError(f"{table.at(self.file_name, row)}: {name!r} is named in row {first + 1} already")
        left = (file for file in below(self.path) if file not in rows and not _same(file, table.source))
        if forgotten := next(left, None):
            raise UsageError(
                f"{forgotten}: {table.source} has no row of that name; list it or take it out of the folder: a file "
                "that is left out in silence would change who is audited"
            )
        return list(rows)

    def _file(self, name: str, where: str) -> Path:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise UsageError(f"{where}: {shortened(name)!r} leads out of {self.path}")
        file = self.path / place
        try:
            found = file.is_file()
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise UsageError(f"{where}: {shortened(name)!r} cannot be looked for ({error.strerror})") from error
        if not found:
            raise UsageError(f"{where}: there is no file {self.path / shortened(name)}")
        check_picture(file)
        return file

    def _target(self, table: TableFile, files: Sequence[Path], every: Bools) -> Target:
        if self.target is not None:
            labels = present(table, self.target, every, "label")
            return class_target(labels, every, None, self.positive, f"{table.source}: target {self.target!r}")
        for row, file in enumerate(files):
            if file.parent.parent != self.path:
                raise UsageError(
                    f"{table.at(self.file_name, row)}: {file.relative_to(self.path).as_posix()!r} is not CLASS/FILE; "
                    "where folders are no classes, name the column of the target"
                )
        labels = np.array([file.parent.name for file in files])
        classes = self._ordered(labels.tolist())
        return Target(codes(labels, classes), len(classes), tuple(classes))


def _same(file: Path, other: Path) -> bool:
    return os.path.realpath(file) == os.path.realpath(other)
