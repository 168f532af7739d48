"""The colour maze as a vectorised environment with the runner protocol of the robots' one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.envs.colour_maze.mazes import (
    LAVA,
    MASK,
    NORMAL,
    OUTSIDE,
    PATH,
    SIZE,
    START,
    TARGET,
    draw_mazes,
    draw_other_mazes,
)
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.colour_maze.colour_maze_config import ColourMazeCfg

MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Action -> cells along x and y."""

PADDED = SIZE + 2
"""Cells along each side with a border of OUTSIDE, so that every position has four neighbours."""

SEEN = (0, 1, PADDED, -1, -PADDED)
"""The cell itself and its neighbours +y, +x, -y, -x, as offsets in a flattened padded grid."""

TERMS = (("way to the target", 2, "cells"), ("codes here, +y, +x, -y, -x", 5, "code"), ("displacement", 2, "cells"))
"""Name, columns and unit of what is observed, in order."""

NUM_OBS = sum(columns for _, columns, _ in TERMS)
NUM_ACTIONS = len(MOVES)


class Grid:
    """What stands in the place of a physics engine."""

    description = f"a grid of {SIZE} x {SIZE} cells"


class ColourMaze:
    """N mazes at once. Actions (N, 4) are read by their largest entry: one-hot rows, or logits.

    An episode ends at the target, in lava, or by time-out. Groups: `privileged` and `critic` are all that there is to
    see (`TERMS`), `policy` is the student's, in which lava and path look alike.

    Attributes:
        cfg: its configuration.
        grids: (N, 21, 21) codes; an environment keeps its maze.
        position: (N, 2) cells.
        success_buf: (N,) whether the target was reached in this step.
        lava_buf: (N,) whether the step ended in lava.
        visited: (N, 21, 21) cells of the present episode; where one just ended, of that one.
    """

    evaluation = "legged_gym_ext.training.maze_evaluation"
    comparison = "legged_gym_ext.training.maze_evaluation:Comparison"
    pictures = "legged_gym_ext.reports.maze:pictures"
    num_actions = NUM_ACTIONS
    obs_history = None
    nan_resets = 0
    dt = 1.0  # an action is one step

    def __init__(self, cfg: ColourMazeCfg) -> None:
        """Draw the mazes and start.

        Raises:
            UserError: a setting that there is not.
        """
        _check(cfg)
        self.cfg, self.sim, self.notes = cfg, Grid(), []
        self.num_envs, self.max_episode_length = cfg.env.num_envs, cfg.env.max_steps
        self.device = torch.device("cpu")
        self.published = cfg.maze.quirks == "published"
        self.rng = torch.Generator().manual_seed(cfg.seed)
        if cfg.maze.unlike_seed >= 0:
            known = draw_mazes(cfg.maze.unlike_envs, torch.Generator().manual_seed(cfg.maze.unlike_seed))
            grids = draw_other_mazes(self.num_envs, self.rng, known)
        else:
            grids = draw_mazes(self.num_envs, self.rng)
        self._first_cell = torch.arange(self.num_envs) * PADDED**2
        self._offsets, self._moves, self._mask = torch.tensor(SEEN), torch.tensor(MOVES), torch.tensor(MASK)
        self._start, self._target = torch.tensor(START), torch.tensor(TARGET)
        around = (draw_mazes(1, torch.Generator())[0] == NORMAL).nonzero()
        self._around = around[(around != self._target).any(-1)]
        self._allocate()
        self.set_mazes(grids)

    def set_mazes(self, grids: torch.Tensor) -> None:
        """Start new episodes in mazes (N, 21, 21) of codes."""
        self._use_mazes(grids)
        self.reset()

    def _use_mazes(self, grids: torch.Tensor) -> None:
        """Mazes (N, 21, 21) and what is derived of them."""
        padded = torch.full((self.num_envs, PADDED, PADDED), OUTSIDE)
        padded[:, 1:-1, 1:-1] = self.grids = grids
        self._codes = padded.flatten()
        on_path = (grids == PATH).flatten(1)
        self._path_lengths = on_path.sum(1)
        order = on_path.byte().argsort(dim=1, descending=True, stable=True)[:, : int(self._path_lengths.max())]
        self._paths = torch.stack((torch.div(order, SIZE, rounding_mode="floor"), order % SIZE), dim=-1)

    def _allocate(self) -> None:
        flags = lambda: torch.zeros(self.num_envs, dtype=torch.bool)  # noqa: E731
        self.success_buf, self.lava_buf, self.time_out_buf, self.reset_buf = flags(), flags(), flags(), flags()
        self.rew_buf = torch.zeros(self.num_envs)
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.position = self._start.repeat(self.num_envs, 1)
        self._last_position = self.position.clone()
        self._visited = torch.zeros(self.num_envs * PADDED**2, dtype=torch.bool)
        self._ended = flags()  # in the step before this one
        self.extras: dict[str, Any] = {}

    @property
    def visited(self) -> torch.Tensor:
        """See the class."""
        return self._visited.unflatten(0, (self.num_envs, PADDED, PADDED))[:, 1:-1, 1:-1]

    @property
    def group_dims(self) -> dict[str, int]:
        """Group -> columns."""
        return dict.fromkeys(("policy", "privileged", "critic"), NUM_OBS)

    def describe(self) -> dict[str, Any]:
        """What it is made of, as `describe.py` shows it."""
        terms, start = [], 0
        for name, columns, unit in TERMS:
            place = {"name": name, "dim": columns, "slice": [start, start + columns], "unit": unit}
            terms.append({**place, "scale": 1.0, "noise": 0.0})
            start += columns
        groups = {group: {"dim": NUM_OBS, "terms": terms} for group in self.group_dims}
        return {"groups": groups, "rewards": dict(vars(self.cfg.rewards))}

    # -- stepping ----------------------------------------------------------------------------------------------------

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start all episodes anew; returns the student's and the teacher's observations."""
        self._ended.fill_(True)
        self._clear_visits()
        self.position.copy_(self._draw_starts(torch.arange(self.num_envs)))
        self._last_position.copy_(self.position)
        self.episode_length_buf.zero_()
        self._show(self._observe(torch.zeros_like(self.position)))
        return self.obs_buf, self.privileged_obs_buf

    def step(
        self, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Move in every maze by actions (N, 4).

        Returns:
            The student's observations, the teacher's, rewards, resets, extras, as in legged_gym.
        """
        if actions.shape != (self.num_envs, self.num_actions):
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {(self.num_envs, self.num_actions)}")
        self._clear_visits()
        before = self.position.clone()
        self.position += self._moves[actions.argmax(-1)]
        self.position.clamp_(0, SIZE - 1)
        self.episode_length_buf += 1
        self._reward()
        torch.logical_or(self.success_buf, self.lava_buf, out=self.reset_buf)
        self.time_out_buf.copy_((self.episode_length_buf >= self.max_episode_length) & ~self.reset_buf)
        self.reset_buf |= self.time_out_buf
        self.extras = {"time_outs": self.time_out_buf.clone()}
        self._finish_step(before)
        return self.obs_buf, self.privileged_obs_buf, self.rew_buf, self.reset_buf, self.extras

    def _reward(self) -> None:
        """Rewards (N,) of the cells that were entered, and how they end an episode."""
        rewards, cell = self.cfg.rewards, self._cell()
        code, seen = self._codes[cell], self._visited[cell]
        self._visited[cell] = True
        torch.eq(code, LAVA, out=self.lava_buf)
        torch.all(self.position == self._target, dim=-1, out=self.success_buf)
        path = (code == PATH).float()
        self.rew_buf.copy_(path * rewards.path + path * seen * (rewards.revisit - rewards.path))
        self.rew_buf.add_(self.success_buf, alpha=rewards.target).add_(self.lava_buf, alpha=rewards.lava)

    def _finish_step(self, before: torch.Tensor) -> None:
        """Start new episodes where one ended, and observe; `before` (N, 2) are the positions before this step."""
        ended, time_outs = self.reset_buf, bool(self.time_out_buf.any())
        self._ended.copy_(ended)
        if bool(ended.any()):
            ids = ended.nonzero().flatten()
            self.extras["episode"] = {
                f"Metrics/{name}": buffer[ids].float()
                for name, buffer in (("success", self.success_buf), ("lava", self.lava_buf))
            }
        if time_outs and not self.published:
            self._show(self._observe(self.position - before))
            self.extras["time_out_observations"] = self._groups()
        if bool(ended.any()):
            self.position[ended] = self._draw_starts(ended.nonzero().flatten())
        self.episode_length_buf[ended] = 0
        if self.published:
            # Made before the last position is kept, one too far, and not told of new episodes.
            displacement = self.position - (self._last_position + 1)
            self._last_position.copy_(before)
        else:
            displacement = (self.position - before).masked_fill_(ended[:, None], 0)
        self._show(self._observe(displacement))
        if time_outs and self.published:
            self.extras["time_out_observations"] = self._groups()

    def _draw_starts(self, ids: torch.Tensor) -> torch.Tensor:
        """(M, 2) cells that episodes begin in: START, or, of the exploring ones, any around the lava or on the path."""
        starts, share = self._start.repeat(len(ids), 1), self.cfg.maze.exploring_starts
        if share > 0.0:
            kind, place = torch.rand(2, len(ids), generator=self.rng)
            around = self._around[(place * len(self._around)).long()]
            on_path = self._paths[ids, (place * self._path_lengths[ids]).long()]
            elsewhere = torch.where((kind < self.cfg.maze.exploring_on_path * share)[:, None], on_path, around)
            starts = torch.where((kind < share)[:, None], elsewhere, starts)
        return starts

    def _cell(self) -> torch.Tensor:
        """(N,) index of the present cell of each environment in the padded grids."""
        return self._first_cell + (self.position[:, 0] + 1) * PADDED + self.position[:, 1] + 1

    def _clear_visits(self) -> None:
        """Forget the cells of episodes that ended in the step before; the present cell begins the next one."""
        if bool(self._ended.any()):
            self._visited.unflatten(0, (self.num_envs, -1))[self._ended] = False
            self._ended.zero_()

    def _observe(self, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All that there is to see and what the student sees of it, (N, 9)."""
        codes = self._codes[self._cell()[:, None] + self._offsets]
        way = self._target - self.position
        groups = (torch.cat((way, seen, displacement), dim=-1).float() for seen in (codes, self._mask[codes]))
        everything, masked = groups
        return everything, masked

    def _show(self, observed: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.privileged_obs_buf, self.obs_buf = observed
        self.critic_obs_buf = self.privileged_obs_buf

    def _groups(self) -> dict[str, torch.Tensor]:
        return {"policy": self.obs_buf, "privileged": self.privileged_obs_buf, "critic": self.critic_obs_buf}

    # -- exact resume ------------------------------------------------------------------------------------------------

    def take_snapshot(self) -> dict[str, Any]:
        """Copies of all state."""
        buffers = {name: getattr(self, name).clone() for name in ("grids", *BUFFERS)}
        return {**buffers, "rng": self.rng.get_state()}

    def restore_snapshot(self, snapshot: dict[str, Any], changed: Any = ()) -> str | None:
        """Continue from a snapshot of an environment with as many mazes, otherwise say why not; see envs.base."""
        if any(field.startswith("maze.") for field in changed):
            return f"new episodes start: {', '.join(changed)} changed"
        if any(getattr(self, name).shape != snapshot[name].shape for name in BUFFERS):
            return "new episodes start in new mazes: the checkpoint was written with another number of environments"
        self._use_mazes(snapshot["grids"].clone())
        for name in BUFFERS:
            setattr(self, name, snapshot[name].clone())
        self.critic_obs_buf = self.privileged_obs_buf
        self.rng.set_state(snapshot["rng"].cpu())
        return None


BUFFERS = (
    *("position", "_last_position", "_visited", "_ended", "episode_length_buf"),
    *("obs_buf", "privileged_obs_buf"),
)
"""State of the environment, besides its mazes."""


def _check(cfg: ColourMazeCfg) -> None:
    if cfg.sim.engine != "grid":
        raise UserError(f"--sim={cfg.sim.engine}: the colour maze is a grid, no physics; leave that out")
    if cfg.sim.device != "cpu":
        raise UserError(f"--sim_device={cfg.sim.device}: the colour maze runs on the CPU; leave that out")
    if cfg.maze.quirks not in ("fixed", "published"):
        raise UserError(f"--env.maze.quirks={cfg.maze.quirks}: expected fixed or published")
    for name in ("exploring_starts", "exploring_on_path"):
        if not 0.0 <= getattr(cfg.maze, name) <= 1.0:
            raise UserError(f"--env.maze.{name}={getattr(cfg.maze, name)}: expected a share from 0 to 1")
    if cfg.env.max_steps < 1:
        raise UserError(f"--env.env.max_steps={cfg.env.max_steps}: expected at least 1")
