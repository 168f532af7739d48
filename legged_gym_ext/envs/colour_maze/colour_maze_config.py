"""Tasks of the colour maze: `colour_maze_sitt`, and `colour_maze_teacher`, whose teacher ignores its student."""

from __future__ import annotations

from legged_gym_ext.envs.methods import SITTCfg
from legged_gym_ext.task_registry import TaskRegistry
from legged_gym_ext.utils.config import BaseConfig


class ColourMazeCfg(BaseConfig):
    """The maze of arXiv 2412.09149."""

    seed = 1

    class env:
        num_envs = 1000  # mazes, each drawn once
        max_steps = 442  # of an episode: the published code asks for 441 cells of the grid before it counts

    class maze:
        quirks = "fixed"  # fixed | published: displacements and time-outs as in the published code
        unlike_seed = -1  # evaluations draw no maze of the training with this seed; -1: any
        unlike_envs = 0  # mazes of that training

    class rewards:
        target = 10.0
        path = 0.5  # a cell of the path, at its first visit
        revisit = -0.5  # at every further one
        lava = -0.1

    class sim:
        engine = "grid"
        device = "cpu"
        num_threads = 0


class ColourMazeSITTCfg(SITTCfg):
    """SITT with the networks of the paper's maze: three encoders 9-64-64, a linear decoder of four logits."""

    class actor:
        hidden_dims: list = []
        activation = "tanh"
        obs_normalization = False
        latent_dim = 64
        latent_activation = "tanh"
        privilege_hidden_dims = [64]
        history_length = 1  # the student remembers nothing
        history_hidden_dims = [64]
        proxy_hidden_dims = [64]
        proxy_activation = "relu"
        head_reads_frame = False

        class distribution_cfg:
            class_name = "CategoricalDistribution"

    class critic:
        hidden_dims = [64, 64]
        activation = "tanh"
        obs_normalization = False

    class algorithm:
        kl_weight = 1.9
        symmetry_cfg = None
        use_mixed_precision = False  # layers this small gain nothing
        num_learning_epochs = 4
        num_mini_batches = 10
        entropy_coef = 0.3
        schedule = "fixed"
        learning_rate = 1e-3

    class runner:
        num_steps_per_env = 50
        max_iterations = 300
        experiment_name = "colour_maze_sitt"
        eval_interval = 10
        eval_envs = 200


class ColourMazeTeacherCfg(ColourMazeSITTCfg):
    """A teacher that is plain PPO, and a student that is aligned with it afterwards."""

    class algorithm:
        kl_weight = 0.0
        teacher_weight = 0.0

    class runner:
        experiment_name = "colour_maze_teacher"


ENVIRONMENT = "legged_gym_ext.envs.colour_maze.colour_maze:ColourMaze"


def register_colour_maze(registry: TaskRegistry) -> None:
    """Add the tasks."""
    registry.register("colour_maze_sitt", ENVIRONMENT, ColourMazeCfg, ColourMazeSITTCfg)
    registry.register("colour_maze_teacher", ENVIRONMENT, ColourMazeCfg, ColourMazeTeacherCfg)
