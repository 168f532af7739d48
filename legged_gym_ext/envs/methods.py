"""Methods and grounds, independent of robots: the registry composes them with each robot into tasks.

`go2_ult_flat` is the robot `go2`, the method `ult` and the ground `flat`. A method is a training configuration:
algorithm and network are named by string, the observation set `privileged` is what the teacher reads beyond the robot's
own sensors. Options are listed once: those of teacher and student under TS; CTS, RMA and SITT have what is different;
ULT has its own. Their values are the defaults of the classes, repeated to be seen
(tests/rsl_rl_ult/algorithms/test_defaults.py).

A new method is a class and a `Method` in `METHODS`; every robot gets it.
"""

from __future__ import annotations

from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO
from legged_gym_ext.envs.base.velocity_config import OnPlane
from legged_gym_ext.task_registry import Ground, Method


class PPOCfg(LeggedRobotCfgPPO):
    """PPO of rsl-rl-lib with an asymmetric critic, sized for a few CPU cores.

    Many small updates: 512 robots x 24 steps, small networks, twice the usual KL step, and every sample learnt from
    twice through its mirror image. benchmarks/results/tuning.md has the runs behind these choices.
    """

    class actor:
        hidden_dims = [128, 128, 64]

    class critic:
        hidden_dims = [128, 128, 64]

    class algorithm:
        num_learning_epochs = 4
        desired_kl = 0.02
        symmetry_cfg: dict | None = {
            "data_augmentation_func": "legged_gym_ext.envs.base.symmetry:mirror",  # registration names the robot's own
            "use_data_augmentation": True,
            "use_mirror_loss": False,
            "mirror_loss_coeff": 0.0,
        }

    class runner:
        max_iterations = 1200  # on rough ground, here and for the other methods: an hour on two cores


class BlindCfg(PPOCfg):
    """No privileged information anywhere: the lower baseline."""

    class obs_groups:
        critic = ["policy"]


class TSCfg(PPOCfg):
    """One-stage teacher-student: the teacher acts and is trained by PPO, the student's encoder follows its latent."""

    class obs_groups:
        privileged = ["privileged"]
        # history = ["history"] would read windows that the environment keeps (env.env.num_history frames)

    class actor:
        class_name = "ActorCriticTS"
        latent_dim = 32
        latent_norm = "none"  # none | l2: latents on the unit sphere
        privilege_hidden_dims = [128, 64]  # E_priv: privileged -> latent
        history_encoder = "MLP"  # MLP | TCN | GRU: E_hist
        history_length = 20  # frames (0.4 s) that the student sees, in training and deployment
        history_hidden_dims = [128, 64]  # MLP
        tcn_channels = [32, 32, 32]  # TCN: one entry per convolution
        tcn_kernel_sizes = [4, 3, 3]
        tcn_strides = [2, 1, 1]
        tcn_dilations = [1, 1, 2]
        gru_hidden_dim = 128  # GRU
        gru_num_layers = 1

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_TS"
        num_encoder_steps = 40  # gradient steps of E_hist per update
        num_encoder_mini_batches = 20  # equal parts of the samples and their mirror images, one for each step
        encoder_learning_rate = 2e-4  # fixed
        encoder_max_grad_norm = 1.0
        encoder_seed = 0  # of the generator that shuffles E_hist's minibatches
        student_loss = "latent"  # latent | action_latent: also the squared action error (Lee et al. 2020)
        optimizer = "adam"  # adam | adamw | sgd | rmsprop
        normalize_advantage_per_mini_batch = False
        use_mixed_precision = None  # bfloat16 autocast; None: where the processor multiplies bfloat16 natively

    class runner:
        max_iterations = 1050
        eval_interval = 20  # iterations between comparisons of teacher and student; 0: never
        eval_envs = 64  # robots of a comparison, half of them driven by each


class CTSCfg(TSCfg):
    """Concurrent teacher-student: both drive robots and train one policy head and one critic."""

    class actor:
        class_name = "ActorCriticCTS"
        preset = "joint"  # joint | per_group: how teacher and student are told apart; sets what is None below
        latent_norm: str | None = None  # none | l2
        critic_reads_latent: bool | None = None  # True: the critic also reads the driver's latent

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_CTS"
        num_encoder_steps = 20
        num_encoder_mini_batches = 4
        encoder_learning_rate = 1e-3
        scale_encoder_learning_rate: bool | None = None  # True: it follows the schedule of actor and critic
        teacher_fraction = 0.75  # share of the robots that the teacher drives, (0, 1]
        advantage_norm: str | None = None  # joint | per_group
        kl_source: str | None = None  # all | teacher: whose KL steers the learning rate
        student_detach = True  # False: the policy gradient reaches E_hist


