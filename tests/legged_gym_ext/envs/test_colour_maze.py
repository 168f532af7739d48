"""The colour maze: paths, observations, rewards, ends of episodes, and the whole step against a naive one."""

from __future__ import annotations

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.colour_maze import mazes
from legged_gym_ext.envs.colour_maze.colour_maze import ColourMaze
from legged_gym_ext.envs.colour_maze.colour_maze_config import ColourMazeCfg
from legged_gym_ext.utils.errors import UserError

RIGHT, DOWN, LEFT, UP = range(4)  # +x, +y, -x, -y; y is drawn downwards
SIGNS = ".#o?X"


def make(num_envs: int = 1, seed: int = 1, **fields) -> ColourMaze:
    cfg = ColourMazeCfg()
    cfg.env.num_envs, cfg.seed, cfg.maze.exploring_starts = num_envs, seed, 0.0
    for name, value in fields.items():
        section, _, field = name.partition("__")
        setattr(getattr(cfg, section), field, value)
    return task_registry.make_env("colour_maze_sitt", cfg)[0]


def go(env: ColourMaze, *moves: int) -> list[float]:
    """Make the same moves in all mazes; rewards of the first one."""
    rewards = []
    for move in moves:
        env.step(torch.nn.functional.one_hot(torch.full((env.num_envs,), move), 4).float())
        rewards.append(round(env.rew_buf[0].item(), 6))
    return rewards


def use_maze(env: ColourMaze, column: int, runs: list[int], shifts: list[int]) -> None:
    """Put the same maze, made by hand, into every environment."""
    grids = mazes.lay_paths(*(torch.tensor([x]) for x in (column, runs, shifts)))
    env.set_mazes(grids.expand(env.num_envs, -1, -1))


# -- mazes -------------------------------------------------------------------------------------------------------------


def test_a_path_made_by_hand():
    # Column 9 of the block is column 12 of the grid. Runs to rows 4, 8, 12 and 14 of the block; shifts -2, then +3
    # (from column 7 to 10), then +1, which would leave the columns 3 to 10 and is flipped.
    grid = mazes.lay_paths(torch.tensor([9]), torch.tensor([[4, 4, 4, 4, 3]]), torch.tensor([[-2, 3, 1, 2]]))[0]
    drawn = ["".join(SIGNS[code] for code in grid[:, y].tolist()) for y in range(21)]
    expected = [
        *["....................."] * 3,
        *["...#########o#####..."] * 4,
        "...#######ooo#####...",
        *["...#######o#######..."] * 3,
        "...#######oooo####...",
        *["...##########o####..."] * 3,
        "...#########oo####...",
        *["...#########o#####..."] * 2,
        *["....................."] * 3,
    ]
    assert drawn == expected


def test_paths_have_the_lengths_of_the_published_generator():
    # 15 rows, and 2 cells on average for each turn: 3 turns if two of four runs are 4 cells or more of them (11/16),
    # otherwise 4. So 15 + 2 (3 * 11/16 + 4 * 5/16) = 21.625, from 15 + 3 * 1 to 15 + 4 * 3.
    grids = mazes.draw_mazes(4000, torch.Generator().manual_seed(0))
    cells = (grids == mazes.PATH).flatten(1).sum(1)
    assert cells.float().mean().item() == pytest.approx(21.625, abs=0.15)  # four standard errors of 4000
    assert cells.min() == 18 and cells.max() == 27
    assert (grids == mazes.LAVA).flatten(1).sum(1).add(cells).eq(225).all()


def test_paths_lead_from_side_to_side_without_a_gap():
    grids = mazes.draw_mazes(200, torch.Generator().manual_seed(3))
    path = grids == mazes.PATH
    assert path[:, :, 3].any(1).all() and path[:, :, 17].any(1).all()
    reached = torch.zeros_like(path)
    reached[:, :, 3] = path[:, :, 3]
    for _ in range(30):
        for axis, shift in ((1, 1), (1, -1), (2, 1), (2, -1)):
            reached |= path & reached.roll(shift, axis)
    assert torch.equal(reached, path)


