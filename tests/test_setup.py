"""What a newcomer meets first: README, glossary, Makefile, .ci/run; each says what is so."""

import os
import re
import shutil
import subprocess
from collections import Counter
from functools import lru_cache

import pytest

from data_scripts import prepare
from data_scripts.errors import CacheError
from workbook.cli import main
from workbook.paths import ROOT
from workbook.profiles import PROFILES
from workbook.runner.jobfile import read_job_file

README = (ROOT / "README.md").read_text("utf-8")
PAGE = (ROOT / "chapters" / "README.md").read_text("utf-8")
TOP_LEVEL = {".ci", ".gitignore", "LICENSE", "Makefile", "README.md", "chapters", "conftest.py", "data_scripts"}
TOP_LEVEL |= {"labs", "pyproject.toml", "requirements.txt", "solutions", "tests", "workbook"}
# What the five source documents speak of.
SOURCE_TERMS = set(
    re.findall(
        r"\w+",
        "迁移学习 微调 特征提取 特征复用 域适应 知识蒸馏 预训练 负迁移 协变量偏移 "
        "标签偏移 领域 任务 实例迁移 特征表示迁移 参数迁移 批量归一化 学习率 早停 "
        "冻结 线性探测 最大均值差异 对抗 梯度反转 伪标签 温度 软标签 特征 "
        "样本 标签 模型 损失函数 多任务学习 元学习 自监督学习 特征映射 模型映射 "
        "特征子空间 随机梯度下降 权重衰减 随机失活 模型库 ",
    )
)

JOBS = {"run": "workbook run", "test": "ruff check", "lab": "jupyter lab", "build": "workbook build"}

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
needs_git = pytest.mark.skipif(not (shutil.which("git") and (ROOT / ".git").exists()), reason="no git checkout")


def run(*command):
    """Run a command in the repository root, outside any make that runs the tests, and return what it printed."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@lru_cache(maxsize=1)
def committed_files():
    """Return the files that git has or would take, as paths from the root."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted(name for name in set(names) if name and (ROOT / name).is_file())


