"""The GPU cells of every chapter run, on the CPU at a token size: they are never dead code."""

import nbformat
import papermill
import pytest

from workbook.bundles import read_records
from workbook.paths import CHAPTERS, ROOT

# The smallest setting of everything that is not the GPU section.
TOKEN = {
    "03_fine_tuning_keras": {"k": 1, "draws": 1, "epochs": 2},
    "05_feature_extraction": {"draws": 1, "ks": [1], "steps": 2, "epochs": 1},
    "04_fine_tuning_pytorch": {"draws": 1, "steps": 2, "epochs": 1},
    "01_concepts": {"draws": 1, "ks": [1], "steps": 2},
    "06b_weights_in_practice": {"draws": 2, "net_draws": 2, "steps": 2},
    "02d_distances_and_label_shift": {"repetitions": 4},
    "07b_deep_alignment": {"draws": 1, "steps": 4},
    "08_distillation": {"draws": 1, "steps": 2, "teacher_steps": 20},
}


def with_gpu_cells() -> list:
    def has_gpu(path):
        return any("gpu" in cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells)

    return [path for path in sorted(CHAPTERS.glob("*.ipynb")) if has_gpu(path)]


@pytest.mark.parametrize("path", with_gpu_cells(), ids=lambda p: p.stem)
def test_gpu_cells_run_at_a_token_size(path, tmp_path):
    out = tmp_path / path.name
    parameters = {"gpu_on_cpu": True} | TOKEN.get(path.stem, {})
    executed = papermill.execute_notebook(path, out, parameters, cwd=ROOT, kernel_name="python3", progress_bar=False)

    cells = [cell for cell in executed.cells if "gpu" in cell.metadata.get("tags", [])]
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "on the CPU at a token size" in printed
    recorded = {record["name"] for record in read_records(executed)}
    assert any(name.startswith(f"{path.stem[:2]}.gpu.") for name in recorded)
