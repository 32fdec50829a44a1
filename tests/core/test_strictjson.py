import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import strictjson
from tests.harness.jsontext import json_texts


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def keys_of(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(keys_of, value.values()))
    return sum(map(keys_of, value)) if isinstance(value, list) else 0


def containers_of(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + sum(map(containers_of, inner))


@given(json_texts)
def test_limits_are_exact_for_any_json(text: str) -> None:
    value, data = json.loads(text), text.encode()
    counts = {"depth": depth_of(value), "keys": keys_of(value), "containers": containers_of(value)}
    assert strictjson.exceeds(data, **counts) is None
    for name, count in counts.items():
        if count:
            assert strictjson.exceeds(data, **(counts | {name: count - 1})) == name


@given(st.binary())
def test_limits_of_anything_have_an_answer(data: bytes) -> None:
    assert strictjson.exceeds(data, depth=0, keys=0, containers=0) in (None, "depth", "keys", "containers")


any_text = st.text(st.characters(), max_size=20)  # lone surrogates too
any_bytes = st.one_of(st.binary(), any_text.map(lambda text: text.encode("utf-8", "surrogatepass")))


@given(any_bytes, st.integers(0, 3))
def test_utf8_is_judged_as_python_judges_it_at_every_step(data: bytes, shift: int) -> None:
    def decodes(data: bytes) -> bool:
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
        return True

    assert strictjson.is_utf8(data) == decodes(data)
    long = b"x" * (strictjson.STEP_BYTES - shift) + data
    assert strictjson.is_utf8(long) == decodes(long)


@given(any_text, st.integers(0, 12))
def test_surrogate_escapes_are_replaced_without_moving_anything(text: str, shift: int) -> None:
    short = json.dumps(text).encode()
    for data in (short, b"x" * (strictjson.STEP_BYTES - shift) + short):
        repaired = strictjson.without_surrogates(data)
        assert len(repaired) == len(data)
        assert not any(b"\\ud%x" % high in repaired for high in range(8, 16))
    expected = "".join("\ufffd" if 0xD800 <= unit < 0xE000 else chr(unit) for unit in units(text))
    assert json.loads(strictjson.without_surrogates(short)) == expected


def units(text: str) -> list[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]


@given(json_texts)
def test_json_without_duplicates_has_a_tree(text: str) -> None:
    value = json.loads(text)
    tree = strictjson.tree(text)
    assert isinstance(value, dict) == isinstance(tree, dict)
    if isinstance(value, dict):
        assert strictjson.top_level_keys(text) == list(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":null,"a":null}',
        '[{"b":{"a":1,"\\u0061":2}}]',
        '{"a":{"b":[],"c":"é","b":[]}}',
        '{"a":1,"a":1,"b":"' + "x" * strictjson.SMALL + '"}',
    ],
)
def test_a_key_twice_is_found(text: str) -> None:
    with pytest.raises(strictjson.DuplicateKey):
        strictjson.tree(text)


@pytest.mark.parametrize(
    "text", ["null", "[null]", '{"a": 1.0}', '{"a":1e400}', '{"a":18446744073709551616}']
)
def test_both_ways_to_a_tree_end_at_one(text: str) -> None:
    """However it is written, and also when it is too large for the fast way."""
    padded = text + " " * strictjson.SMALL
    assert _shape(strictjson.tree(text)) == _shape(strictjson.tree(padded))


@given(json_texts)
def test_both_ways_to_a_tree_of_anything_end_at_one(text: str) -> None:
    compact = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    assert _shape(strictjson.tree(compact)) == _shape(strictjson.tree(compact + " " * strictjson.SMALL))


def _shape(tree: object) -> object:
    """Without numbers, which may be anything."""
    if isinstance(tree, dict):
        return {key: _shape(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return list(map(_shape, tree))
    return 0 if isinstance(tree, int | float) and not isinstance(tree, bool) else tree


@pytest.mark.parametrize("digits", [5000, 1_000_000])
def test_numbers_of_any_length_are_not_converted(digits: int) -> None:
    assert strictjson.tree('{"a":' + "9" * digits + "}")
