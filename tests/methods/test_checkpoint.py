import numpy as np
import pytest
import torch
from torch import nn

from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.checkpoint import TrainingState, load_checkpoint, save_checkpoint, train_from
from workbook.methods.torch.training import as_images, fit

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS, BATCH, RATE = 8, 8, 1e-3


@pytest.fixture(scope="module")
def data():
    pictures = np.random.default_rng(0).random((20, 32, 32), dtype=np.float32)
    return as_images(pictures), torch.arange(20) % 3


def fresh(classes=3, head_seed=0):
    torch.manual_seed(head_seed)
    network = load_glyphnet()
    network.head = nn.Linear(128, classes)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    return TrainingState(network, optimiser, schedule, torch.Generator().manual_seed(0))


class Interrupted(Exception):
    pass


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def uninterrupted(data):
    torch.set_num_threads(1)
    return train_from(fresh(), *data, steps=STEPS, batch=BATCH).network


def test_training_is_that_of_fit(data, uninterrupted):
    torch.manual_seed(0)
    network = load_glyphnet()
    network.head = nn.Linear(128, 3)
    fit(network, *data, steps=STEPS, learning_rate=RATE, seed=0, batch=BATCH)
    assert same(network, uninterrupted)


@pytest.mark.parametrize("saved_at", [1, 4, 5])
def test_an_interrupted_training_ends_at_the_identical_network(data, uninterrupted, tmp_path, saved_at):
    path = tmp_path / "run.ckpt"

    def save_then_fail(state):
        if state.step == saved_at:
            save_checkpoint(path, state)
        if state.step == saved_at + 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_from(fresh(), *data, steps=STEPS, batch=BATCH, after_step=save_then_fail)
    state = load_checkpoint(path, fresh(head_seed=5))
    assert state.step == saved_at
    assert same(train_from(state, *data, steps=STEPS, batch=BATCH).network, uninterrupted)


@pytest.mark.parametrize("lost", ["optimiser", "schedule", "generator", "order"])
def test_every_part_of_the_state_is_needed(data, uninterrupted, tmp_path, lost):
    path = tmp_path / "run.ckpt"
    save_checkpoint(path, train_from(fresh(), *data, steps=3, batch=BATCH))
    state, other = load_checkpoint(path, fresh()), fresh()
    if lost == "optimiser":
        state.optimiser.state.clear()
    elif lost == "schedule":
        state.schedule = torch.optim.lr_scheduler.LambdaLR(state.optimiser, lambda step: 1.0)
    else:
        setattr(state, lost, getattr(other, lost))
    assert not same(train_from(state, *data, steps=STEPS, batch=BATCH).network, uninterrupted)


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path, state = tmp_path / "run.ckpt", fresh()
    save_checkpoint(path, state)
    before = path.read_bytes()

    def half(stored, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, state)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_file_says_so(tmp_path):
    path = tmp_path / "run.ckpt"
    save_checkpoint(path, fresh())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_checkpoint(path, fresh())


def test_a_file_of_something_else_says_so(tmp_path):
    path = tmp_path / "run.ckpt"
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no training state of this version"):
        load_checkpoint(path, fresh())


def test_another_network_is_named_and_nothing_changes(tmp_path):
    path, state = tmp_path / "run.ckpt", fresh(classes=5)
    save_checkpoint(path, fresh())
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    with pytest.raises(ValueError, match=r"another network: 2 entries differ, such as 'head.bias'.*\(5,\).*\(3,\)"):
        load_checkpoint(path, state)
    assert all(torch.equal(value, before[name]) for name, value in state.network.state_dict().items())


def test_another_optimiser_is_named(tmp_path):
    path, state = tmp_path / "run.ckpt", fresh()
    save_checkpoint(path, state)
    state.optimiser = torch.optim.AdamW(state.network.head.parameters())
    with pytest.raises(ValueError, match=r"another optimiser: expected groups of \[2\]"):
        load_checkpoint(path, state)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt", fresh())
    with pytest.raises(FileNotFoundError, match="folder"):
        save_checkpoint(tmp_path / "no" / "run.ckpt", fresh())
