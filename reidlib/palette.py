"""The one palette: blue and orange, which readers who cannot tell red from green can tell apart, and a sign beside it.

Right and wrong never differ in colour alone: every picture also bears ``SIGNS``.
"""

INK, FAINT, PRINTED = "#26292e", "#d9dce0", "#8d949b"
BLUE, ORANGE = "#0f5fa8", "#cc5500"
PALE_BLUE, PALE_ORANGE = "#8fbfe6", "#f9bd7f"
TEAL, BROWN = "#63b0ab", "#7a3e12"

QUERY, CORRECT, WRONG, OURS = INK, BLUE, ORANGE, BLUE
SIGNS = {CORRECT: "✓", WRONG: "✗"}
SERIES = (BLUE, "#eda53a", "#3d4248", TEAL, BROWN, "#b9a7e0", "#a8a23c", "#d58bb8")
"""Of curves and bars, in this order: dark and light in turn."""


def ink_on(fill: str) -> str:
    """White or ink, whichever is read better on a colour."""
    return max("#ffffff", INK, key=lambda ink: contrast(ink, fill))


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as WCAG defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))
