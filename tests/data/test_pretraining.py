import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_scripts import pretrain_glyphnet
from data_scripts.augment_glyphs import augment, blur, change_thickness, paint, warp
from data_scripts.glyphnet_weights import read_letters, read_weights
from data_scripts.pretrain_glyphnet import LOG_COLUMNS, Pretraining, Settings, main, write
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.task import Task, split_rows

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(steps=6, batch=8, patches=20)


@pytest.fixture(autouse=True)
def six_letters(monkeypatch):
    labels = np.repeat(np.arange(6), 16)
    inputs = np.random.default_rng(0).random((96, 32, 32), dtype=np.float32)
    parts = split_rows(labels, seed=0)
    task = Task("glyphs", inputs, labels, tuple("AlBOWé"), *parts)
    monkeypatch.setattr(pretrain_glyphnet, "load_glyphs", lambda *, split_seed: task)
    monkeypatch.setattr(pretrain_glyphnet, "digit_lookalikes", lambda: ("l", "O"))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def squares(n, size=32):
    """Bright squares with empty space around them: ``(n, 1, size, size)``."""
    ink = torch.zeros(n, 1, size, size)
    ink[:, :, size // 4 : -size // 4, size // 4 : -size // 4] = 1
    return ink


def textures(n, size=32):
    return torch.rand(n, 1, size, size, generator=seeded(99))


# Augmentation


@pytest.mark.parametrize(
    "stage", [warp, change_thickness, blur, lambda ink, g: paint(ink, textures(5), g), lambda i, g: augment(i, i, g)]
)
def test_every_stage_keeps_shape_and_range_and_follows_its_generator(stage):
    ink = squares(40)
    first, again, other = (stage(ink, seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == ink.shape
    assert first.dtype == torch.float32
    assert -1e-6 <= first.min() < first.max() <= 1 + 1e-6
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(ink, squares(40)), "the letters themselves stay as they are"


def test_pictures_of_a_batch_are_varied_independently():
    pictures = augment(squares(40), textures(5), seeded())
    assert len({picture.numpy().tobytes() for picture in pictures}) == 40


def test_a_warp_moves_and_bends_but_keeps_a_letter_in_view():
    ink = squares(200)
    warped = warp(ink, seeded())
    share = warped.sum(dim=(1, 2, 3)) / ink[0].sum()
    assert share.min() > 0.3
    assert share.min() < 0.8 < 1.2 < share.max(), "some get smaller, some larger"
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    for place in (rows, columns):
        centre = (warped[:, 0] * place).sum(dim=(1, 2)) / warped.sum(dim=(1, 2, 3))
        assert abs(centre.mean() - 15.5) < 0.7, "no direction is preferred"
        assert centre.std() > 0.5


def test_a_third_is_thickened_a_third_thinned_and_the_rest_left():
    ink = squares(3000, size=8)
    changed = change_thickness(ink, seeded()) - ink
    more, less = ((sign * changed > 0).flatten(1).any(1) for sign in (1, -1))
    assert not (more & less).any()
    for share in (more, less, ~(more | less)):
        assert share.float().mean().item() == pytest.approx(1 / 3, abs=0.035)


def test_dilation_adds_ink_around_a_letter_and_erosion_takes_its_edge():
    ink = squares(200, size=8)  # a square of 4×4
    changed = change_thickness(ink, seeded())
    ring = torch.zeros(8, 8)
    ring[1:7, 1:7] = 1
    ring[2:6, 2:6] = 0
    for before, after in zip(ink[:, 0], changed[:, 0], strict=True):
        added, taken = (after - before).clamp(min=0), (before - after).clamp(min=0)
        assert not added[ring == 0].any(), "ink is added in the ring of one pixel around the letter only"
        assert not taken[3:5, 3:5].any(), "ink is taken from the letter's edge only"
        assert taken.max() <= 0.8 + 1e-6
    assert changed[:, 0][:, ring == 1].max() > 0.9


def high_frequency_energy(pictures):
    return ((pictures[..., 1:] - pictures[..., :-1]) ** 2).sum(dim=(1, 2, 3))


def test_three_of_four_pictures_lose_their_sharpness():
    pictures = textures(2000)
    blurred = blur(pictures, seeded())
    sharp = (blurred == pictures).flatten(1).all(1)
    assert sharp.float().mean().item() == pytest.approx(1 / 4, abs=0.04)
    left = high_frequency_energy(blurred) / high_frequency_energy(pictures)
    assert left[~sharp].max() < 0.5
    assert (blurred - pictures)[~sharp].mean(dim=(1, 2, 3)).abs().max() < 0.02, "the mean grey stays"


def painted(ink, n=4000):
    """Pictures of ``n`` letters over textures, and which of them have a plain background."""
    pictures = paint(ink.expand(n, 1, 8, 8), textures(7, size=8), seeded())
    empty = pictures[:, 0][:, ink[0, 0] == 0]
    return pictures, empty.std(dim=1) < 1e-6, empty


def test_half_of_the_backgrounds_are_plain_and_half_are_photographs():
    ink = squares(1, size=8)
    _, plain, empty = painted(ink)
    assert plain.float().mean().item() == pytest.approx(0.5, abs=0.035)
    outside = textures(7, size=8)[:, 0][:, ink[0, 0] == 0]
    shown = {row.numpy().tobytes() for row in empty[~plain]}
    assert shown == {row.numpy().tobytes() for row in outside}, "every patch is used, and nothing else"


def test_about_a_quarter_of_the_plain_backgrounds_is_inverted():
    _, plain, empty = painted(squares(1, size=8))
    level = empty[plain][:, 0]
    # A level is u² for uniform u, inverted 1 − u²; it is above one half with probability 1 − √½ or √½.
    inverted, upright = math.sqrt(0.5), 1 - math.sqrt(0.5)
    share = ((level > 0.5).float().mean().item() - upright) / (inverted - upright)
    assert share == pytest.approx(0.25, abs=0.08)


def test_ink_stands_out_from_its_background_to_the_side_with_more_room():
    ink = squares(1, size=8)
    pictures, plain, empty = painted(ink)
    letter, ground = pictures[plain][:, 0, 4, 4], empty[plain].mean(dim=1)
    assert (letter - ground).abs().min() >= 0.35 - 1e-5
    assert torch.equal(letter > ground, ground <= 0.5)
    assert 0.15 < (ground > 0.5).float().mean() < 0.6, "bright letters on dark and dark ones on bright"


# Settings


def test_the_learning_rate_warms_up_and_ends_at_zero():
    settings = Settings(steps=1000, peak_learning_rate=0.01, warm_up_share=0.1)
    rates = np.array([settings.learning_rate(step) for step in range(1001)])
    assert rates[0] == rates[-1] == 0
    assert rates[50] == pytest.approx(0.01 * 0.5 * 0.5 * (1 + math.cos(0.05 * math.pi)))
    assert rates[500] == pytest.approx(0.01 / 2)
    assert np.argmax(rates) == 100
    assert (np.diff(rates[:101]) > 0).all()
    assert (np.diff(rates[100:]) < 0).all()
    assert type(settings.learning_rate(3)) is float, "it is stored in checkpoints, which hold plain numbers only"


# Runs of a few steps on six letters


class Stopped(Exception):
    pass


def stop_before(monkeypatch, run, step):
    """Make ``run`` end, like an interrupted process, when it is about to take the step of this number."""
    take = run.train_step

    def train_step():
        if run.step == step:
            raise Stopped
        return take()

    monkeypatch.setattr(run, "train_step", train_step)


def assert_same_tensors(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_an_interrupted_run_ends_with_the_same_bits_as_one_that_was_not(tmp_path, monkeypatch):
    whole = Pretraining(SETTINGS, tmp_path / "whole.pt")
    expected = whole.run(every=2)

    stopped = Pretraining(SETTINGS, tmp_path / "part.pt")
    stop_before(monkeypatch, stopped, 5)  # the last checkpoint is that of step 4
    with pytest.raises(Stopped):
        stopped.run(every=2)

    torch.manual_seed(123)  # another process has other global random numbers
    resumed = Pretraining(SETTINGS, tmp_path / "part.pt")
    assert resumed.resume()
    assert resumed.step == 4
    network = resumed.run(every=2)
    assert_same_tensors(network.state_dict(), expected.state_dict())
    assert_same_tensors(resumed.network.state_dict(), whole.network.state_dict())

    def without_seconds(log):
        return [(row[0], *row[2:]) for row in log]

    assert without_seconds(resumed.log) == without_seconds(whole.log)
    assert [row[0] for row in resumed.log] == [2, 4, 6]


def test_training_moves_the_network_and_its_average(tmp_path):
    run = Pretraining(SETTINGS, tmp_path / "x.pt")
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    average = run.run()
    for after in (run.network.state_dict(), average.state_dict()):
        assert not torch.equal(after["head.weight"], before["head.weight"])
        assert not torch.equal(after["stem_bn.running_mean"], before["stem_bn.running_mean"])
    for name in ("head.weight", "stem_bn.running_mean"):  # batch statistics are averaged like weights
        assert not torch.equal(average.state_dict()[name], run.network.state_dict()[name])


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 7}, {"peak_learning_rate": 1e-3}])
def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path, change):
    first = Pretraining(SETTINGS, tmp_path / "x.pt")
    first.train_step()
    first.save_checkpoint()
    other = Pretraining(replace(SETTINGS, **change), tmp_path / "x.pt")
    fresh = {name: value.clone() for name, value in other.network.state_dict().items()}
    assert not other.resume()
    assert (other.step, other.log) == (0, [])
    assert_same_tensors(other.network.state_dict(), fresh)
    assert Pretraining(SETTINGS, tmp_path / "x.pt").resume(), "the same settings take it up"


