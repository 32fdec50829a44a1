"""Hypothesis strategies for JSON texts: odd spellings of valid ones, and messages that are nearly right."""

import json

from hypothesis import strategies as st

_spaces = st.text(" \t\r\n", max_size=2)
_characters = st.characters(codec="utf-8")
_numbers = st.one_of(
    st.integers().map(str),
    st.integers(10**39, 10**40).map(str),
    st.sampled_from(["1e400", "-0", "0.10", "1E+2", "-1.5e-300"]),
)
_strings = st.text(_characters, max_size=8).flatmap(
    lambda text: st.sampled_from([json.dumps(text), json.dumps(text, ensure_ascii=False)])
)
_scalars = st.one_of(_numbers, _strings, st.sampled_from(["null", "true", "false"]))


@st.composite
def _arrays(draw: st.DrawFn, children: st.SearchStrategy[str]) -> str:
    items = [draw(_spaces) + item + draw(_spaces) for item in draw(st.lists(children, max_size=3))]
    return "[" + ",".join(items) + "]"


@st.composite
def _objects(draw: st.DrawFn, children: st.SearchStrategy[str]) -> str:
    keys = draw(
        st.lists(st.text(_characters, max_size=4).map(lambda key: "x" + key), max_size=3, unique=True)
    )
    pairs = [f"{draw(_spaces)}{json.dumps(key)}{draw(_spaces)}:{draw(children)}" for key in keys]
    return "{" + ",".join(pairs) + draw(_spaces) + "}"


json_texts = st.recursive(_scalars, lambda inner: st.one_of(_arrays(inner), _objects(inner)), max_leaves=12)
"""Valid JSON without a key twice in one object; every key starts with "x"."""

json_objects = _objects(json_texts)

_envelope_keys = st.sampled_from(
    ["jsonrpc", "id", "method", "params", "result", "error", "Method", "paramſ", "extra", "\\u0069d"]
)
_envelope_values = st.one_of(
    json_texts,
    st.sampled_from(['"2.0"', "1", '"a"', "null", '{"name":"x"}', '"\\ud800"', "NaN", '"tools/call"']),
)


@st.composite
def _near_messages(draw: st.DrawFn) -> bytes:
    pairs = [("jsonrpc", '"2.0"'), ("id", draw(st.sampled_from(["1", '"1"', "null", "1e400"])))]
    pairs += draw(
        st.sampled_from(
            [
                [("method", '"tools/call"'), ("params", draw(json_objects))],
                [("result", draw(json_texts))],
                [("error", draw(json_objects))],
            ]
        )
    )
    pairs += draw(st.lists(st.tuples(_envelope_keys, _envelope_values), max_size=1))
    pairs = draw(st.permutations(pairs))
    data = ("{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}").encode()
    if draw(st.booleans()):
        return data
    at = draw(st.integers(0, len(data)))  # one slip: a byte lost, added or changed
    return data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 1)) :]


near_messages = _near_messages()
"""JSON-RPC messages, most of them right, some with one slip."""
