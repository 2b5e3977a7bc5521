"""caffefold and pycaffe fit into one process: the descriptor pool holds both schemas."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What pycaffe does at import, with the messages that matter.
PYCAFFE = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

def load_pycaffe(name="caffe.proto", package="caffe"):
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto2")
    layer = file.message_type.add(name="LayerParameter")
    layer.field.add(name="name", number=1, type=9, label=1)
    layer.field.add(name="forward_type", number=145, type=5, label=1)
    net = file.message_type.add(name="NetParameter")
    layers = net.field.add(name="layer", number=100, type=11, label=3)
    layers.type_name = f".{package}.LayerParameter"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.NetParameter"))
"""

USE_BOTH = """
ours = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="conv")])
theirs = Theirs.FromString(ours.SerializeToString())
assert theirs.layer[0].name == "conv"
assert caffe_pb2.NetParameter.FromString(theirs.SerializeToString()) == ours
assert ours.DESCRIPTOR.full_name == "caffefold._proto.NetParameter", ours.DESCRIPTOR.full_name
assert ours.DESCRIPTOR.file.name == "caffefold/_proto/caffe.proto", ours.DESCRIPTOR.file.name
print("both")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: a pool cannot forget. -I keeps the checkout off sys.path.
    return subprocess.run(
        [sys.executable, "-I", "-c", PYCAFFE + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("file", ["caffe.proto", "caffe/proto/caffe.proto"])
@pytest.mark.parametrize("first", ["caffefold", "pycaffe"])
def test_both_schemas_in_one_pool(first: str, file: str) -> None:
    steps = [
        "from caffefold._proto import caffe_pb2\n",
        f"Theirs = load_pycaffe({file!r})\n",
    ]
    if first == "pycaffe":
        steps.reverse()
    done = run("".join(steps) + USE_BOTH)
    assert (done.returncode, done.stdout) == (0, "both\n"), done.stderr


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("other.proto", "caffefold._proto"),  # same message names
        ("caffefold/_proto/caffe.proto", "caffe"),  # same file name
    ],
)
def test_a_shared_name_would_be_refused(file: str, package: str) -> None:
    """The test above can fail: these are the two collisions that our names avoid."""
    program = f"from caffefold._proto import caffe_pb2\nload_pycaffe({file!r}, {package!r})\n"
    done = run(program)
    assert done.returncode != 0
    assert "TypeError" in done.stderr