def test_without_a_checkpoint_a_run_starts_anew(tmp_path):
    assert not Pretraining(SETTINGS, tmp_path / "none.pt").resume()


def test_letters_that_look_like_digits_can_be_left_out(tmp_path):
    run = Pretraining(replace(SETTINGS, without_lookalikes=True), tmp_path / "x.pt")
    assert run.source.letters == tuple("ABWé")
    assert run.network.head.out_features == 4
    for rows in (run.source.train, run.source.validation):
        assert sorted(set(run.source.labels[rows].tolist())) == [0, 1, 2, 3]
    assert math.isfinite(run.train_step())


def test_held_out_pictures_are_not_trained_on(tmp_path):
    source = Pretraining(SETTINGS, tmp_path / "x.pt").source
    assert len(source.validation)
    assert not set(source.train.tolist()) & set(source.validation.tolist())


def test_what_is_written_reads_as_a_glyphnet(tmp_path):
    run = Pretraining(SETTINGS, tmp_path / "x.pt")
    network = run.run(every=3)
    path = tmp_path / "net.safetensors"
    write(run, network, path)

    assert read_letters(path) == tuple("AlBOWé")
    np.testing.assert_array_equal(read_weights(path)["head.weight"], network.head.weight.detach().numpy())
    pictures = run.source.images[:8]
    with torch.inference_mode():
        torch.testing.assert_close(load_glyphnet(path)(pictures), network.eval()(pictures))

    settings = json.loads(path.with_suffix(".json").read_text())
    assert (settings["classes"], settings["steps"], settings["torch"]) == (6, 6, torch.__version__)
    with path.with_suffix(".csv").open(newline="") as file:
        heading, *rows = csv.reader(file)
    assert tuple(heading) == LOG_COLUMNS
    assert [row[0] for row in rows] == ["3", "6"]


def test_weights_are_replaced_in_one_step(tmp_path, monkeypatch):
    run = Pretraining(SETTINGS, tmp_path / "x.pt")
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"the weights of before")

    def full_disk(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_glyphnet, "save_file", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write(run, run.network, path)
    assert path.read_bytes() == b"the weights of before"
    write(run, run.network, path)
    assert read_letters(path) == tuple("AlBOWé")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.csv", "net.json", "net.safetensors"]


def test_the_command_trains_writes_and_clears_its_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["pretrain", "--steps", "1", "--out", str(tmp_path / "net.safetensors")])
    main()
    assert capsys.readouterr().out.startswith("step 1  seconds ")
    assert read_letters(tmp_path / "net.safetensors") == tuple("AlBOWé")
    assert json.loads((tmp_path / "net.json").read_text())["steps"] == 1
    assert list((tmp_path / "cache").iterdir()) == []
