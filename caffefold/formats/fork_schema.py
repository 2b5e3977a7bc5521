"""A fork's own ``caffe.proto`` as the schema: ``--proto fork.proto``.

The file is compiled by protoc (grpcio-tools, the extra ``proto``) and its messages
live in a descriptor pool of their own, so that any number of schemas, ours, and an installed
pycaffe fit into one process.

The fork's fields, defaults and enums count. What it lacks comes from our schema, and so does a
field that it declares as something else than every Caffe does (a message where Caffe has a number),
since that is how it will be read.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffefold.errors import InputError
from caffefold.extras import install
from caffefold.formats import schema
from caffefold.formats.schema import EnumType, FieldType, MessageType, Schema
from caffefold.frozen import dataclass

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_SECONDS = 120
_LOG = re.compile(r"^WARNING: All log|^[IWE]\d{4} |: warning: ")  # what protoc prints beside errors
# Not `-m grpc_tools.protoc`: that would import from the folder it runs in, which is the user's.
_RUN_PROTOC = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from grpc_tools import protoc; sys.exit(protoc.main(sys.argv))"
)


@dataclass(frozen=True)
class _Field:
    """A field that the fork and we declare as the same kind: the fork's declaration counts."""

    fork: FieldDescriptor
    ours: FieldType

    @property
    def default_value(self) -> Any:
        """What an absent field reads as; of a field the fork made repeated, our default."""
        made_repeated = schema.repeated(self.fork) and not schema.repeated(self.ours)
        return (self.ours if made_repeated else self.fork).default_value

    @property
    def cpp_type(self) -> int:
        return int(self.fork.cpp_type)

    @property
    def enum_type(self) -> EnumType | None:
        return self.fork.enum_type

    @cached_property
    def message_type(self) -> MessageType | None:
        fork, ours = self.fork.message_type, self.ours.message_type
        return None if fork is None or ours is None else _Message(fork, ours)


@dataclass(frozen=True)
class _Message:
    """A message that the fork and we declare: all fields that either of the two has."""

    fork: Descriptor
    ours: MessageType

    @property
    def name(self) -> str:
        return str(self.fork.name)

    @cached_property
    def fields_by_name(self) -> dict[str, FieldType]:
        found: dict[str, FieldType] = {**self.ours.fields_by_name, **self.fork.fields_by_name}
        for name, ours in self.ours.fields_by_name.items():
            fork = self.fork.fields_by_name.get(name)
            if fork is not None:
                found[name] = _Field(fork, ours) if _kind(fork) == _kind(ours) else ours
        return found


def compile_schema(path: str | Path) -> Schema:
    """Compile a fork's .proto file, with what it imports from its own folder.

    Raises:
        InputError: there is no such file, protoc is not installed or refuses the file, or it holds
            no LayerParameter.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{path}: no such file; give the fork's caffe.proto")
    spec = find_spec("grpc_tools")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{path}: compiling a schema needs grpcio-tools; {install('grpcio-tools')}"
        )
    compiled = _protoc(source, Path(next(iter(spec.submodule_search_locations)), "_proto"))
    messages = _messages(source, compiled)
    if "LayerParameter" not in messages:
        raise InputError(f"{path}: no message LayerParameter in this schema; is it a caffe.proto?")

    def find(name: str) -> MessageType:
        fork = messages.get(name)
        try:
            ours = schema.message(name)
        except KeyError:
            if fork is None:
                raise
            return fork
        return ours if fork is None else _Message(fork, ours)

    return Schema(find)


def _protoc(source: Path, google: Path) -> bytes:
    """The FileDescriptorSet of ``source`` and its imports, these first."""
    with tempfile.TemporaryDirectory(prefix="caffefold-proto-") as folder:
        target = Path(folder, "set")
        arguments = [
            "--proto_path=.",
            f"--proto_path={google}",
            "--include_imports",
            f"--descriptor_set_out={target}",
            f"./{source.name}",
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
                [sys.executable, "-c", _RUN_PROTOC, *arguments],
                cwd=source.resolve().parent,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"{source}: protoc took more than {_SECONDS} s") from None
        if done.returncode != 0 or not target.exists():
            raise InputError(f"{source}: {_complaint(source, done.stderr)}")
        return target.read_bytes()


def _complaint(source: Path, stderr: str) -> str:
    """protoc's first error, without the file's name, which stands before it already."""
    lines = [line for line in stderr.splitlines() if line.strip() and not _LOG.search(line)]
    first = lines[0] if lines else "no reason given"
    name = f"{source.name}:"
    return first.removeprefix("./").removeprefix(name) if name in first else f"protoc: {first}"


def _messages(source: Path, compiled: bytes) -> dict[str, Descriptor]:
    """The top-level messages by name, the file's own before imported ones."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    found: dict[str, Descriptor] = {}
    try:
        for file in FileDescriptorSet.FromString(compiled).file:
            pool.AddSerializedFile(file.SerializeToString())
            found |= pool.FindFileByName(file.name).message_types_by_name
    except (TypeError, KeyError) as error:
        raise InputError(f"{source}: protobuf rejects this schema: {error}") from None
    return found


# FieldDescriptor.cpp_type: double, float, bool, enum, string, message; all others are integers.
_KINDS = {5: "number", 6: "number", 7: "flag", 8: "enum", 9: "string", 10: "message"}


def _kind(field: FieldType) -> str:
    """What a field is read as."""
    return _KINDS.get(field.cpp_type, "integer")
