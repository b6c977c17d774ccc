"""Pages for managers: whole, safe whatever is put in, and readable without pictures."""

from html.parser import HTMLParser
from typing import Any

from recoup_cli.report_html import MAX_ROWS, bars, cards, notes, page, paragraph, section, table

EVIL = "<script>alert('x')</script>&\""
VOID = {"meta", "br", "link"}


class Balanced(HTMLParser):
    """Follows tags, and keeps the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def everything(text: str) -> str:
    """A page with the text in every place that takes one."""
    blocks = [
        cards([(text, text, text)]),
        section(text, [paragraph(text), notes([text])], text),
        table([text, text], [[text, [text, text]]], numbers=[0], caption=text),
        bars([(text, 3), (text, 0)], caption=text, unit=text),
    ]
    return page(text, [text], blocks, text)


def test_whatever_is_put_in_stays_text() -> None:
    """A rule's name may hold anything; nothing of it becomes a tag, and all of it can be read."""
    read = Balanced(everything(EVIL))

    assert "script" not in read.tags
    assert read.open == []
    assert sum(words.count(EVIL) for words in read.words) >= 15


def test_a_page_needs_nothing_else() -> None:
    """It can be mailed, printed and kept: nothing is fetched, nothing runs."""
    text = everything("x")

    assert "default-src 'none'" in text
    for fetches in ("src=", "href=", "url(", "@import", "<script", "onclick"):
        assert fetches not in text


def test_bars_say_their_figures_in_words() -> None:
    """Whoever can't see the bar reads the number; the longest fills its place."""
    text = bars([("late", 1_200), ("early", 300)])

    assert "1,200" in text
    assert 'width="100.00"' in text
    assert 'width="25.00"' in text


def test_empty_parts_are_left_out() -> None:
    """No heading stands over nothing."""
    assert section("Money", [table(["a"], []), bars([]), notes([])]) == ""


def test_long_tables_end() -> None:
    """The rows beyond are counted."""
    text = table(["n"], [[str(n)] for n in range(MAX_ROWS + 7)])

    assert "and 7 more rows" in text
    assert text.count("<tr>") == MAX_ROWS + 1
