"""Files and folders on this machine or in object storage, named by a path or a URI.

Options of `s3://` stand behind the last `?` of the URI (`s3://bucket/faces?region=eu-west-1`). All else
of it is taken as it is: `%20` is three characters of a key. Credentials come from the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import lies_in, write_whole

URI = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
WILD = re.compile(r"[*?\[]")
WILD_IN_URI = re.compile(r"[*\[]")
S3_OPTIONS = ("region", "scheme", "endpoint_override", "allow_bucket_creation")


@dataclass(frozen=True)
class FilePlace:
    """A file or folder. path: on its file system. prefix: what turns a path into a name ("" if local).

    query: the URI's options with their `?`, which are no part of names.
    """

    filesystem: fs.FileSystem
    path: str
    prefix: str
    query: str

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def name(self) -> str:
        return f"{self.prefix}{self.path}"

    @property
    def uri(self) -> str:
        """What `place_of` makes this of, in another process as well."""
        mark = "?" if "?" in self.path and not self.local else ""
        return f"{self.name}{self.query or mark}"

    @property
    def bucket(self) -> str:
        """ "" on this machine."""
        return "" if self.local else self.path.partition("/")[0]

    @property
    def endpoint(self) -> str:
        """The server that was named for the bucket, "" for the provider's own or on this machine.

        Named by the query, else by the environment, as for every program of AWS.
        """
        return "" if self.local else _endpoint_of(self.query) or _endpoint_of_environment()

    def lies_in(self, folder: FilePlace) -> bool:
        """Whether this is the folder or lies below it."""
        if self.local or folder.local:
            return self.local and folder.local and lies_in(Path(self.path), Path(folder.path))
        below = f"{self.name}/".startswith(f"{folder.name.rstrip('/')}/")
        servers = {place.endpoint for place in (self, folder)} - {""}  # unnamed: may be the same
        return below and len(servers) < 2

    def at(self, path: str) -> FilePlace:
        """Another path on the same file system."""
        return FilePlace(self.filesystem, path, self.prefix, self.query)

    def child(self, name: str) -> FilePlace:
        return self.at(f"{self.path.rstrip('/')}/{name}")

    def info(self) -> fs.FileInfo:
        """Raises ConfigError where the file system cannot say it."""
        try:
            return self.filesystem.get_file_info(self.path)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be read: {said(exc)}") from exc

    def listed(self, *, recursive: bool = True) -> Iterator[fs.FileInfo]:
        """What lies below a folder, in the order of its paths; nothing where it does not exist."""
        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        try:
            infos = self.filesystem.get_file_info(selector)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be listed: {said(exc)}") from exc
        return iter(sorted(infos, key=lambda info: info.path))

    def opened(self) -> BinaryIO:
        """For reading, seekable. Raises OSError."""
        return cast(BinaryIO, self.filesystem.open_input_file(self.path))

    def read(self) -> bytes:
        """Raises OSError."""
        with self.opened() as file:
            return file.read()

    def write(self, data: bytes) -> None:
        """The file appears with all of `data`, or stays as it was. Raises OSError.

        S3 shows an object once it is complete.
        """
        if self.local:
            write_whole(Path(self.path), data)
            return
        with self.filesystem.open_output_stream(self.path) as file:
            file.write(data)

    def delete(self) -> None:
        """Raises OSError."""
        self.filesystem.delete_file(self.path)

    def make_folder(self) -> None:
        """Raises ConfigError."""
        try:
            self.filesystem.create_dir(self.path, recursive=True)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be written: {said(exc)}") from exc


def is_uri(text: str) -> bool:
    return URI.match(text) is not None


def place_of(text: str) -> FilePlace:
    """A path (made absolute), or a URI. Raises ConfigError for a URI that is neither file nor s3."""
    if (scheme := URI.match(text)) is None:
        return FilePlace(fs.LocalFileSystem(), str(Path(text).absolute()), "", "")
    if scheme[1] == "file":
        return _of_file(text)
    address, query = _parts_of(text)
    return remote_place(address, query)


def remote_place(name: str, query: str) -> FilePlace:
    """As `place_of`, where the options stand apart: a name may have any character."""
    scheme = URI.match(name)
    if scheme is None or scheme[1] != "s3":
        kind = f"{scheme[1]}://" if scheme else "this"
        raise ConfigError(
            f"{kind} is not supported: only paths, file:// and s3:// (with ?endpoint_override=HOST for "
            "servers that speak S3) were tried; copy the files to one of them"
        )
    path = name.removeprefix("s3://").rstrip("/")
    bucket = path.partition("/")[0]
    if "@" in bucket or ":" in bucket:
        raise ConfigError(
            "s3://: a user name or password stands in the URI, where others see it; put it into the "
            "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and leave it out"
        )
    if not bucket:
        raise ConfigError("s3://: the URI names no bucket")
    _check_options(name, query)
    return FilePlace(_s3(bucket, query), path, "s3://", query)


def _of_file(text: str) -> FilePlace:
    path = text.removeprefix("file://")
    if not path.startswith("/"):
        raise ConfigError(f"{text}: the path of file:// begins with a slash: file:///folder/file")
    return FilePlace(fs.LocalFileSystem(), str(Path(path)), "", "")


def _parts_of(uri: str) -> tuple[str, str]:
    """The address and the options, "" or with their `?`. An empty list of options ends at the `?`."""
    address, mark, options = uri.rpartition("?")
    return (address, f"?{options}" if options else "") if mark else (uri, "")


def _check_options(name: str, query: str) -> None:
    for option, value in parse_qsl(query.removeprefix("?"), keep_blank_values=True):
        if option not in S3_OPTIONS:
            raise ConfigError(
                f"{name}: what follows the last ? are options of S3, which are "
                f"{', '.join(S3_OPTIONS)}; credentials go into the environment, and a name with a ? "
                "is followed by another one"
            )
        if "@" in value:
            raise ConfigError(
                f"{name}: {option} has a user name in it; put it into the environment"
            )


@cache
def _endpoint_of(query: str) -> str:
    stated = dict(parse_qsl(query.removeprefix("?"))).get("endpoint_override", "")
    return _host_of(stated)


def _endpoint_of_environment() -> str:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return _host_of(next((value for name in names if (value := os.environ.get(name))), ""))


def _host_of(server: str) -> str:
    return URI.sub("", server).rstrip("/").lower()


@cache
def _s3(bucket: str, query: str) -> fs.FileSystem:
    try:
        return fs.FileSystem.from_uri(f"s3://{bucket}{query}")[0]
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise ConfigError(f"s3://{bucket}: {said(exc)}") from exc


def is_pattern(text: str) -> bool:
    """Whether a path has a shell's wildcards. In a URI a `?` is none."""
    if is_uri(text):
        return WILD_IN_URI.search(_parts_of(text)[0]) is not None
    return WILD.search(text) is not None


def matching(uri: str) -> list[FilePlace]:
    """The files that a URI with wildcards matches, sorted; `**` goes into folders.

    One that is called so, wildcards and all, is the only one.
    """
    from fsspec.implementations.arrow import ArrowFSWrapper

    itself = place_of(uri)
    if itself.info().is_file:
        return [itself]
    paths = ArrowFSWrapper(itself.filesystem).glob(itself.path)
    return [itself.at(str(path)) for path in sorted(paths)]


def said(exc: BaseException) -> str:
    """The first line of an error, which of pyarrow may be long."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc).split("\n")[0][:200] or type(exc).__name__
