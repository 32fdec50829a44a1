"""Text that is read as another: keys by a lenient parser behind us, names by a person.

A server that reads "Name" or "paramſ" as "name" and "params" would act on something that the gate never saw
(CVE-2026-27896 was that). So the envelope has known keys only, and where we judge or rewrite, no look-alikes.

A person reads "Сlaude" with a Cyrillic letter as "Claude". `skeleton` is what a name looks like (after
UTS 39, section 4, for the letters of ASCII), `unseen` what of it does not show at all.
"""

import re
import unicodedata
from typing import Final


def fold(key: str) -> str:
    """What a lenient parser may make of `key`: no case, no compatibility forms (ſ, Kelvin, full width)."""
    if key.isascii():
        return key.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())


ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
JUDGED: dict[tuple[str, ...], dict[str, str]] = {
    path: {fold(key): key for key in keys}
    for path, keys in {
        ("params",): ("name", "uri", "arguments", "ref", "requestId", "progressToken", "_meta"),
        ("params", "ref"): ("type", "name", "uri"),
        ("params", "_meta"): ("progressToken",),
    }.items()
}
"""Below the envelope: path of an object, folded key, the key as it must be spelt."""
_SPELT: Final = {path: frozenset(spelling.values()) for path, spelling in JUDGED.items()}


def objection(tree: object) -> str | None:
    """A sentence about the first key of a decoded message that must not travel; None when all may."""
    if not isinstance(tree, dict):
        return None
    if not ENVELOPE.issuperset(tree):
        first = next(key for key in tree if key not in ENVELOPE)
        if fold(first) in ENVELOPE:
            return "A key of the message looks like one of JSON-RPC: spell it exactly."
        return "The message has a key that JSON-RPC does not know: put it into params or params._meta."
    params = tree.get("params")
    if not isinstance(params, dict):
        return None
    for path, spelling in JUDGED.items():
        inner = params if len(path) == 1 else params.get(path[1])
        if not isinstance(inner, dict) or _SPELT[path].issuperset(inner):
            continue
        for key in inner:
            right = spelling.get(fold(key), key)
            if right != key:
                return f"A key of {'.'.join(path)} looks like '{right}' but is another: spell it exactly."
    return None