class RMACfg(TSCfg):
    """Rapid motor adaptation: PPO of the teacher first, then everything but E_hist is frozen and the student acts."""

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_RMA"
        encoder_learning_rate = 1e-3

    class runner:
        max_iterations = 1000
        stage2_iterations = 150  # after max_iterations of stage 1, in the same command; 0: stage 1 only


class _WithoutPPO(TSCfg):
    """Networks of teacher and student, and nothing of PPO's options."""

    algorithm = None  # type: ignore[assignment]  # the section of a subclass inherits nothing past this


class DAggerCfg(_WithoutPPO):
    """A student that imitates a trained teacher of any method: `--teacher=RUN`."""

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:DAgger"
        beta_schedule = "linear"  # linear | exponential | indicator | constant: probability that the teacher acts
        beta_start = 1.0
        beta_rounds = 20  # updates until it is 0 (exponential: 1 % of beta_start)
        mix_mode = "per_step"  # per_step | per_episode | per_env
        aggregate = "all"  # all | window | none: rounds that are learnt from
        window_rollouts = 20  # of window
        half_precision = False  # True: they are kept as float16
        student_noise = 0.1  # standard deviation of the student's actions where it acts
        loss = "mse"  # mse | huber | kl | action_latent: the last keeps the teacher's head and trains E_hist alone
        normalization: str | None = None  # aggregate | teacher: statistics of the student's inputs
        batch_size = 1024  # samples of a gradient step, mirrored ones included
        updates_per_round = 40
        dagger_seed = 0  # of the generators that draw who acts, noise and minibatches
        learning_rate = 1e-3
        max_grad_norm = 1.0
        optimizer = "adam"  # adam | adamw | sgd | rmsprop
        use_mixed_precision = None  # bfloat16 autocast; None: where the processor multiplies bfloat16 natively
        symmetry_cfg = PPOCfg.algorithm.symmetry_cfg

    class runner:
        max_iterations = 300
        eval_interval = 10


class SITTCfg(TSCfg):
    """Student-informed teacher training: the teacher pays for what its student cannot imitate."""

    class actor:
        class_name = "ActorCriticSITT"
        proxy_hidden_dims = [128, 64]  # E_proxy: frame and privileged -> the student's latent
        proxy_activation: str | None = None  # None: that of the other networks
        latent_activation: str | None = None  # also after the last layer of the three encoders
        head_reads_frame = True  # False: the policy head reads the latent alone

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_SITT"
        kl_weight = 0.05  # reward that a nat of KL(teacher || student) costs in each step (lambda1)
        kl_sign = "penalty"  # penalty | bonus: added, as in the published code
        kl_clip: float | None = 2.0  # nats at most that a step is charged for; None: no bound
        kl_delay: int | None = 0  # updates at weight 0; None: until the alignment has levelled off
        kl_warmup = 50  # updates in which the weight then rises
        kl_policy = "proxy"  # proxy | student: whom the teacher is compared with
        teacher_term = "action_kl"  # action_kl | feature_l1: what E_priv minimises besides PPO's losses
        teacher_weight = 0.1  # its weight (lambda2)
        kl_sigma_grad = False  # True: action_kl also moves the deviation of the actions
        alignment_loss = "mse"  # mse | l1: of student and proxy
        proxy_learning_rate = 1e-3  # of E_proxy, fixed
        student_loss = "action_latent"  # latent | action_latent: align the mean actions too


class ULTCfg(PPOCfg):
    """Unified Locomotion Transformer: one network is teacher and student, and learns both at once."""

    class obs_groups:
        privileged = ["privileged"]

    class actor:
        class_name = "ActorCriticULT"
        width = 64  # of all tokens
        num_layers = 2
        num_heads = 4
        history_length = 16  # frames that a token sees; with 2 layers its reach is 2 x 15 frames
        feedforward_ratio = 1.0  # hidden width of the feed-forward networks / width
        token_hidden_dims = [96]  # of both tokenisers
        hidden_dims = [128, 64]  # of the action heads
        shared_action_head = False  # one head for teacher and student
        head_reads_frame = True  # the heads also read the current frame itself
        zero_init = True  # the transformer starts as the identity
        attention_kernel = "auto"  # auto | sdpa | softmax
        critic_input = "critic"  # critic | privilege_token: read the output of the privilege token

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_ULT"
        mix_ratio = 0.5  # probability that the teacher acts
        mix_mode = "per_step"  # per_step | per_episode | per_env
        mix_schedule = "constant"  # constant | linear | cosine
        mix_ratio_end = 0.0  # where a schedule ends
        mix_iterations: int | None = None  # updates until then; None: the whole training
        mix_seed = 0
        student_share = 0.25  # of the robots, that the student drives alone
        prediction_coef = 0.1
        imitation_coef = 2.0
        # kl: sum over joints of (difference / deviation)^2 / 2 | mse: mean over joints of difference^2
        imitation_loss = "kl"
        policy_samples = "mixture"  # acted | student_from_teacher | mixture: which samples each read-out learns from
        kl_source = "teacher"  # teacher | all: whose KL steers the learning rate
        attention_lr_scale = 1.0  # learning rate of the transformer's blocks / that of the rest
        max_learning_rate = 1e-2  # bound of the adaptive schedule
        cosine_interval = 10  # updates between measurements of the gradients' cosines; 0: never
        optimizer = "adam"  # adam | adamw | sgd | rmsprop
        normalize_advantage_per_mini_batch = False
        use_mixed_precision = None  # bfloat16 autocast; None: where the processor multiplies bfloat16 natively

    class runner:
        max_iterations = 600
        eval_interval = 20  # iterations between comparisons of teacher and student; 0: never
        eval_envs = 64  # robots of a comparison, half of them driven by each


