"""Texts in Markdown are read as they were written, by an independent reader."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from provenet.report.markdown import inline, paragraph, prose, table


def seen(text: str) -> str:
    """A text as a reader sees it: on one line, without what no page can hold."""
    return re.sub(r"[\x00-\x1f\x7f]", "", " ".join(text.split()))


def parse(text: str) -> list[Any]:
    """The tokens of a Markdown text, as an independent reader takes them."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return [leaf for token in tokens for leaf in ([token, *(token.children or [])])]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="a_*b |\\`<>[](){}#~&;!:=-+.1\n\tx/", max_size=24))
@example("[x](y)")
@example("[a]: b")
@example("![x](y) [a][b] <http://a.b>")
def test_any_text_is_read_as_it_was(text: str) -> None:
    leaves = parse(paragraph(text))
    assert [leaf.type for leaf in leaves if leaf.type.endswith("_open")] == (["paragraph_open"] if text.strip() else [])
    assert "".join(leaf.content for leaf in leaves if leaf.type not in ("inline",)) == seen(text)
    leaves = parse(table(("head", "other"), [(text, "b")]))
    assert [leaf.type for leaf in leaves].count("td_open") == 2
    assert "".join(leaf.content for leaf in leaves if leaf.type not in ("inline",)) == f"headother{seen(text)}b"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a_*b |\\<>[](){}#~&;!:=-+.1\n\tx/", max_size=24))
def test_prose_escapes_as_records_do_and_keeps_code_and_addresses(text: str) -> None:
    assert prose(text) == inline(text)
    if text.strip() == text and "  " not in text and not set("\n\t") & set(text):
        assert prose(f"`{text}`") == f"`{text}`"
    assert prose(f"a_b, https://a.b/c_d* {text}") == f"a_b, <https://a.b/c_d*> {inline(text)}".rstrip()
