import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest

from data_scripts.image_folder import PhotoTask
from workbook.methods.picture_report import (
    Mistake,
    confusion_matrix,
    drawable,
    plot_confusion,
    plot_mistakes,
    results_folder,
    worst_mistakes,
    write_report,
)
from workbook.paths import ROOT, RUNS

NAMES = ("<b>&", "蚂蚁", "bees")
PREDICTED = [0, 0, 1, 1, 2, 0, 2, 1]  # of the test rows below: rows 9 and 11 are wrong
CONFIDENCE = [0.9, 0.8, 0.95, 0.7, 0.99, 0.97, 0.6, 0.5]


@pytest.fixture
def task():
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 2, 0, 0, 0, 1, 1, 1, 2, 2])
    labels[4:] = [0, 0, 1, 1, 2, 1, 2, 2]
    return PhotoTask(
        "my / photos",
        generator.integers(0, 255, (12, 32, 32, 3), np.uint8),
        labels,
        NAMES,
        train=np.arange(3),
        validation=np.array([3]),
        test=np.arange(4, 12),
        paths=tuple(f"{NAMES[label]}/picture {row}.png" for row, label in enumerate(labels)),
        notices=("1 files skipped: bees/<broken>.jpg: cannot be read",),
    )


@pytest.fixture
def probabilities():
    rows = np.zeros((8, 3))
    for row, (predicted, confidence) in enumerate(zip(PREDICTED, CONFIDENCE, strict=True)):
        rows[row] = (1 - confidence) / 2
        rows[row, predicted] = confidence
    return rows


class Reader(HTMLParser):
    """Collects the texts and the sources of a page, and fails on tags that do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.sources, self.tags = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_confusion_matrix_has_true_classes_in_rows():
    assert confusion_matrix([0, 0, 1, 2], [0, 1, 1, 1], 4).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    with pytest.raises(ValueError, match="got 1 and 2"):
        confusion_matrix([0, 1], [0], 2)


def test_the_surest_wrong_answer_comes_first(task, probabilities):
    labels = task.labels[task.test]
    assert worst_mistakes(labels, probabilities, task.test) == [
        Mistake(9, 1, 0, pytest.approx(0.97)),
        Mistake(11, 2, 1, pytest.approx(0.5)),
    ]
    assert [one.row for one in worst_mistakes(labels, probabilities, task.test, most=1)] == [9]
    with pytest.raises(ValueError, match="got 8, 8 and 7"):
        worst_mistakes(labels, probabilities, task.test[1:])


def test_every_folder_is_new(task, tmp_path):
    folders = [results_folder("04g", task, under=tmp_path / "models") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"04g_my_photos_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d)?", one.name) for one in folders)


def test_the_usual_place_is_in_the_runs_of_the_project(task, tmp_path, monkeypatch):
    monkeypatch.setattr("workbook.methods.picture_report.RUNS", tmp_path)
    assert results_folder("04g", task).parent == tmp_path / "models"
    assert RUNS == ROOT / "runs"


def written(task, probabilities, folder):
    facts = {"backbone": "glyphnet", "<script>alert(1)</script>": "a & b"}
    path = write_report(folder, task, probabilities, lesson="04g", facts=facts, model_file="model.safetensors")
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_report_says_what_happened(task, probabilities, tmp_path):
    page = Reader(written(task, probabilities, tmp_path))
    assert not page.open  # every tag was closed
    text = " ".join(" ".join(page.texts).split())
    # 6 of 8; SciPy's binomtest(6, 8).proportion_ci(method="wilson") is .4093 to .9285.
    assert "75.0% of 8 test pictures right (95 % interval 40.9% to 92.9%, Wilson)" in text
    assert "Always answering <b>& , the most frequent class of the training pictures" in text.replace("<b>&,", "<b>& ,")
    assert "would be right on 25.0%" in text
    assert "bees/<broken>.jpg: cannot be read" in text
    assert "Of 2 wrong answers, all" in text
    assert text.index("蚂蚁/picture 9.png") < text.index("bees/picture 11.png")
    assert "picture 8.png" not in text
    for fact in ("model.safetensors", "glyphnet", "04g", "a & b"):
        assert fact in text


def test_the_report_holds_all_that_it_shows_and_no_name_becomes_markup(task, probabilities, tmp_path):
    page = Reader(written(task, probabilities, tmp_path))
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert page.tags.count("b") == 4  # the report's own, two a mistake
    assert not {"script", "link", "broken"} & set(page.tags)


def test_the_report_names_no_place_of_this_machine(task, probabilities, tmp_path):
    page = written(task, probabilities, tmp_path)
    assert str(tmp_path) not in page
    assert str(ROOT) not in page


def test_a_perfect_classifier_has_no_worst_mistakes(task, tmp_path):
    page = written(task, np.eye(3)[task.labels[task.test]], tmp_path)
    assert "100.0% of 8 test pictures right" in " ".join(Reader(page).texts)
    assert "None of the test pictures was classified wrongly" in page
    assert len(plot_mistakes(task, []).axes) == 4
    plt.close("all")


def test_a_class_without_test_rows_has_no_recall(task, probabilities, tmp_path):
    labels = task.labels.copy()
    labels[task.test[labels[task.test] == 2]] = 0
    without = PhotoTask(
        **{**vars(task), "labels": labels, "notices": (), "inputs": task.inputs.repeat(4, 1).repeat(4, 2)}
    )
    page = written(without, probabilities, tmp_path)
    assert "<td>0</td><td>–</td>" in page
    assert "data:image/jpeg;base64," in page  # larger pictures


def test_a_report_is_not_written_over(task, probabilities, tmp_path):
    first = written(task, probabilities, tmp_path)
    with pytest.raises(FileExistsError):
        written(task, np.roll(probabilities, 1, axis=1), tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == first


def test_probabilities_of_other_rows_are_refused(task, probabilities, tmp_path):
    with pytest.raises(ValueError, match=r"shape \(8, 3\), got \(7, 3\)"):
        written(task, probabilities[1:], tmp_path)


@pytest.mark.filterwarnings("error")  # matplotlib warns of characters that it cannot draw, when it draws
def test_figures_are_drawn_whatever_the_names(task, probabilities, tmp_path):
    odd = PhotoTask(
        **{**vars(task), "class_names": ("$x_1$ and $", "蚂蚁\U0010ffff", "a name of many more characters")}
    )
    labels = task.labels[task.test]
    matrix = confusion_matrix(labels, probabilities.argmax(1), 3)
    mistakes = worst_mistakes(labels, probabilities, task.test)
    for figure in (plot_confusion(matrix, odd.class_names), plot_mistakes(odd, mistakes, columns=2)):
        figure.savefig(tmp_path / "figure.png")
    assert len(plot_confusion(np.eye(40, dtype=int), [f"class {i}" for i in range(40)]).axes) == 2
    plt.close("all")


def test_names_that_no_font_has_become_numbers():
    assert drawable(["ants", "\U0010ffff", "fourmis d'été"]) == ["ants", "class 2", "fourmis d'été"]
    assert drawable(["a" * 30]) == ["a" * 23 + "…"]
    assert drawable(["1 $"]) == [r"1 \$"]