class ULTFaithfulCfg(ULTCfg):
    """ULT as its article describes it: tokens of 128 columns, a teacher that acts from the privilege token alone.

    `ULTCfg` has narrower tokens and heads that also read the current frame, because that learns faster.
    """

    class actor:
        width = 128
        feedforward_ratio = 4.0
        token_hidden_dims = [128]
        head_reads_frame = False


class BCCfg(TSCfg):
    """Behaviour cloning: the student of TS learns from a data set (distill.py), without an environment."""

    class algorithm:
        class_name = "rsl_rl_ult.offline:BC"
        symmetry_cfg = None
        batch_size = 4096  # transitions per gradient step
        cloning_rate = 1e-3  # learning rate of Adam; halved after every pass without a better held-out error
        cloning_grad_norm = 1.0
        cloning_loss = "mse"  # mse | huber
        target = "teacher"  # teacher: its mean actions, whoever acted | executed: what was done
        held_out = 0.1  # share of the episodes that decides when to stop
        patience = 5  # passes without a better held-out error until then
        segment_steps = 24  # of a piece of an episode; ULT only
        buffer_rows = 262144  # of the data set, shuffled together

    class runner:
        max_iterations = 60  # passes over the data set
        eval_interval = 0


class BCULTCfg(ULTCfg):
    """The same for the student of ULT."""

    class algorithm(BCCfg.algorithm):
        class_name = "rsl_rl_ult.offline:BC_ULT"

    class runner:
        max_iterations = 60
        eval_interval = 0


class MultiCfg(BCULTCfg):
    """A small transformer distilled from many teachers (multi_task.py): the student of ULT with a bounded head."""

    class actor:
        class_name = "ActorCriticMulti"
        num_layers = 1
        num_heads = 1
        history_length = 20
        feedforward_ratio = 4.0
        token_hidden_dims = [64]
        hidden_dims = [64]

    class algorithm(BCULTCfg.algorithm):
        class_name = "rsl_rl_ult.offline:MULTI"


ROUGH = Ground("")
FLAT = Ground("flat", OnPlane)
GROUNDS = (ROUGH, FLAT)

# On level ground a quarter of the robots, and so four times the updates, walks after half of the steps. ULT's student
# gets worse by it, TS, CTS and RMA have not been tried: benchmarks/results/tuning.md, "Smaller updates".
FEW_ROBOTS = {"env": {"num_envs": 128}, "runner": {"max_iterations": 1200, "save_interval": 200}}

PPO = Method("", PPOCfg, {"flat": FEW_ROBOTS})
BLIND = Method("blind", BlindCfg, {"flat": FEW_ROBOTS})
TS = Method("ts", TSCfg, {"flat": {"runner": {"max_iterations": 300}}})
CTS = Method("cts", CTSCfg, {"flat": {"runner": {"max_iterations": 300}}})
RMA = Method("rma", RMACfg, {"flat": {"runner": {"max_iterations": 300, "stage2_iterations": 60}}})
DAGGER = Method("dagger", DAggerCfg, {"flat": {"runner": {"max_iterations": 100}}})
SITT = Method("sitt", SITTCfg, {"flat": {"runner": {"max_iterations": 300}}})
ULT = Method(
    "ult",
    ULTCfg,
    # As the shipped policies were trained: the teacher acts more and more where it has to find out how to climb, less
    # and less where walking is all there is. benchmarks/results/tuning.md, "Who acts, over time".
    {
        "": {"algorithm": {"mix_schedule": "linear", "mix_ratio_end": 1.0}},
        "flat": {
            "runner": {"max_iterations": 250},
            "algorithm": {"mix_schedule": "linear", "mix_ratio": 1.0, "mix_ratio_end": 0.5},
        },
    },
)
ULT_FAITHFUL = Method("ult_faithful", ULTFaithfulCfg, only=("",))
BC = Method("bc", BCCfg)
BC_ULT = Method("bc_ult", BCULTCfg)
MULTI = Method("multi", MultiCfg)
METHODS = (PPO, BLIND, TS, CTS, RMA, DAGGER, SITT, ULT, ULT_FAITHFUL, BC, BC_ULT, MULTI)
