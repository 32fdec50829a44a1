import pytest

from penstock.lookalike import ENVELOPE, JUDGED, fold, objection


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("Method", "method"),
        ("paramſ", "params"),
        ("\u212aey", "key"),
        ("ｉｄ", "id"),
        ("ﬁle", "file"),
        ("ß", "ss"),
    ],
)
def test_folding_is_what_lenient_parsers_do(key: str, folded: str) -> None:
    assert fold(key) == folded


def test_every_known_key_passes_and_its_look_alikes_do_not() -> None:
    for key in ENVELOPE:
        assert objection({key: None}) is None
        assert objection({key.upper(): None}) is not None
        assert objection({"\uff49" + key[1:] if key[0] == "i" else key.title(): None}) is not None


@pytest.mark.parametrize("path", list(JUDGED))
def test_every_key_that_we_judge_by_passes_and_its_look_alikes_do_not(path: tuple[str, ...]) -> None:
    def nested(key: str) -> object:
        tree: object = {key: 1}
        for name in reversed(path):
            tree = {name: tree}
        return tree

    for key in JUDGED[path].values():
        assert objection(nested(key)) is None
        sentence = objection(nested(key.upper()))
        assert sentence is not None
        assert f"A key of {'.'.join(path)} looks like '{key}'" in sentence
    assert objection(nested("another")) is None


@pytest.mark.parametrize("tree", [None, 7, "x", [], {"params": []}, {"params": {"_meta": 1, "ref": None}}])
def test_what_is_no_object_has_no_keys(tree: object) -> None:
    assert objection(tree) is None