def test_other_mazes_are_none_of_the_known_ones():
    known = mazes.draw_mazes(3000, torch.Generator().manual_seed(1))
    plain = mazes.draw_mazes(500, torch.Generator().manual_seed(2))
    other = mazes.draw_other_mazes(500, torch.Generator().manual_seed(2), known)
    again = mazes.among(plain, known)
    assert again.sum() > 20  # there are not so many mazes
    assert not mazes.among(other, known).any()
    assert torch.equal(other[~again], plain[~again])
    assert mazes.among(known[:7], known).all()


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_the_teacher_sees_the_path_and_the_student_does_not():
    env = make()
    use_maze(env, 7, [4, 4, 4, 4, 4], [1, 1, 1, 1])
    go(env, UP)  # from (10, 19) to (10, 18); the path ends at (10 + 1, 17), after shifts +1, +1 and -1
    column = int((env.grids[0, :, 17] == mazes.PATH).nonzero())
    assert column == 13
    assert env.privileged_obs_buf[0].tolist() == [0, -17, 0, 0, 0, 1, 0, 0, -1]
    assert env.obs_buf[0].tolist() == [0, -17, 0, 0, 0, 2, 0, 0, -1]
    go(env, RIGHT, RIGHT, RIGHT)  # below the path
    assert env.privileged_obs_buf[0].tolist() == [-3, -17, 0, 0, 0, 2, 0, 1, 0]
    assert env.obs_buf[0].tolist() == [-3, -17, 0, 0, 0, 2, 0, 1, 0]
    go(env, UP)
    assert env.privileged_obs_buf[0].tolist() == [-3, -16, 2, 0, 1, 2, 1, 0, -1]
    assert env.obs_buf[0].tolist() == [-3, -16, 2, 0, 2, 2, 2, 0, -1]


def test_the_student_tells_the_border_and_nothing_of_the_colours():
    assert mazes.MASK == (0, 2, 2, 2, 4)
    env = make()
    go(env, DOWN)
    assert env.obs_buf[0].tolist() == [0, -19, 0, 4, 0, 0, 0, 0, 1]
    go(env, DOWN)  # against the border
    assert env.position[0].tolist() == [10, 20]
    assert env.obs_buf[0].tolist() == [0, -19, 0, 4, 0, 0, 0, 0, 0]


def test_student_observations_do_not_depend_on_the_path():
    env = make(64, seed=5)
    go(env, UP, LEFT, LEFT, RIGHT)
    assert len(env.obs_buf.unique(dim=0)) == 1
    assert len(env.privileged_obs_buf.unique(dim=0)) > 1


# -- rewards and ends --------------------------------------------------------------------------------------------------


def test_rewards_along_a_path_step_by_step():
    env = make()
    use_maze(env, 7, [4, 4, 4, 4, 4], [1, 1, 1, 1])
    # To the foot of the path, on it, back off, on it again, up; then right into the lava.
    assert go(env, UP, RIGHT, RIGHT, RIGHT) == [0, 0, 0, 0]
    assert go(env, UP, UP, DOWN, DOWN, UP) == [0.5, 0.5, -0.5, 0, -0.5]
    assert not env.reset_buf.any()
    assert go(env, RIGHT) == [-0.1]
    assert env.reset_buf.all() and env.lava_buf.all() and not env.success_buf.any()
    assert env.position[0].tolist() == [10, 19]
    assert go(env, UP, RIGHT, RIGHT, RIGHT, UP) == [0, 0, 0, 0, 0.5]  # a new episode: nothing is visited


def test_the_way_around_earns_the_target_alone():
    env = make(3)
    moves = [LEFT] * 8 + [UP] * 18 + [RIGHT] * 8
    rewards = go(env, *moves)
    assert rewards == [0.0] * 33 + [10.0]
    assert env.success_buf.all() and env.reset_buf.all() and not env.lava_buf.any()
    assert env.extras["episode"]["Metrics/success"].tolist() == [1.0, 1.0, 1.0]
    assert not env.extras["time_outs"].any()
    assert env.position.tolist() == [[10, 19]] * 3


@pytest.mark.parametrize("quirks", ["fixed", "published"])
def test_an_episode_has_442_steps_at_most(quirks):
    env = make(maze__quirks=quirks)
    for step in range(1, 443):
        go(env, DOWN)
        assert env.reset_buf.item() == env.extras["time_outs"].item() == (step == 442)
    assert not env.success_buf.any() and not env.lava_buf.any()
    go(env, UP)
    assert not env.reset_buf.any() and env.episode_length_buf.item() == 1


def test_a_step_that_ends_in_lava_is_no_time_out():
    env = make(env__max_steps=1)
    use_maze(env, 9, [4] * 5, [1] * 4)
    env.position[0, 1] = 18
    go(env, UP)
    assert env.lava_buf.item() and env.reset_buf.item() and not env.extras["time_outs"].item()