def make_targets():
    """Return the targets of the Makefile that `make help` lists."""
    return set(re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def table_rows(text):
    """Return the cells of each row of the tables in ``text``, without headings and rules."""
    rows = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows += [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return rows


def glossary():
    return table_rows(PAGE.split("## Glossary")[1])


# --- README


def test_no_measurement_is_missing():
    assert re.findall(r"TODO\S*", README) == []


def test_make_commands_exist():
    named = set(re.findall(r"^(?:make|.*`make) ([a-z]+)", README, re.MULTILINE))
    assert named >= {"run", "test", "lab", "build"}
    assert named <= make_targets()


def test_workbook_commands_and_options_exist():
    named = re.findall(r"^python -m workbook (\w+)(.*?)(?:#|$)", README, re.MULTILINE)
    assert named
    for command, rest in named:
        assert command in main.commands
        known = {option for parameter in main.commands[command].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z]+", rest)) <= known | {"--help"}


@needs_make
def test_plain_test_commands_are_those_of_make():
    recipe = [line for line in run("make", "-n", "test", "WORKERS=2").splitlines() if " -m " in line]
    commands = [line.strip().replace(".venv/bin/python", "python") for line in recipe if "data_scripts" not in line]
    assert len(commands) == 4
    assert "\n".join(commands) in README


@pytest.mark.parametrize(
    "page", ["README.md", "chapters/README.md", "labs/README.md", "labs/INSTRUCTORS.md", "solutions/README.md"]
)
def test_links_resolve(page):
    text = (ROOT / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_each_profile_is_explained():
    section = README.split("| Profile |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == PROFILES


def test_each_environment_variable_is_one_that_the_code_reads():
    modules = [path for package in ("workbook", "data_scripts") for path in (ROOT / package).glob("*.py")]
    code = "".join(path.read_text("utf-8") for path in modules)
    section = README.split("| Variable |")[1].split("\n\n")[0]
    named = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert named
    assert [name for name in named if f'"{name}"' not in code] == []


def test_the_job_file_is_one(tmp_path):
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "jobs.yaml").write_text(text)
    job_file = read_job_file(tmp_path / "jobs.yaml")
    assert job_file.name == "my-grid"
    assert job_file.requests[0].grid == {"draws": [3, 10], "seed": [0, 1, 2]}


# --- prerequisites, notation, glossary


def test_glossary_has_three_columns_everywhere():
    assert [row for row in glossary() if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize("column", [0, 1])
def test_glossary_names_each_term_once(column):
    counts = Counter(row[column].lower() for row in glossary())
    assert [term for term, count in counts.items() if count > 1] == []


def test_glossary_has_the_terms_of_the_source_documents():
    assert SOURCE_TERMS - {row[0] for row in glossary()} == set()
    assert len(glossary()) >= 45


def test_glossary_has_every_chinese_term_that_a_chapter_uses():
    terms = {row[0] for row in glossary()}
    known = terms | {term.removesuffix("学习") for term in terms}  # 自监督 is short for 自监督学习
    used = {
        f"{path.name}: {term}"
        for path in ROOT.glob("chapters/source/*.py")
        for term in re.findall(r"[\u4e00-\u9fff]+(?:A[\u4e00-\u9fff]+)?", path.read_text("utf-8"))
        if term not in known
    }
    assert used == set()


def test_notation_gives_each_symbol_once():
    rows = table_rows(PAGE.split("## Notation")[1].split("## Glossary")[0])
    assert [row for row in rows if len(row) != 2 or not all(row)] == []
    # A cell such as '$x \in \mathcal{X}$' or '$T$ (never an index here)' begins with its symbols.
    symbols = Counter(symbol for row in rows for symbol in re.findall(r"\$([^$]+)\$", row[0]))
    assert [symbol for symbol, count in symbols.items() if count > 1] == []


# --- Makefile, .ci/run, what is committed


@needs_make
@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", "-m workbook run 01 -p draws=5"),
        ("test", "-m pytest --nbval"),
        ("lab", "-m jupyter lab"),
        ("build", "-m workbook build 01 -p draws=5"),
        ("lock", "uv pip compile pyproject.toml"),
    ],
)
def test_make_would_run(target, command):
    assert command in run("make", "-n", target, "ARGS=01 -p draws=5")


@needs_make
def test_make_alone_lists_the_targets():
    assert set(re.findall(r"^  make (\w+)", run("make"), re.MULTILINE)) == make_targets()


@needs_make
@pytest.mark.parametrize("target", JOBS)
def test_make_sets_up_first(target):
    recipe = run("make", "-n", target, "--always-make")
    environment, data, job = map(recipe.index, ("workbook/environment.py", "data_scripts.prepare", JOBS[target]))
    assert environment < data < job


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text("utf-8").splitlines()
    assert "make test" in lines
    assert "set -euo pipefail" in lines
    assert re.search(r"^make test\b", README, re.MULTILINE)


@needs_git
def test_top_level_holds_nothing_unexpected():
    assert {name.split("/")[0] for name in committed_files()} <= TOP_LEVEL


@needs_git
def test_no_file_names_a_place_on_a_machine_or_an_index_host():
    # The gate looks at notebooks. Two files have such paths as their subject.
    about_paths = {"tests/authoring/test_gate.py", "workbook/authoring/output_checks.py"}
    named = re.compile(r"(?<![\w.-])/(?:root|work|home|Users|opt)/|pypi[.]org|pythonhosted[.]org")
    found = []
    for name in committed_files():
        if name in about_paths or name.endswith((".ipynb", ".safetensors", ".png")):
            continue
        lines = (ROOT / name).read_text("utf-8").splitlines()
        found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if named.search(line)]
    assert found == []


# --- data made ahead of time


def test_prepared_tasks_are_loaders():
    for name in prepare.TASKS:
        assert f"def load_{name}(" in (ROOT / "data_scripts" / f"{name}.py").read_text("utf-8")


def test_prepare_says_what_it_loaded_and_stops_at_an_error(monkeypatch, capsys):
    def fail():
        raise CacheError("the disk is full")

    table = {"breast_cancer": prepare.STEPS["breast_cancer"], "glyphs": fail, "faces": prepare.STEPS["faces"]}
    monkeypatch.setattr(prepare, "STEPS", table)
    assert prepare.main() == 1
    printed = capsys.readouterr()
    assert "569 × 30, 2 classes" in printed.out
    assert "faces" not in printed.out
    assert printed.err == "glyphs: the disk is full\n"
