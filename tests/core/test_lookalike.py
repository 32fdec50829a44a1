import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lookalike import ENVELOPE, JUDGED, exact, fold, mixes_scripts, objection, skeleton, unseen


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


@pytest.mark.parametrize(
    "text",
    [
        "Claude",
        "\u0421laude",
        "Cl\u0430ude",
        "C\u217caude",
        "cIaude",
        "C1aude",
        "C|aude",
        "\U0001d4d2laude",
        "\u1d04\u029f\u1d00\u1d1c\u1d05\u1d07",
        "\uff23\uff2c\uff21\uff35\uff24\uff25",
        "Cl\u00e1ud\u00e9",
        "Cla\u200bude",
        "Cla\u0336ude",
        "\u03f9laude",
    ],
)
def test_what_looks_alike_has_one_skeleton(text: str) -> None:
    assert skeleton(text) == "claude"


def test_a_skeleton_tells_words_apart() -> None:
    assert skeleton("Gemini") == skeleton("GerniNl")
    assert skeleton("Gemini") != skeleton("Germany")
    assert skeleton("\u65e5\u672c") == "\u65e5\u672c"
    assert skeleton("Open AI") == "open al"


@pytest.mark.parametrize(
    "character",
    [
        "\u3164", "\uffa0", "\u115f", "\u1160", "\ufe0f", "\ufe00", "\u2800", "\u034f", "\u17b4", "\u180b",
        "\u180e", "\u200b", "\u200d", "\u200e", "\u202e", "\u2066", "\u061c", "\u00ad", "\ufeff", "\u2060",
        "\u00a0", "\u2003", "\u3000", "\u1680", "\u202f", "\u2028", "\u2029", "\n", "\t", "\x00", "\x7f",
        "\U000e0041", "\U000e007f", "\U000e0100", "\U0001d159", "\ud800", "\ue000", "\u0378",
    ],
)  # fmt: skip
def test_what_shows_nothing_is_found(character: str) -> None:
    assert unseen(character)


@pytest.mark.parametrize("character", list(" a-\u00e9\u0416\u05d0\u65e5\u0301\u2764"))
def test_what_shows_is_not(character: str) -> None:
    assert not unseen(character)


@pytest.mark.parametrize(
    ("text", "mixed"),
    [
        ("Claude", False),
        ("\u0421laude", True),
        ("Claude \u0434\u043b\u044f \u0440\u0430\u0431\u043e\u0442\u044b", False),
        ("Claude\u65e5\u672c\u8a9e", False),
        ("\u0440\u0430\u0431\u043e\u0442\u0430", False),
        ("Anthr\u03bfpic", True),
        ("a\u05d0b", True),
        ("\uff23laude 2", False),
        ("Caf\u00e9", False),
        ("", False),
    ],
)
def test_a_word_of_two_alphabets_is_found(text: str, mixed: bool) -> None:
    assert mixes_scripts(text) is mixed


@given(st.text(max_size=40))
def test_any_text_has_a_skeleton_that_shows(text: str) -> None:
    found = skeleton(text)
    assert not any(map(unseen, found.replace(" ", "")))
    mixes_scripts(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{\n "a": 1\n}', '{\n "a": 1\n}'),
        ("a\u202eb\u200bc", "a<U+202E>b<U+200B>c"),
        ("a,\n\nb", "a,\n\nb"),
        ("a," + "\n" * 500 + "b", "a,\n<499 empty lines>\nb"),
        ("a," + "\n   " * 500 + "b", "a,\n<499 empty lines>\n   b"),
        ("a" + " " * 500 + "b", "a<500 blanks>b"),
        ("a,\n" + " " * 40 + "b", "a,\n" + " " * 40 + "b"),
    ],
)
def test_nothing_hides_in_or_behind_emptiness(text: str, shown: str) -> None:
    assert exact(text) == shown
    assert exact(shown) == shown
