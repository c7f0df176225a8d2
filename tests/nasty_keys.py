"""Keys that something trips over: names of other systems, escapes, twins that look alike, the longest there are."""

from __future__ import annotations

import random
import unicodedata

__all__ = ["REFUSED", "nasty_keys"]

_FIXED = [
    *("a/b", "a", "A", "x.json", "x.timeline.json", "x.pending", "k_r2", "p/x.abcdef.0", "files", "datasets/x"),
    *("%2e%2e", "%2F", "a%2Fb", "CON", "con", "nul.txt", "C:", "a\\b", "~", "$HOME", "*", "?", "-rf", "'", '"'),
    *("dot.", "dot", " ", " lead", "trail ", "..a", "a..", "...", "a'b\"c`d", "{}", "[0]", "#", "a#b", "a?b=c"),
    *("&amp;", "<b>", "key\u200b", "key", "\u202eabc", "\ufeff", "日本/語", "😀", "ß", "SS"),
    *("s" * 255, "S" * 255, "ü" * 127, "/".join(["d" * 127] * 8), "/".join(["d" * 204] * 5)),
]
_PARTS = (
    *("a", "A", "x.json", "%2e", "CON", "é", "e\u0301", "\u212b", "Å", "\u017f", "s", " ", "b.", "日", "😀", "~1"),
    *("_r2", "\\"),
)

REFUSED: tuple[str, ...] = (
    *("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "./a", "a/.", "nul\0", "line\n", "\x7f", "\x85", "\ud800"),
    *("k" * 256, "/".join(["k" * 204] * 5) + "k", "ü" * 128, "a" * 1025),
)
"""What is no key."""


def nasty_keys(count: int, seed: int) -> list[str]:
    """Return so many different keys, all allowed, beginning with the nastiest."""
    chance = random.Random(seed)
    keys = dict.fromkeys(_FIXED)
    while len(keys) < count:
        segments = ["".join(chance.choices(_PARTS, k=chance.randint(1, 6))) for _ in range(chance.randint(1, 4))]
        key = "/".join(segments)
        for form in (key, key.swapcase(), unicodedata.normalize("NFC", key), unicodedata.normalize("NFD", key)):
            if len(form.encode()) <= 1024 and not {".", ".."} & set(form.split("/")):
                keys[form] = None
    return list(keys)[:count]
