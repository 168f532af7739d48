"""Teacher-student training of the Go2: the tasks `go2_ts`, `go2_cts`, `go2_rma` and `go2_ult`, and their twins on flat ground.

All are the environment of `go2` with another training: the algorithm and the network are named by string, the observation set `privileged` is what
the teacher reads beyond the robot's own sensors. The options stand here once, under TS; CTS and RMA say what is different. ULT has its own. Their values
are the defaults of the classes, restated to be seen (tests/rsl_rl_ult/algorithms/test_defaults.py).
"""

from __future__ import annotations

from legged_gym_ext.envs.go2.go2_config import Go2CfgPPO


class Go2TSCfgPPO(Go2CfgPPO):
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
        experiment_name = "go2_ts"
        max_iterations = 1050
        eval_interval = 20  # iterations between comparisons of teacher and student; 0: never
        eval_envs = 64  # robots of a comparison, half of them driven by each


class Go2CTSCfgPPO(Go2TSCfgPPO):
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
        encoder_samples = "student"  # student | all: what E_hist learns from
        student_detach = True  # False: the policy gradient reaches E_hist

    class runner:
        experiment_name = "go2_cts"


class Go2RMACfgPPO(Go2TSCfgPPO):
    """Rapid motor adaptation: PPO of the teacher first, then everything but E_hist is frozen and the student acts."""

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_RMA"
        encoder_learning_rate = 1e-3

    class runner:
        experiment_name = "go2_rma"
        max_iterations = 1000
        stage2_iterations = 150  # after max_iterations of stage 1, in the same command; 0: stage 1 only


class Go2ULTCfgPPO(Go2CfgPPO):
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
        head_gain = 1.0  # scale of the heads' last layers at the start
        zero_init = True  # the transformer starts as the identity
        attention_kernel = "auto"  # auto | sdpa | softmax
        critic_input = "critic"  # critic | privilege_token: read the output of the privilege token

    class algorithm:
        class_name = "rsl_rl_ult.algorithms:PPO_ULT"
        mix_ratio = 0.5  # probability that the teacher acts
        mix_mode = "per_step"  # per_step | per_episode | per_env
        mix_schedule = "constant"  # constant | linear | cosine
        mix_ratio_end = 0.0  # where a schedule ends
        mix_iterations = None  # updates until then; None: the whole training
        mix_seed = 0
        prediction_coef = 0.1
        imitation_coef = 0.5
        # kl: sum over joints of (difference / deviation)^2 / 2 | mse: mean over joints of difference^2
        imitation_loss = "kl"
        policy_samples = "mixture"  # acted | student_from_teacher | mixture: which samples each read-out learns from
        symmetry_images = "all"  # all | one: mirror images learnt from in each epoch
        attention_lr_scale = 1.0  # learning rate of the transformer's blocks / that of the rest
        max_learning_rate = 1e-2  # bound of the adaptive schedule
        cosine_interval = 10  # updates between measurements of the gradients' cosines; 0: never
        optimizer = "adam"  # adam | adamw | sgd | rmsprop
        normalize_advantage_per_mini_batch = False
        use_mixed_precision = None  # bfloat16 autocast; None: where the processor multiplies bfloat16 natively

    class runner:
        experiment_name = "go2_ult"
        max_iterations = 600
        eval_interval = 20  # iterations between comparisons of teacher and student; 0: never
        eval_envs = 64  # robots of a comparison, half of them driven by each


class Go2ULTFaithfulCfgPPO(Go2ULTCfgPPO):
    """`go2_ult` as the article on the method describes it: tokens of 128 columns, a teacher that acts from the output of the privilege token alone.

    `go2_ult` has narrower tokens and heads that also read the current frame, because that learns faster.
    """

    class actor:
        width = 128
        feedforward_ratio = 4.0
        token_hidden_dims = [128]
        head_reads_frame = False

    class runner:
        experiment_name = "go2_ult_faithful"


class Go2TSFlatCfgPPO(Go2TSCfgPPO):
    """`go2_ts` on flat ground."""

    class runner:
        experiment_name = "go2_ts_flat"
        max_iterations = 300


class Go2CTSFlatCfgPPO(Go2CTSCfgPPO):
    """`go2_cts` on flat ground."""

    class runner:
        experiment_name = "go2_cts_flat"
        max_iterations = 300


class Go2RMAFlatCfgPPO(Go2RMACfgPPO):
    """`go2_rma` on flat ground."""

    class runner:
        experiment_name = "go2_rma_flat"
        max_iterations = 300
        stage2_iterations = 60


class Go2ULTFlatCfgPPO(Go2ULTCfgPPO):
    """`go2_ult` on flat ground."""

    class runner:
        experiment_name = "go2_ult_flat"
        max_iterations = 250
