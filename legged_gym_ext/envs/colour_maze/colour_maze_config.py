"""Tasks of the colour maze: `colour_maze_sitt`, and `colour_maze_teacher`, whose teacher ignores its student."""

from __future__ import annotations

from legged_gym_ext.envs.methods import SITTCfg
from legged_gym_ext.task_registry import TaskRegistry
from legged_gym_ext.utils.config import BaseConfig


class ColourMazeCfg(BaseConfig):
    """The maze of arXiv 2412.09149."""

    seed = 1

    class env:
        num_envs = 512  # mazes, each drawn once
        max_steps = 442  # of an episode: the published code asks for 441 cells of the grid before it counts

    class maze:
        quirks = "fixed"  # fixed | published: displacements and time-outs as in the published code
        exploring_starts = 0.4  # share of training episodes that begin in any cell around the lava
        exploring_on_path = 0.7  # share of these that begin on the path instead
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
    """SITT with the networks of the paper's maze: three encoders 9-64-64, a linear decoder of four logits.

    Sized for minutes on one core: 2.6 million steps instead of 100.
    """

    class actor:
        hidden_dims: list = []
        activation = "tanh"
        obs_normalization = True  # raw, ways of up to 20 cells saturate what should tell the colours apart
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

    class algorithm:
        kl_weight = 1.2  # above 0.78 the way around is worth more than the path; the published code has 1.9
        kl_clip: float | None = None  # with 1 nat the path stays the better way
        kl_warmup = 60
        teacher_weight = 0.01
        num_encoder_steps = 20
        encoder_learning_rate = 3e-3
        proxy_learning_rate = 3e-3
        symmetry_cfg = None
        use_mixed_precision = False  # layers this small gain nothing
        num_learning_epochs = 1
        num_mini_batches = 16
        entropy_coef = 0.1
        schedule = "fixed"
        learning_rate = 2e-3

    class runner:
        num_steps_per_env = 64
        max_iterations = 80
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


class ColourMazePublishedCfg(ColourMazeCfg):
    """The maze with the quirks of the published code, and its starts."""

    class env:
        num_envs = 1000

    class maze:
        quirks = "published"
        exploring_starts = 0.0


class ColourMazePublishedCfgPPO(ColourMazeSITTCfg):
    """Settings of the published code, 1e8 steps of it: about half a day on one core.

    Not as there: the proxy reads what the student sees beside what the teacher sees, the student does not begin as a
    copy of the teacher, weights are initialised as torch does, and Adam's epsilon is 1e-8. The sign of the reward is
    that of the code; the paper's is `kl_sign = "penalty"`.
    """

    class actor:
        obs_normalization = False

    class critic:
        obs_normalization = False

    class algorithm:
        kl_weight = 1.9
        kl_sign = "bonus"
        kl_clip: float | None = None
        kl_delay = 0
        kl_warmup = 0
        teacher_term = "feature_l1"
        teacher_weight = 0.01
        alignment_loss = "l1"
        num_encoder_steps = 20
        num_encoder_mini_batches = 1
        encoder_learning_rate = 1e-4
        proxy_learning_rate = 1e-4
        num_learning_epochs = 10
        num_mini_batches = 1
        entropy_coef = 0.3
        value_loss_coef = 0.5
        use_clipped_value_loss = False
        max_grad_norm = 0.5
        clip_jointly = True
        learning_rate = 3e-4
        schedule = "fixed"

    class runner:
        num_steps_per_env = 250
        max_iterations = 400
        experiment_name = "colour_maze_published"


ENVIRONMENT = "legged_gym_ext.envs.colour_maze.colour_maze:ColourMaze"


def register_colour_maze(registry: TaskRegistry) -> None:
    """Add the tasks."""
    registry.register("colour_maze_sitt", ENVIRONMENT, ColourMazeCfg, ColourMazeSITTCfg)
    registry.register("colour_maze_published", ENVIRONMENT, ColourMazePublishedCfg, ColourMazePublishedCfgPPO)
    registry.register("colour_maze_teacher", ENVIRONMENT, ColourMazeCfg, ColourMazeTeacherCfg)
