"""Letters rendered from the fonts that matplotlib ships: the source task that GlyphNet is pre-trained on.

No digit is among them, so that digits stay an unseen target. A class is a letter *shape*: letters that render the
same in the fonts (Latin A, Greek Α, Cyrillic А) are one class.
"""

import unicodedata
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from data_scripts.cache import cached_arrays
from data_scripts.task import Task, split_rows

SIZE = 32
"""Side of a rendered image in pixels."""

BOX = 26
"""The longer side of a letter's box (ink and side bearings) is scaled to this many pixels and centred."""

MIN_FACES = 8
"""A letter must stand in at least this many faces to be a class."""

SAME_SHAPE = 0.02
"""Two renderings count as the same below this mean absolute pixel difference (values in [0, 1])."""

LOOKALIKE = 0.65
"""A letter looks like a digit from this likeness on (see `digit_likeness`)."""

READ_AS_DIGITS = "OoQDlIiZzbGSsgqBЗзЧ"
"""Letters that people read as digits, whatever their pixels say: left out together with those that measure so."""

RENDER_VERSION = "1"
"""Part of the cache file's name: raise it when anything that changes the pixels changes."""


@lru_cache(maxsize=1)
def letter_faces() -> tuple[Path, ...]:
    """Return the font files used: DejaVu Sans, Sans Mono and Serif, and STIX General, in all their styles.

    Left out, each for a reason: ``LastResort`` (placeholder boxes for every character), the size and non-Unicode
    parts of STIX (symbols), DejaVu Display (no letters), Computer Modern (an encoding of its own, not Unicode).
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    wanted = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")
    faces = [p for p in sorted(folder.glob("*.ttf")) if p.stem.startswith(wanted) and "Display" not in p.stem]
    if len(faces) < MIN_FACES:
        raise FileNotFoundError(
            f"{len(faces)} suitable font files in {folder}, at least {MIN_FACES} expected: is this matplotlib complete?"
        )
    return tuple(faces)


def _is_plain_letter(code: int) -> bool:
    """Upper-case, lower-case or caseless letter that is not a composition (é) or a small raised copy (ʰ)."""
    return unicodedata.category(chr(code)) in {"Lu", "Ll", "Lo"} and not unicodedata.decomposition(chr(code))


def _coverage() -> dict[int, list[int]]:
    """Map each candidate letter to the faces (as indices) that hold it."""
    coverage: dict[int, list[int]] = {}
    for index, path in enumerate(letter_faces()):
        for code in FT2Font(str(path)).get_charmap():
            if _is_plain_letter(code):
                coverage.setdefault(code, []).append(index)
    return {code: held for code, held in sorted(coverage.items()) if len(held) >= MIN_FACES}


def render(text: str, face: Path, *, size: int = SIZE, box: int = BOX) -> np.ndarray:
    """Draw one character so that the longer side of its box is ``box`` pixels, centred.

    The box is the font's: ink and side bearings, so the ink itself may be a few pixels smaller.

    Returns:
        uint8 ``(size, size)``, 255 is full ink on a background of 0; all zeros where the face draws nothing.
    """
    font = ImageFont.truetype(str(face), 96)
    left, top, right, bottom = font.getbbox(text)
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0:
        return np.zeros((size, size), np.uint8)
    ink = Image.new("L", (width, height))
    ImageDraw.Draw(ink).text((-left, -top), text, fill=255, font=font)
    scale = box / max(width, height)
    fitted = ink.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX)
    canvas = Image.new("L", (size, size))
    canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return np.asarray(canvas)


def _merge_same_shapes(pictures: dict[int, dict[int, np.ndarray]]) -> dict[int, int]:
    """Map every letter to the first letter that renders the same in at least half of the faces both stand in."""
    codes = list(pictures)
    blurred = {
        code: {face: _coarse(picture) for face, picture in by_face.items()} for code, by_face in pictures.items()
    }
    root = {code: code for code in codes}
    for position, code in enumerate(codes):
        for earlier in codes[:position]:
            if root[earlier] != earlier:
                continue
            shared = pictures[code].keys() & pictures[earlier].keys()
            # The coarse pictures decide most pairs at once; only near ones are compared pixel by pixel.
            near = [f for f in shared if np.abs(blurred[code][f] - blurred[earlier][f]).mean() < 2 * SAME_SHAPE]
            if 2 * len(near) < max(len(shared), 1):
                continue
            same = sum(
                np.abs(pictures[code][f].astype(np.float32) - pictures[earlier][f]).mean() / 255 < SAME_SHAPE
                for f in near
            )
            if shared and 2 * same >= len(shared):
                root[code] = earlier
                break
    return root


def _coarse(picture: np.ndarray) -> np.ndarray:
    return picture.reshape(8, SIZE // 8, 8, SIZE // 8).mean(axis=(1, 3)) / 255


def _render_all() -> dict[str, np.ndarray]:
    faces = letter_faces()
    pictures: dict[int, dict[int, np.ndarray]] = {}
    for code, held in _coverage().items():
        drawn = {face: render(chr(code), faces[face]) for face in held}
        pictures[code] = {face: picture for face, picture in drawn.items() if picture.any()}
    pictures = {code: by_face for code, by_face in pictures.items() if len(by_face) >= MIN_FACES}
    root = _merge_same_shapes(pictures)
    kept = [code for code in pictures if root[code] == code]
    images, labels, face_of = [], [], []
    for label, code in enumerate(kept):
        for face, picture in sorted(pictures[code].items()):
            images.append(picture)
            labels.append(label)
            face_of.append(face)
    members = [[c for c in pictures if root[c] == code] for code in kept]
    return {
        "images": np.stack(images),
        "labels": np.array(labels, np.int64),
        "faces": np.array(face_of, np.int64),
        "letters": np.array(["".join(map(chr, group)) for group in members]),
    }


def glyph_arrays() -> dict[str, np.ndarray]:
    """Return the rendered letters, from the cache after the first call.

    Returns:
        ``images`` uint8 ``(N, 32, 32)``, ``labels`` int64 ``(N,)``, ``faces`` int64 ``(N,)`` (index into
        `letter_faces`) and ``letters`` ``(classes,)``: all characters merged into each class, the first names it.
    """
    version = f"{RENDER_VERSION}-matplotlib{matplotlib.__version__}"
    return cached_arrays("glyphs", version, _render_all)


def load_glyphs(*, split_seed: int = 0) -> Task:
    """Load the letters: the source task (labelled images of several hundred letter shapes).

    Args:
        split_seed: of the split; two faces in sixteen of every class are held out for validation, two for test.

    Returns:
        A `Task` with images float32 ``(N, 32, 32)`` in [0, 1] (ink is bright), class names are the letters.
    """
    arrays = glyph_arrays()
    train, validation, test = split_rows(arrays["labels"], validation=0.125, test=0.125, seed=split_seed)
    return Task(
        name="glyphs",
        inputs=arrays["images"].astype(np.float32) / 255,
        labels=arrays["labels"],
        class_names=tuple(group[0] for group in arrays["letters"]),
        train=train,
        validation=validation,
        test=test,
    )


def _widened(picture: np.ndarray) -> np.ndarray:
    """Stretch a letter sideways to the width of the box, unless it is a mere stroke: O then compares with 0."""
    columns = np.flatnonzero(picture.any(axis=0))
    width = columns[-1] - columns[0] + 1
    if width < BOX // 3:
        return picture
    ink = Image.fromarray(picture[:, columns[0] : columns[-1] + 1])
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(ink.resize((BOX, SIZE), Image.Resampling.BILINEAR), ((SIZE - BOX) // 2, 0))
    return np.asarray(canvas)


def digit_likeness() -> dict[str, float]:
    """Return, for every letter class, how much it looks like its most similar digit, at most 1.

    Letter and digit are rendered in the same face, stretched to the same width, reduced to 8×8, and compared by the
    cosine of the angle between them after the mean letter is taken off; the mean over faces of the best digit's
    cosine is returned.
    """
    arrays = glyph_arrays()

    def vectors(pictures: list[np.ndarray]) -> np.ndarray:
        return np.stack([_coarse(_widened(picture)).ravel() for picture in pictures])

    letters = vectors(list(arrays["images"]))
    centre = letters.mean(axis=0)

    def directions(rows: np.ndarray) -> np.ndarray:
        return (rows - centre) / np.linalg.norm(rows - centre, axis=1, keepdims=True)

    digits = [directions(vectors([render(d, face) for d in "0123456789"])) for face in letter_faces()]
    best = np.array([(digits[f] @ x).max() for f, x in zip(arrays["faces"], directions(letters), strict=True)])
    names = [group[0] for group in arrays["letters"]]
    return {name: float(best[arrays["labels"] == label].mean()) for label, name in enumerate(names)}


def digit_lookalikes(threshold: float = LOOKALIKE) -> tuple[str, ...]:
    """Return the letter classes with a `digit_likeness` of at least ``threshold``, and those in `READ_AS_DIGITS`."""
    likeness = digit_likeness()
    return tuple(name for name in likeness if likeness[name] >= threshold or name in READ_AS_DIGITS)
