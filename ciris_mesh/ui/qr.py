"""A QR code for a terminal: two rows of modules in one row of half blocks, dark on light."""

from __future__ import annotations

from typing import Final

#: Light around the code, in modules: what readers need.
_QUIET: Final = 2
#: (upper light, lower light) -> character. Light modules are drawn, since terminals are dark.
_BLOCKS: Final = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def qr_lines(text: str) -> list[str]:
    """The lines of a code that says `text`.

    Raises:
        ImportError: the extra `qr` is not installed.
    """
    import segno

    code = segno.make(text, error="l", micro=False)
    rows = [[not module for module in row] for row in code.matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))
    return [
        "".join(_BLOCKS[upper, lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]