def test_a_time_out_shows_the_state_that_it_cut_off():
    env = make(2, env__max_steps=2)
    go(env, LEFT)
    assert "time_out_observations" not in env.extras
    go(env, LEFT)
    shown = env.extras["time_out_observations"]
    assert shown["critic"].tolist() == [[2, -18, 0, 0, 0, 0, 0, -1, 0]] * 2
    assert env.critic_obs_buf.tolist() == [[0, -18, 0, 0, 0, 0, 0, 0, 0]] * 2


def test_exploring_starts_are_on_the_path_and_all_around_the_lava():
    env = make(4000, maze__exploring_starts=0.8, maze__exploring_on_path=0.5)
    x, y = env.position.unbind(-1)
    code = env.grids[torch.arange(4000), x, y]
    assert set(code.tolist()) == {mazes.NORMAL, mazes.PATH}
    # 0.4 on the path, 0.4 in one of 21 * 21 - 15 * 15 - 1 = 215 cells, the start among them, 0.2 at the start.
    assert (code == mazes.PATH).float().mean().item() == pytest.approx(0.4, abs=0.03)
    at_start = (x == 10) & (y == 19)
    assert at_start.float().mean().item() == pytest.approx(0.2 + 0.4 / 215, abs=0.03)
    around = env.position[code == mazes.NORMAL].unique(dim=0).tolist()
    assert len(around) > 205 and [10, 1] not in around  # of 215, each missed with probability e^(-1600/215)
    rows = y[code == mazes.PATH]
    assert rows.min() == 3 and rows.max() == 17
    assert not env.obs_buf[:, -2:].any()  # nobody has moved yet


def test_every_episode_begins_at_the_start_without_exploring_starts():
    env = make(500)
    for _ in range(30):
        go(env, UP)
    assert (env.position[:, 0] == 10).all()


# -- quirks of the published code --------------------------------------------------------------------------------------


def test_published_displacements_are_two_steps_old_and_one_too_far():
    env = make(maze__quirks="published")
    seen = []
    for move in (LEFT, LEFT, UP, RIGHT):
        go(env, move)
        seen.append(env.obs_buf[0, -2:].tolist())
    # Positions (10, 19), (9, 19), (8, 19), (8, 18), (9, 18); p_t - (p_{t-2} + 1), where p_{-1} is the start.
    assert seen == [[-2, -1], [-3, -1], [-2, -2], [0, -2]]


def test_published_displacements_after_an_end_are_of_the_old_episode():
    env = make(maze__quirks="published", env__max_steps=2)
    go(env, LEFT, LEFT)
    assert env.position[0].tolist() == [10, 19]
    assert env.obs_buf[0, -2:].tolist() == [-1, -1]  # start minus (p_0 + 1), p_0 the start
    go(env, LEFT)
    assert env.obs_buf[0, -2:].tolist() == [-1, -1]  # (9, 19) minus ((9, 19) + 1)


def test_published_time_outs_show_the_start_of_the_next_episode():
    env = make(maze__quirks="published", env__max_steps=2)
    go(env, LEFT, LEFT)
    assert torch.equal(env.extras["time_out_observations"]["critic"], env.critic_obs_buf)
    assert env.critic_obs_buf[0, :2].tolist() == [0, -18]


# -- the whole step ----------------------------------------------------------------------------------------------------


class NaiveMaze:
    """One maze, written as one would with loops and sets."""

    def __init__(self, grid: list, max_steps: int) -> None:
        self.grid, self.max_steps = grid, max_steps
        self.begin()

    def begin(self) -> None:
        self.position, self.seen, self.steps = (10, 19), set(), 0

    def code(self, x: int, y: int) -> int:
        return self.grid[x][y] if 0 <= x < 21 and 0 <= y < 21 else 4

    def observe(self, displacement: tuple) -> list:
        x, y = self.position
        codes = [self.code(*cell) for cell in ((x, y), (x, y + 1), (x + 1, y), (x, y - 1), (x - 1, y))]
        return [10 - x, 1 - y, *codes, *displacement]

    def step(self, move: int) -> tuple:
        before = self.position
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[move]
        x, y = min(max(before[0] + dx, 0), 20), min(max(before[1] + dy, 0), 20)
        self.position, self.steps, code = (x, y), self.steps + 1, self.code(x, y)
        reward = 10.0 * ((x, y) == (10, 1)) - 0.1 * (code == 1)
        if code == 2:
            reward += -0.5 if (x, y) in self.seen else 0.5
        self.seen.add((x, y))
        ended = (x, y) == (10, 1) or code == 1
        time_out = not ended and self.steps >= self.max_steps
        displacement = (x - before[0], y - before[1])
        if ended or time_out:
            self.begin()
            displacement = (0, 0)
        return self.observe(displacement), reward, ended or time_out, time_out


