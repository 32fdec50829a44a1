"""Bars as SVG that any page may hold: well-formed, in bounds, escaped, without styles and scripts."""

from __future__ import annotations

from xml.etree import ElementTree

from penstock_agent.console.charts import HEIGHT, WIDTH, bars

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("<svg", f'<svg xmlns="{SVG[1:-1]}"', 1))


def test_a_bar_for_each_number_that_is_not_nought_stacked_and_in_bounds() -> None:
    chart = parsed(bars("calls", [("alice", [1, 0, 7]), ("bob", [3, 0, 1])], str))
    rects = chart.findall("rect") or chart.findall(f"{SVG}rect")
    assert [rect.attrib["class"] for rect in rects] == ["c0", "c1", "c0", "c1"]
    assert [rect[0].text for rect in rects] == ["alice: 1", "bob: 3", "alice: 7", "bob: 1"]
    for rect in rects:
        x, y, width, high = (float(rect.attrib[each]) for each in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + width <= WIDTH
        assert y >= 0
        assert y + high <= HEIGHT + 20
    assert float(rects[0].attrib["y"]) > float(rects[1].attrib["y"])
    assert chart.attrib["aria-label"] == "calls"


def test_nothing_is_a_chart_too() -> None:
    assert parsed(bars("calls", [], str)).attrib["role"] == "img"


def test_names_are_escaped_and_nothing_has_a_style_or_script() -> None:
    name = '"><script>alert(1)</script><rect style="x'
    text = bars(name, [(name, [1])], str)
    assert "<script" not in text
    assert len(parsed(text).findall(f"{SVG}rect") or parsed(text).findall("rect")) == 1
    assert "style=" not in text.replace("style=&quot;", "")


def test_many_series_share_the_last_colour() -> None:
    assert 'class="c5"' in bars("x", [(str(n), [1]) for n in range(9)], str)
    assert 'class="c6"' not in bars("x", [(str(n), [1]) for n in range(9)], str)