_LOOKS: Final = {
    letter: alike
    for alike, letters in {
        "a": "\u0251\u0391\u03b1\u0410\u0430\u13aa\u15c5\u1d00\u237a\u2c65\ua4ee",
        "b": (
            "\u0180\u0184\u0185\u0299\u0392\u03b2\u0412\u042c\u0432\u044c\u13cf\u13f4\u1472\u15af"
            "\u15f7\u1d03\ua4d0\ua7b4\ua7b5"
        ),
        "c": "\u023c\u03f2\u03f9\u0421\u0441\u13df\u1d04\u2ca4\u2ca5\ua4da\uabaf",
        "d": "\u0111\u0501\u13a0\u13e7\u146f\u15de\u15ea\u1d05\ua4d2\ua4d3",
        "e": "\u0247\u0395\u0415\u0435\u04bd\u13ac\u1d07\u212e\u22ff\u2c7b\u2d39\ua4f0\uab32",
        "f": "\u03dc\u0584\u15b4\u1e9d\ua4dd\ua730\ua798\ua799\uab35",
        "g": "\u018d\u01e5\u0261\u0262\u050c\u0581\u13c0\u13f3\u1d83\ua4d6",
        "h": "\u0127\u029c\u0397\u03b7\u041d\u043d\u04bb\u0570\u13bb\u13c2\u157c\u2c8e\u2c8f\ua4e7",
        "i": "\u0131\u0268\u0269\u026a\u03b9\u0456\u04cf\u13a5\u1fbe\u2373\ua647\uab75",
        "j": "\u0237\u037f\u03f3\u0408\u0458\u13ab\u148d\u1d0a\ua4d9\ua7b2",
        "k": "\u039a\u03ba\u041a\u043a\u13e6\u16d5\u1d0b\u2c94\u2c95\ua4d7",
        "l": (
            "\u0142\u0196\u01c0\u029f\u0399\u0406\u04c0\u06f1\u13de\u14aa\u16c1\u2223\u23fd\u2c92"
            "\u2cd0\u2d4f\ua4e1\ua4f2\uffe8"
        ),
        "m": "\u039c\u03bc\u03fa\u03fb\u041c\u043c\u13b7\u15f0\u16d6\u1d0d\u2c98\u2c99\ua4df\ua7fa",
        "n": "\u0274\u039d\u0578\u057c\u1d0e\u2c9a\ua4e0",
        "o": (
            "\u00f8\u0275\u039f\u03bf\u03c3\u041e\u043e\u0555\u0585\u06f5\u0966\u09e6\u0a66\u0ae6"
            "\u0b20\u0b66\u0be6\u0c66\u0ce6\u0d20\u0d66\u0e50\u0ed0\u101d\u1040\u10ff\u12d0\u1d0f"
            "\u1d10\u1d11\u2c9e\u2c9f\u2d54\u3007\ua4f3\uab3d"
        ),
        "p": "\u03a1\u03c1\u03f1\u0420\u0440\u13e2\u146d\u1d18\u2374\u2ca2\u2ca3\ua4d1",
        "q": "\u051b\u0563\u0566\u2d55\ua7af",
        "r": ("\u01a6\u0280\u0281\u0433\u13a1\u13d2\u1587\u1d19\u1d1a\u1d26\u2c85\ua4e3\uab47\uab48\uab81"),
        "s": "\u01bd\u0405\u0455\u054f\u13d5\u13da\ua4e2\ua731\uabaa",
        "t": "\u0288\u03a4\u03c4\u0422\u0442\u13a2\u1d1b\u22a4\u27d9\u2ca6\u2ca7\ua4d4",
        "u": "\u0289\u028b\u03c5\u054d\u057d\u1200\u144c\u1d1c\u222a\u22c3\ua4f4\ua79f\uab4e\uab52",
        "v": "\u03bd\u0474\u0475\u06f7\u13d9\u142f\u1d20\u2228\u22c1\u2d38\ua4e6\ua6df\uaba9",
        "w": "\u026f\u0461\u051c\u051d\u0561\u13b3\u13d4\u1d21\ua4ea\uab83",
        "x": (
            "\u00d7\u03a7\u0425\u0445\u1541\u157d\u166d\u16b7\u2573\u292b\u292c\u2a2f\u2cac\u2d5d\ua4eb\ua7b3"
        ),
        "y": (
            "\u0263\u028f\u03a5\u03b3\u03d2\u0423\u0443\u04ae\u04af\u10e7\u13a9\u13bd\u1d8c\u1eff"
            "\u213d\u2ca8\ua4ec\uab5a"
        ),
        "z": "\u0396\u13c3\u1d22\ua4dc\uab93",
    }.items()
    for letter in letters
}
"""Letters that show like one of ASCII and are no form of it that NFKD would undo: those of Unicode's table of
confusables in the basic plane, and Latin letters with a stroke."""
_MARKS: Final = str.maketrans("01i|!$5@43", "ollllssaae")
_SHOW_NOTHING: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U0001d159"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""What is default-ignorable, or blank, although its category says that it is a letter, a mark or a symbol."""
_EMPTY_LINES: Final = re.compile(r"\n(?: *\n){2,}")
_BLANKS: Final = re.compile(r" {41,}")
"""More than a text is indented by."""
_WITH_LATIN: Final = frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts that are written together (UTS 39, 5.2)."""


def unseen(character: str) -> bool:
    """Whether `character` does not show, shows as a blank that is no space, or turns the writing around."""
    category = unicodedata.category(character)
    blank = category[0] == "Z" and character != " "
    return category[0] == "C" or blank or character in _SHOW_NOTHING


def visible(text: str, but: str = "") -> str:
    """`text` with what does not show, or moves the cursor of a terminal, by its number; `but` stays."""
    return "".join(
        f"<U+{ord(c):04X}>" if (unseen(c) or not c.isprintable()) and c not in but else c for c in text
    )


def exact(text: str) -> str:
    """`text` in lines, for somebody who decides about it: each character can be seen, and no emptiness leads
    away from what comes after it. Done twice, it changes nothing more.
    """
    lines = _EMPTY_LINES.sub(_empty_lines, visible(text, but="\n"))
    return _BLANKS.sub(lambda found: f"<{len(found[0])} blanks>", lines)


def _empty_lines(found: re.Match[str]) -> str:
    return f"\n<{found[0].count(chr(10)) - 1} empty lines>\n"


def skeleton(text: str) -> str:
    """What `text` looks like, in small letters of ASCII as far as these resemble it.

    Not for showing: "i", "1" and "l" are one, and so are "rn" and "m".
    """
    whole = unicodedata.normalize("NFKD", _looks(text))
    plain = [
        character for character in whole if not unicodedata.combining(character) and not unseen(character)
    ]
    return _looks(_looks("".join(plain)).casefold()).translate(_MARKS).replace("rn", "m").replace("vv", "w")


def _looks(text: str) -> str:
    return "".join(_LOOKS.get(character, character) for character in text)


def mixes_scripts(text: str) -> bool:
    """Whether a word of `text` has Latin letters beside those of a script that is not written with them."""
    return any(
        "LATIN" in found and not found <= _WITH_LATIN
        for found in (set(map(_script, filter(str.isalpha, word))) for word in text.split())
    )


def _script(letter: str) -> str:
    """The first word of its name, which is its script for all that matters here."""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "")
    return name.partition(" ")[0].partition("-")[0]
