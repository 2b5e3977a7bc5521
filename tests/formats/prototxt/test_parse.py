"""Parsing prototxts: every dialect prints as it was read, and its values can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caffefold._proto import caffe_pb2
from caffefold.errors import TextError
from caffefold.formats.prototxt.parse import MAX_DEPTH, parse, read
from caffefold.formats.prototxt.tree import Document, Message
from tests.support.formats_text import Said, documents, said

# (what, text, path of names to the value, values read there)
DIALECTS: list[tuple[str, str, str, list[str]]] = [
    ("plain", 'layer {\n  name: "a"\n}\n', "layer.name", ["a"]),
    ("no final newline", 'layer { name: "a" }', "layer.name", ["a"]),
    ("CRLF", 'layer {\r\n  name: "a"\r\n}\r\n', "layer.name", ["a"]),
    ("CRLF behind a comment", 'a: 1 # c\r\nname: "b"\r\n', "name", ["b"]),
    ("byte order mark", '\ufeffname: "a"\n', "name", ["a"]),
    ("tabs and form feeds", "\fa\t:\v1\n", "a", ["1"]),
    ("single quotes", "name: 'it\"s'", "name", ['it"s']),
    ("escaped quote", r"name: 'it\'s'", "name", ["it's"]),
    ("escaped double quote", r'name: "a \"b\""', "name", ['a "b"']),
    ("escaped backslash", r'name: "a\\"', "name", ["a\\"]),
    ("adjacent strings", 'name: "a" \'b\'\n  "c"', "name", ["abc"]),
    ("adjacent with comment", 'name: "a" # one\n  "b"', "name", ["ab"]),
    ("adjacent with quoting comment", 'name: "a" # say "x"\n  "b"', "name", ["ab"]),
    ("hash in a string", 'name: "a#b" # c', "name", ["a#b"]),
    ("braces in a string", 'name: "}{><"', "name", ["}{><"]),
    ("semicolons", "a: 1; a: 2;\na: 3 ;", "a", ["1", "2", "3"]),
    ("commas", "a: 1, a: 2,\na: 3", "a", ["1", "2", "3"]),
    ("semicolon behind a message", "p { a: 1 }; p { a: 2 },", "p.a", ["2"]),
    ("separator on the next line", "a: 1\n  ;a: 2", "a", ["1", "2"]),
    ("list", "a: [1, 2,3]", "a", ["1", "2", "3"]),
    ("list without colon", "a [ 1 ]", "a", ["1"]),
    ("empty list", "a: []", "a", []),
    ("list over lines", "a: [ # x\n 1, # y\n 2\n]", "a", ["1", "2"]),
    ("list of strings", 'a: [\'x\', "y" "z"]', "a", ["x", "yz"]),
    ("list and single", "a: [1, 2] a: 3", "a", ["1", "2", "3"]),
    ("list of messages", "p: [{ a: 1 }, < a: 2 >]", "p.a", ["2"]),
    ("angle brackets", "p < q < a: 1 > >", "p.q.a", ["1"]),
    ("colon before a brace", "p: { a: 1 }", "p.a", ["1"]),
    ("colon before an angle", "p: < a: 1 >", "p.a", ["1"]),
    ("brace on the next line", "p\n{\na: 1\n}", "p.a", ["1"]),
    ("brace touches", "p{a:1}q{}", "p.a", ["1"]),
    ("empty message", "p { } a: 1", "a", ["1"]),
    ("numbers", "a: .7 a: 0. a: -1 a: - 2 a: 1e-5 a: 1.5f", "a", [".7", "0.", "-1", "- 2", "1e-5"]),
    ("hex, octal, inf", "a: 0x1F a: 017 a: -inf a: nan", "a", ["0x1F", "017", "-inf", "nan"]),
    ("bools", "a: true a: False a: 1 a: t", "a", ["true", "False", "1", "t"]),
    ("enums", 'a: MAX a: "MAX" a: 0', "a", ["MAX", "MAX", "0"]),
    ("value on the next line", 'name:\n  "a"\n', "name", ["a"]),
    ("comment before the value", "a: # why\n 1", "a", ["1"]),
    ("comment before the colon", "a # why\n : 1", "a", ["1"]),
    ("comment at the end", "a: 1\n# the end", "a", ["1"]),
    ("comment in a brace", "p { # why\n a: 1 # b\n # c\n } # d", "p.a", ["1"]),
    ("non-ASCII", 'name: "数据/größe" # größe', "name", ["数据/größe"]),
    ("extension", "[fork.thing]: 1", "[fork.thing]", ["1"]),
    ("placeholder words", "a: cls6x a: 3cls", "a", ["cls6x", "3cls"]),
    ("placeholder shell", "a: ${n} a: 2${n}", "a", ["${n}", "2${n}"]),
    ("placeholder CMake", "a: @NET_N@", "a", ["@NET_N@"]),
    ("placeholder Jinja", "a: {{ n }} p { a: 1 }", "a", ["{{ n }}"]),
    ("placeholder in a list", "a: [{{ n }}, ${m}]", "a", ["{{ n }}", "${m}"]),
    ("placeholder in a string", 'name: "${net}_train"', "name", ["${net}_train"]),
    ("nothing", "", "a", []),
    ("only a comment", "# nothing\n\n", "a", []),
]


def parsed(text: str | bytes) -> Document | TextError:
    try:
        return parse(text)
    except TextError as error:
        return error


def values(document: Document, path: str) -> list[str]:
    *outer, name = [path] if path.startswith("[") else path.split(".")
    message: Message = document.root
    for part in outer:
        inner = message.message(part)
        assert inner is not None
        message = inner
    return list(message.strings(name))


@pytest.mark.parametrize(
    ("text", "path", "wanted"), [d[1:] for d in DIALECTS], ids=[d[0] for d in DIALECTS]
)
def test_dialect(text: str, path: str, wanted: list[str]) -> None:
    data = text.encode()
    document = parse(data)
    assert document.encode() == data
    assert str(document) == text
    assert values(document, path)[: len(wanted)] == wanted
    assert bool(wanted) == bool(values(document, path))


def test_bytes_that_are_not_utf8_come_back() -> None:
    data = 'name: "路径" # '.encode("gbk") + b"\xff\xfe\n" + b'top: "\xe9"\r\n'
    document = parse(data)
    assert document.encode() == data
    assert document.root.string("top").encode("utf-8", "surrogateescape") == b"\xe9"


def test_byte_order_mark_is_kept_apart() -> None:
    document = parse(b'\xef\xbb\xbfname: "a"')
    assert (document.bom, document.fields[0].name) == ("\ufeff", "name")


def test_read_gives_the_path(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"a: 1\r\n")
    assert read(path).path == str(path)
    assert read(path).encode() == b"a: 1\r\n"


def test_offsets_point_at_the_names() -> None:
    source = "a: 1 # x\n p { b: 2 }\n"
    first, second = parse(source).fields
    assert (first.offset, second.offset) == (0, source.index("p"))
    assert second.body.fields[0].offset == source.index("b")


def test_nesting_up_to_the_limit() -> None:
    text = "a {" * MAX_DEPTH + "}" * MAX_DEPTH
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "# x\n" * 5_000 + "a: 1\n" + "#\n" * 5_000,
        "a {\n" + "# x\n" * 5_000 + "b: 1" + "\n#" * 5_000 + "\n}",
        "a: [" + "#\n" * 5_000 + "1" + "#\n" * 5_000 + "]",
        "a: 1 # x\r\r\r\n" + "b: 1 #" + "\r" * 9 + "\n",
        "a: 1 #\r\n#\r",
    ],
    ids=["outside", "in a message", "in a list", "carriage returns", "at the end"],
)
def test_any_number_of_comments(text: str) -> None:
    document = parse(text)
    assert str(document) == text
    assert document.root.last("a") is not None


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_generated_documents_round_trip(generated: tuple[str, Said]) -> None:
    text, wanted = generated
    document = parse(text.encode())
    assert str(document) == text
    assert said(document.fields) == wanted


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            [*"{}<>[]:;,\"'#\\$@-. \n\r\t\x00=é\u3000\ufeff", "a", "a: 1", "{{", "<" * 7]
        )
    )
)
def test_any_text_round_trips_or_is_refused(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = parsed(text)
    if isinstance(found, TextError):
        assert 1 <= found.line <= text.count("\n") + 1
        assert found.column >= 1
    else:
        assert str(found) == text


Corpus = list[tuple[dict[str, Any], bytes]]


@pytest.fixture(scope="module")
def corpus(shared: Path) -> Corpus:
    """Real files, and what the index says about each."""
    folder = shared / "corpus" / "prototxts"
    entries = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return [(entry, (folder / entry["file"]).read_bytes()) for entry in entries]


def test_corpus_round_trips_or_is_refused(corpus: Corpus) -> None:
    refused = {}
    for entry, data in corpus:
        found = parsed(data)
        if isinstance(found, TextError):
            refused[entry["file"]] = found
        else:
            assert found.encode() == data, entry["file"]
    broken = {e["file"]: e for e, _ in corpus if e["kind"] == "broken"}
    templates = {
        name for name, e in broken.items() if any("placeholder" in o for o in e["oddities"])
    }
    assert refused.keys() == broken.keys() - templates
    for name, error in refused.items():
        if "conflict" in str(error):
            line = re.match(r"line (\d+):(\d+)", broken[name]["reason"])
            assert line is not None
            assert (error.line, error.column) == (int(line[1]), int(line[2]))
            assert error.source_line.startswith("<<<<<<< ")


def test_corpus_reads_as_protobuf_reads_it(corpus: Corpus) -> None:
    """Nets that plain Caffe reads; the small ones, for protobuf's text parser is slow."""
    nets = [data for e, data in corpus if e["strict_ssd"] and e["kind"] == "net-v2"]
    for data in (data for data in nets if len(data) < 15_000):
        wanted = text_format.Parse(data.decode("utf-8-sig"), caffe_pb2.NetParameter())
        root = parse(data).root
        found = [layer for layer in root.all("layer") if isinstance(layer, Message)]
        assert root.string("name") == wanted.name
        assert [
            (m.string("name"), m.string("type"), m.strings("bottom"), m.strings("top"))
            for m in found
        ] == [(m.name, m.type, tuple(m.bottom), tuple(m.top)) for m in wanted.layer]
    assert nets
