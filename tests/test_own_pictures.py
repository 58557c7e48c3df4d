"""A learner's own folder, and public photographs where a mirror folder has them, through a whole lesson."""

import numpy as np
import papermill
import pytest
from PIL import Image, ImageDraw

from data_scripts.download import mirror_folder
from workbook.bundles import read_claims, read_records
from workbook.methods.torch.photographs import load_classifier
from workbook.paths import CHAPTERS, ROOT

LESSON = CHAPTERS / "04g_photographs_pytorch.ipynb"
COLOURS = {"circles 圆": "crimson", "squares": "royalblue", "<b>triangles & co": "gold"}


def draw_shape(name: str, seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 120, (60, 80, 3), np.uint8)
    picture = Image.fromarray(noise).resize((160, 120))
    draw = ImageDraw.Draw(picture)
    x, y, side = generator.integers(20, 60), generator.integers(5, 40), generator.integers(50, 70)
    box = [x, y, x + side, y + side]
    if name.startswith("circles"):
        draw.ellipse(box, fill=COLOURS[name])
    elif name == "squares":
        draw.rectangle(box, fill=COLOURS[name])
    else:
        draw.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=COLOURS[name])
    return picture


@pytest.fixture
def folder(tmp_path):
    """Three classes of unequal size: a file cut off, one CMYK, one with a palette and transparency, one on its side."""
    root = tmp_path / "my shapes"
    for number, name in enumerate(COLOURS):
        (root / name).mkdir(parents=True)
        for i in range((8, 14, 10)[number]):
            draw_shape(name, 100 * number + i).save(root / name / f"{i:02}.jpg")
    squares = root / "squares"
    draw_shape("squares", 900).convert("CMYK").save(squares / "print.jpg")
    draw_shape("squares", 901).convert("P").save(squares / "palette.gif", transparency=0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    draw_shape("squares", 902).rotate(90, expand=True).save(squares / "turned.jpg", exif=exif)
    whole = (squares / "00.jpg").read_bytes()
    (squares / "cut off.jpg").write_bytes(whole[: len(whole) // 3])
    (squares / ".DS_Store").write_bytes(b"hidden")
    return root


def run_lesson(out, **parameters):
    return papermill.execute_notebook(
        LESSON, out, parameters, cwd=ROOT, kernel_name="python3", progress_bar=False, log_output=False
    )


def outputs_as_text(notebook):
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def test_a_folder_of_ones_own_ends_with_a_model_and_a_report(folder, tmp_path):
    executed = run_lesson(
        tmp_path / "out.ipynb",
        data_dir=str(folder),
        backbone="glyphnet",
        draws=1,
        pace=0.4,
        save_to=str(tmp_path / "models"),
    )
    (results,) = (tmp_path / "models").iterdir()
    assert sorted(path.name for path in results.iterdir()) == ["model.safetensors", "report.html"]

    network, about = load_classifier(results / "model.safetensors")
    assert (tuple(about["class_names"]), about["backbone"]) == (tuple(sorted(COLOURS, key=str.casefold)), "glyphnet")
    assert network.head.out_features == 3

    report = (results / "report.html").read_text(encoding="utf-8")
    assert "1 files skipped: squares/cut off.jpg: cannot be read as a picture" in report
    assert "imbalance: the largest class has 2.1 times the pictures of the smallest" in report
    assert "circles 圆" in report
    assert "&lt;b&gt;triangles &amp; co" in report
    assert "Wilson" in report
    assert str(tmp_path) not in report

    assert "cut off.jpg" in outputs_as_text(executed)
    assert str(tmp_path) not in outputs_as_text(executed)
    assert not any(claim["in_scope"] for claim in read_claims(executed))
    warned = [o for cell in executed.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert not warned


@pytest.mark.skipif(mirror_folder() is None, reason="WORKBOOK_MIRROR is not set: public photographs come from a mirror")
def test_public_photographs_go_through_the_lesson_and_its_claims_hold(tmp_path):
    # One training a policy and fewer steps: out of the claims' scope, so that they are checked here.
    executed = run_lesson(tmp_path / "out.ipynb", profile="public", draws=1, pace=0.4, save_to=str(tmp_path / "models"))
    claims = read_claims(executed)
    assert len(claims) == 8
    assert [claim["id"] for claim in claims if not claim["holds"]] == []
    measured = {record["name"]: record["mean"] for record in read_records(executed)}
    assert 0.85 < measured["04g.baselines.probe.accuracy"] < 0.98
    assert measured["04g.baselines.random weights.accuracy"] < 0.75
    (report,) = (tmp_path / "models").glob("*/report.html")
    assert "of 153 test pictures right" in report.read_text(encoding="utf-8")
