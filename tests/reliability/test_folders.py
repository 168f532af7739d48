"""Several trainings at once in one log folder: each has a folder of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest

from legged_gym_ext.scripts import train
from legged_gym_ext.training import runner as runners
from legged_gym_ext.training.runs import new_run_dir
from tests.reliability.programs import all_checkpoints, run, same, training
from tests.small_trainings import newest


def test_names_of_the_same_second_are_given_once_to_each_of_many_processes(tmp_path):
    readers = []
    for _ in range(8):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                names = [str(new_run_dir(tmp_path, "task", "same")) for _ in range(10)]
                os.write(writer, "\n".join(names).encode())
            finally:
                os._exit(0)
        os.close(writer)
        readers.append(reader)
    names = []
    for reader in readers:
        with os.fdopen(reader, encoding="utf-8") as file:
            names += file.read().splitlines()
        os.wait()
    assert len(names) == len(set(names)) == 80 and all(map(os.path.isdir, names))


@pytest.mark.slow
def test_two_trainings_of_the_same_second_and_name_learn_side_by_side(tmp_path):
    one = os.fork()
    argv = [*training(tmp_path, 4), "--run_name=same"]
    if one == 0:
        os._exit(run(train.main, argv, tmp_path / "first.txt").code)
    other = run(train.main, argv, tmp_path / "second.txt")
    _, status = os.waitpid(one, 0)
    assert (status, other.code) == (0, 0), other.output
    folders = [path for path in (tmp_path / "go2_flat").iterdir() if path.is_dir()]
    first, second = (path / "model_3.pt" for path in folders)
    assert same(first, second)  # the same seed


@pytest.mark.slow
def test_resuming_a_run_that_is_still_trained_goes_on_beside_it(tmp_path, monkeypatch):
    resumed, after = [], runners.TrainRunner._after_iteration

    def resume_once(self: Any, it: int) -> None:
        after(self, it)
        if it != 2:
            return
        done = run(train.main, [*training(tmp_path, 4), "--resume"], tmp_path / "resumed.txt", before=monkeypatch.undo)
        assert done.code == 0, done.output
        resumed.append(newest(tmp_path))

    monkeypatch.setattr(runners.TrainRunner, "_after_iteration", resume_once)
    train.main(training(tmp_path, 4))
    found = all_checkpoints(tmp_path)
    first = [path for path in found if path.parent != resumed[0]]
    assert [path.name for path in first] == [f"model_{n}.pt" for n in range(4)]
    assert [path.name for path in found if path.parent == resumed[0]] == ["model_2.pt", "model_3.pt"]
