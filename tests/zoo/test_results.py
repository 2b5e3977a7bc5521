"""zoo.json, zoo.csv and the pages: complete, as documented, and not broken by any name."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffefold import zoo
from caffefold.testing import RandomLayers, input_layer, net_text, net_weights, relu
from caffefold.zoo import Facts, Model, Outcome, Plan, Result
from caffefold.zoo.pages import site
from tests.support.zoo import body, deploy, model, put

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\u202e\x1b[31m"


@pytest.fixture
def done(source: Path, target: Path) -> Result:
    """A zoo with one of each: converted, refused, an orphan."""
    model(source / "a", seed=1)
    put(source / "b.caffemodel", net_weights(body(prefix="b_", channels=6)))
    put(source / "b.prototxt", deploy(body(prefix="b_")))
    put(source / "c.prototxt", deploy(body(prefix="c_")))
    return zoo.run(zoo.plan(source, target, jobs=1), engine="threads")


class Seen(HTMLParser):
    """Tags and links of a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_zoo_json_is_as_documented(done: Result, target: Path) -> None:
    schema = json.loads((files("caffefold.zoo") / "zoo.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads((target / "zoo.json").read_text())
    jsonschema.validate(document, schema)
    assert document["summary"] == {
        "models": 2, "converted": 1, "refused": 1, "failed": 0, "waiting": 0,
    }  # fmt: skip
    first, second = document["models"]
    assert first["result"]["layers"] == {"before": 6, "after": 4}
    assert (first["result"]["folds"], first["result"]["folded"]) == (1, 2)
    assert 0 < first["result"]["largest_error"] < 1e-6
    assert second["reason"].endswith("'b_conv' weights is 6x3x3x3, the prototxt says 4x?x3x3") or (
        "b_conv" in second["reason"]
    )
    assert document["orphans"] == [
        {
            "path": "c.prototxt",
            "kind": "prototxt",
            "reason": "no weights in the zoo",
        }
    ]
    assert done.ok is False


@pytest.mark.usefixtures("done")
def test_zoo_csv(target: Path) -> None:
    with (target / "zoo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["converted", "refused"]
    assert rows[0]["layers_before"] == "6"
    assert float(rows[0]["largest_error"]) < 1e-6
    assert rows[1]["layers_after"] == ""


def test_cells_are_no_formulas() -> None:
    name = "=HYPERLINK(1)"
    plan = Plan("zoo", "out", (Model(name, "@x.caffemodel"),))
    outcome = Outcome(name, "refused", "-1 is wrong")
    cells = next(csv.reader(site.as_csv(Result(plan, (outcome,))).splitlines()[1:]))
    assert cells[:4] == ["'=HYPERLINK(1)", "refused", "'-1 is wrong", "'@x.caffemodel"]


@pytest.mark.usefixtures("done")
def test_every_link_leads_to_a_file(target: Path) -> None:
    for path in target.rglob("*.html"):
        seen = Seen(path.read_bytes())
        assert seen.links
        for href in seen.links:
            if href.startswith("#"):
                assert f' id="{href[1:]}"' in path.read_text()
                continue
            assert href.startswith("./")
            assert (path.parent / href).is_file(), (path, href)


@pytest.mark.usefixtures("done")
def test_pages_load_nothing(target: Path) -> None:
    for path in target.rglob("*.html"):
        content = path.read_text()
        assert not re.search(r"https?://|@import|url\(", content)
        assert not any(name.startswith("on") for name in Seen(content.encode()).attributes)
        assert "default-src 'none'; img-src data:; style-src" in content


@pytest.mark.usefixtures("done")
def test_a_page_tells_the_fate_of_each_layer(target: Path) -> None:
    content = (target / "a/net.html").read_text()
    assert re.search(
        r'class="absorber"><summary title="conv: Convolution [^"]*; absorbed bn, ', content
    )
    assert re.search(r'class="gone"><summary title="bn: BatchNorm [^"]*; into conv"', content)
    assert re.search(r'class=""><summary title="relu: ReLU [0-9x]*"', content)


def test_a_page_tells_why_a_model_was_refused(done: Result, target: Path) -> None:
    content = (target / "b.html").read_text()
    assert "b_conv" in content
    assert done.outcomes[1].status == "refused"


def test_hostile_names_are_text(source: Path, target: Path) -> None:
    """In layers, nets and files."""
    make = RandomLayers()
    evil = "<b/onclick=x>&amp;'%23?"
    layers = [
        make.conv(evil, "data", 3, 4, top=evil),
        make.batch_norm("n", evil, 4, top=evil),
        relu("r", evil),
    ]
    put(
        source / "<i>#&'%.prototxt",
        net_text([input_layer(1, 3, 8, 8), *layers], 'name: "<u>net</u>"\n'),
    )
    put(source / "<i>#&'%.caffemodel", net_weights(layers))
    assert zoo.run(zoo.plan(source, target, jobs=1), engine="threads").ok
    for path in target.rglob("*.html"):
        seen = Seen(path.read_bytes())
        assert not {"b", "i", "u"} & set(
            re.findall(r"<(b|i|u)[ /]?onclick|<(?:i|u)>", path.read_text())
        )
        assert "onclick" not in seen.attributes
        assert seen.tags.count("script") == (1 if path.name == "index.html" else 0)
        for href in seen.links:
            from urllib.parse import unquote

            assert href.startswith("#") or (path.parent / unquote(href)).is_file()


@given(st.text(alphabet=st.characters(), max_size=30), st.text(max_size=30))
def test_whatever_is_put_in_stays_text(name: str, reason: str) -> None:
    stem = name.replace("/", "").strip(".") or "x"
    outcome = Outcome(stem, "refused", reason + HOSTILE, notes=(HOSTILE, name))
    facts = Facts(name + HOSTILE, 3, 2, 1, 1, 1e-8, 10, 9, {HOSTILE: 1}, (HOSTILE,))
    good = Outcome(stem + "2", "converted", prototxt=HOSTILE, facts=facts)
    models = (Model(stem, name, (HOSTILE,), title=HOSTILE), Model(stem + "2", HOSTILE))
    plan = Plan(HOSTILE, "out", models, (zoo.Orphan(HOSTILE, "prototxt", name),))
    whole = site.index_page(Result(plan, (outcome, good), stale=(HOSTILE,)))
    for content, scripts in ((whole, 1), (site.plain_page(models[0], outcome), 0)):
        seen = Seen(content)
        assert "img" not in seen.tags
        assert seen.tags.count("script") == scripts
        assert "onerror" not in seen.attributes
        assert "\x1b" not in content.decode()
        assert "\u202e" not in content.decode()
        assert all(href.startswith("./") for href in seen.links)


def test_markup_escapes_by_default() -> None:
    shown = site.templates().from_string("<p title='{{ it }}'>{{ it }}</p>{{ it | href }}")
    assert shown.render(it="<&>\"'") == (
        "<p title='&lt;&amp;&gt;&#34;&#39;'>&lt;&amp;&gt;&#34;&#39;</p>./%3C%26%3E%22%27"
    )
    assert shown.render(it="a\x1b\u202e\udc80").startswith(r"<p title='a\x1b\u202e\x80'>")
    link = site.templates().from_string("{{ 'javascript:alert(1)' | href }}")
    assert link.render() == "./javascript%3Aalert%281%29"


@pytest.mark.parametrize(("dtype", "name"), [("fp32", "float32"), ("fp16", "half precision")])
def test_a_page_names_the_rounding_of_the_stored_type(
    source: Path, target: Path, dtype: str, name: str
) -> None:
    model(source)
    plan = zoo.plan(source, target, options={"dtype": dtype}, jobs=1)
    assert zoo.run(plan, engine="threads").ok
    (worst,) = json.loads((target / "net.report.json").read_text())["proof"]["folds"]
    content = (target / "net.html").read_text()
    assert f"(conv); {name} rounding allows {worst['allowed']:.1e}; " in content
    assert len(re.findall(r"(float32|half precision) rounding", content)) == 1


@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_the_summary_of_each_engine(source: Path, target: Path, engine: str) -> None:
    """Dask's is in test_cluster."""
    for number in range(3):
        model(source / f"m{number}", seed=number)
    put(source / "bad.caffemodel", b"PK\x03\x04")
    for worked in (4, 0):
        result = zoo.run(zoo.plan(source, target, jobs=1), engine=engine, jobs=2)
        assert result.worked == worked
        assert site.summary(result) == {
            "models": 4, "converted": 3, "refused": 1, "failed": 0, "waiting": 0,
        }  # fmt: skip
