"""Reading YAML: plain values with lines, nothing that executes or grows, and never another exception."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.recipe.text import MAX_BYTES, read, scalar, shown, write

plain_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
keys = plain_text | st.sampled_from(["\u0085", "a\n", " ", "1e-3", "?", "-", "<<"])
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    plain_text,
    st.text(st.sampled_from("a \n\r\t\u0085\u2028\ufeff'\""), max_size=4),
    st.sampled_from(
        ["1e-3", "none", "null", "no", "yes", "12", "0x1", "1_000", "1:30", "~", "", " a", "2001-01-01", "="]
    ),
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("-.5", -0.5), ("3.", 3.0), ("007", 7), ("true", True), ("False", False), ("~", None), ("", None)],
)
def test_numbers_and_constants_are_read(text, value):
    found = scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "none", "1:30", "0x10", "1_000", ".inf", "nan", "2001-01-01", "="]
)
def test_what_yaml_1_1_would_twist_stays_text(text):
    assert scalar(text) == text


@given(values)
def test_what_is_written_reads_back_equal(value):
    reading = read(write(value), "x")
    assert reading.faults == []
    assert repr(reading.value) == repr(value)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), values, max_size=4))
def test_other_readers_agree_on_what_is_written(tree):
    """YAML 1.1 readers see the same recipe, so that no other tool misreads a run folder."""
    assert yaml.safe_load(write(tree)) == tree


def test_lines_are_known():
    reading = read("a: 1\nb:\n  c: [2,\n    3]\n", "x")
    assert reading.value == {"a": 1, "b": {"c": [2, 3]}}
    assert reading.lines[("b", "c")] == 3
    assert reading.lines[("b", "c", "1")] == 4


def test_a_byte_order_mark_and_windows_lines_are_read():
    assert read("a: 1\r\nb: 2\r\n", "x").value == {"a": 1, "b": 2}
    assert read("\ufeffa: 1\n", "x").value == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\na: 2\n", 2, "written twice"),
        ("a: 1\nb: &x 1\n", 2, "anchors"),
        ("a: *x\n", 1, "aliases"),
        ("a: !!str 1\n", 1, "tags"),
        ("a: !thing {b: 1}\n", 1, "tags"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("a: [1\n", 2, "not YAML"),
        ("a: 'open\n", 2, "not YAML"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
        ("[a]: 1\n", 1, "a key must be a word"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested too deep"),
    ],
)
def test_faults_have_a_line(text, line, what):
    faults = read(text, "recipe.yaml").faults
    assert any(what in fault.what and fault.where == f"recipe.yaml:{line}" for fault in faults), faults


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "a: \x00", "%YAML " + "9" * 5000 + ".1\n---\na: 1", "a: \ud800"])
def test_texts_that_break_the_parser_are_faults(text):
    assert read(text, "x").faults


def test_a_tag_executes_nothing(tmp_path):
    canary = tmp_path / "canary"
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir", "!!python/name:os.mkdir"):
        assert read(f"a: {tag} ['{canary}']\n", "x").faults
    assert not canary.exists()


def test_bombs_are_refused_at_once():
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    began = time.perf_counter()
    assert read(laughs, "x").faults
    assert read("[" * 100_000, "x").faults
    assert read("a: " + "{b: " * 20_000, "x").faults
    assert read("x" * (MAX_BYTES + 1), "x").faults
    assert time.perf_counter() - began < 1


yamlish = st.text(st.sampled_from("ab:-[]{},&*!|>'\"%@#?\n\t 01.e~<=\\\u0085\ufeff"), max_size=60)


@settings(max_examples=300)
@given(yamlish | st.text(max_size=60))
def test_any_text_is_read_or_is_a_fault(text):
    reading = read(text, "x")
    assert all(fault.where.startswith("x") for fault in reading.faults)


@given(st.text(max_size=200))
def test_what_is_shown_can_be_printed(text):
    assert shown(text).isprintable()
    assert len(shown(text)) <= 60
    shown(text).encode()
