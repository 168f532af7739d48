"""What a frame may look at: the band mask against the definition, for any ages and windows."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsl_rl_ult.modules.attention import band_mask


@st.composite
def ages(draw: st.DrawFn) -> torch.Tensor:
    """(B, F) ages of frames: each row counts up and starts again at 1 where an episode begins.

    Ages before the first episode are below 1.
    """
    batch, frames = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    rows = []
    for _ in range(batch):
        row = [draw(st.integers(-frames, 5))]
        for _ in range(frames - 1):
            row.append(1 if draw(st.booleans()) and row[-1] >= 1 else row[-1] + 1)
        rows.append(row)
    return torch.tensor(rows)


@given(age=ages(), window=st.integers(1, 14))
@settings(max_examples=200, deadline=None)
def test_a_frame_sees_itself_and_the_frames_of_its_episode_within_the_window(age, window):
    mask = band_mask(age, window)
    batch, frames = age.shape
    assert mask.shape == (batch, 1, frames, frames)
    for row in range(batch):
        for i in range(frames):
            for j in range(frames):
                # Frame i is the age[i]-th of its episode: j is of the same one if it lies less than age[i] frames back.
                back = i - j
                sees = back == 0 or 0 < back < min(window, int(age[row, i]))
                assert float(mask[row, 0, i, j]) == (0.0 if sees else -math.inf), (row, i, j)