def test_the_vectorised_step_is_the_naive_one_on_random_actions():
    env = make(40, seed=9, env__max_steps=60)
    naive = [NaiveMaze(grid, 60) for grid in env.grids.tolist()]
    generator, ends = torch.Generator().manual_seed(0), torch.zeros(3)
    for _ in range(400):
        moves = torch.multinomial(torch.tensor([0.2, 0.15, 0.3, 0.35]), 40, True, generator=generator)
        env.step(torch.nn.functional.one_hot(moves, 4).float())
        found = [maze.step(move) for maze, move in zip(naive, moves.tolist())]
        observed, rewards, dones, time_outs = zip(*found)
        assert env.privileged_obs_buf.tolist() == list(observed)
        assert torch.allclose(env.rew_buf, torch.tensor(rewards))
        assert env.reset_buf.tolist() == list(dones) and env.extras["time_outs"].tolist() == list(time_outs)
        mask = torch.tensor([0, 2, 2, 2, 4])
        assert torch.equal(env.obs_buf[:, 2:7], mask[env.privileged_obs_buf[:, 2:7].long()].float())
        ends += torch.stack((env.lava_buf.sum(), env.time_out_buf.sum(), (env.rew_buf.abs() == 0.5).sum()))
    assert (ends > 10).all()  # the test saw lava, time-outs and paths


def test_actions_are_read_by_their_largest_entry():
    env, other = make(5), make(5)
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    env.step(logits)
    other.step(torch.nn.functional.one_hot(logits.argmax(-1), 4).float())
    assert torch.equal(env.position, other.position)


# -- seeds and settings ------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_mazes_and_another_one_others():
    assert torch.equal(make(20, seed=3).grids, make(20, seed=3).grids)
    assert not torch.equal(make(20, seed=3).grids, make(20, seed=4).grids)


def test_an_evaluation_can_leave_out_the_mazes_of_a_training():
    trained = make(1000, seed=1)
    env = make(300, seed=12345, maze__unlike_seed=1, maze__unlike_envs=1000)
    assert not mazes.among(env.grids, trained.grids).any()
    assert mazes.among(make(300, seed=12345).grids, trained.grids).any()


def test_a_snapshot_continues_exactly():
    env, other = make(10), make(10, seed=2)
    go(env, UP, UP)
    snapshot = env.take_snapshot()
    assert other.restore_snapshot(snapshot) is None
    for moves in ((LEFT,), (UP, UP), (RIGHT,)):
        assert go(env, *moves) == go(other, *moves)
        assert torch.equal(env.privileged_obs_buf, other.privileged_obs_buf)
    assert "another number of environments" in str(make(3).restore_snapshot(snapshot))


def test_exploring_starts_are_on_the_paths_of_restored_mazes():
    always = {"maze__exploring_starts": 1.0, "maze__exploring_on_path": 1.0}
    env, other = make(10, **always), make(10, seed=2, **always)
    other.restore_snapshot(env.take_snapshot())
    other.reset()
    x, y = other.position.unbind(-1)
    assert (env.grids[torch.arange(10), x, y] == mazes.PATH).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"maze__quirks": "no"}, r"^--env.maze.quirks=no: expected fixed or published$"),
        ({"sim__engine": "mujoco"}, r"^--sim=mujoco: the colour maze is a grid, no physics; leave that out$"),
        ({"sim__device": "cuda:0"}, r"^--sim_device=cuda:0: the colour maze runs on the CPU; leave that out$"),
        ({"maze__exploring_starts": 1.5}, r"^--env.maze.exploring_starts=1.5: expected a share from 0 to 1$"),
        ({"env__max_steps": 0}, r"^--env.env.max_steps=0: expected at least 1$"),
    ],
)
def test_mistakes_are_told_in_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        make(**fields)


def test_actions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"actions have shape \(2, 3\), expected \(2, 4\)"):
        make(2).step(torch.zeros(2, 3))
