"""Configuration of the legged-robot environment and of its PPO training.

Nested classes in the manner of legged_gym: subclass, change what differs, register. Units stand behind each field.
Every field can be changed from the command line: `--env.rewards.scales.torques=-1e-4`,
`--train.algorithm.learning_rate=5e-4`.
"""

from __future__ import annotations

from legged_gym_ext.utils.config import BaseConfig


class LeggedRobotCfg(BaseConfig):
    """Everything the environment needs to know about robot, task and engine."""

    seed = 1  # of the environment's own random generator

    class env:
        num_envs = 1024
        num_actions = 12
        episode_length_s = 20.0  # [s]
        num_history = 0  # frames in `obs_history`; 0: no such buffer (the algorithms keep their own history)
        critic_frames = 1  # last frames of the critic group stacked, newest last

    class observations:
        layout = "full"  # full | tutorial: which terms each group has (LAYOUTS in observations.py)
        policy = []  # names of terms instead of those of the layout; empty: as the layout has them
        privileged = []
        critic = []

    class terrain:
        mesh_type = "plane"  # plane | rough: a map of tiles
        # Robots move between levels with how far they walk; without it they are spread over all levels and stay.
        curriculum = True
        max_init_terrain_level = 0  # robots start on levels 0 to this one
        # With the curriculum: at the edge of its tile a robot's episode ends, as a time-out, and it is promoted.
        end_at_edge = True
        num_rows = 10  # levels
        num_cols = 20  # tiles per level, of the kinds in `proportions`
        terrain_length = 8.0  # [m] of a tile along x
        terrain_width = 8.0  # [m] along y
        horizontal_scale = 0.1  # [m] side of a cell
        vertical_scale = 0.005  # [m] heights are multiples of it
        border_size = 25.0  # [m] level ground around the tiles in Isaac Gym's raster; in MuJoCo it is endless
        seed = 1  # of the map
        measured_points_x = [-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4]  # [m], base yaw frame
        measured_points_y = [-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4]  # [m]
        # [m], base yaw frame: `terrain_scan` reaches a tread (0.3 m) beyond the feet
        scan_points_x = [
            -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
        ]  # fmt: skip
        scan_points_y = [-0.4, -0.2, 0.0, 0.2, 0.4]  # [m]
        foot_points = [-0.1, 0.0, 0.1]  # [m], x and y of the 3 x 3 grid around each foot, base yaw frame
        spawn_radius = 1.0  # [m], robots start within +- this of their origin

        class proportions:
            """Share of each kind of tile (terrain/tiles.py), in this order along y."""

            slope_up = 0.05
            slope_down = 0.05
            rough_slope = 0.1
            stairs_up = 0.35
            stairs_down = 0.25
            discrete = 0.2
            stepping_stones = 0.0
            gap = 0.0
            pit = 0.0
            flat = 0.0

    class commands:
        curriculum = False  # widen lin_vel_x while tracking is good
        max_curriculum = 1.0  # [m/s]
        curriculum_step = 0.25  # [m/s] per widening
        resampling_time = 10.0  # [s]
        heading_command = False  # yaw rate steers towards a sampled heading
        heading_gain = 0.5  # [1/s]
        straight_on = []  # kinds of tile on which headings are multiples of 90 degrees, square to the steps
        zero_fraction = 0.1  # share of commands that are "stand still"
        min_lin_vel = 0.1  # [m/s], slower linear commands become zero

        class ranges:
            lin_vel_x = [-1.0, 1.0]  # [m/s]
            lin_vel_y = [-0.5, 0.5]  # [m/s]
            ang_vel_yaw = [-1.0, 1.0]  # [rad/s]
            heading = [-3.14159, 3.14159]  # [rad]

    class init_state:
        pos = [0.0, 0.0, 0.42]  # [m] above the origin
        rot = [1.0, 0.0, 0.0, 0.0]  # quaternion w x y z
        lin_vel = [0.0, 0.0, 0.0]  # [m/s] world
        ang_vel = [0.0, 0.0, 0.0]  # [rad/s] base
        default_joint_angles = {}  # [rad] at action 0, by joint name
        joint_range = [0.5, 1.5]  # start angles are the default ones times a factor in this range
        velocity_range = 0.5  # [m/s], [rad/s]; each component of the base velocity starts within +- this
        random_yaw = True

    class control:
        control_type = "P"  # position targets through the motors' own PD loop
        stiffness = {"joint": 20.0}  # [N m / rad], keys are parts of joint names
        damping = {"joint": 0.5}  # [N m s / rad]
        action_scale = 0.25  # target = action_scale * action + default angle
        decimation = 4  # physics steps per control step
        motor = "dc"  # "dc": torque falls linearly with speed; "ideal": constant limit. Evaluated every physics step

    class asset:
        file = ""  # MJCF; "{ROOT}" stands for this package, or the repository
        name = "legged_robot"
        foot_name = "foot"  # part of the names of the foot geoms (or bodies), or the list of their names
        base_name = "base"
        penalize_contacts_on = ["thigh", "calf"]  # parts of body names
        terminate_after_contacts_on = ["base"]
        hip_name = "hip"  # part of the names of the abduction joints, for the reward `hip_pos`
        self_collisions = False
        torque_limits = {"joint": 23.7}  # [N m]
        velocity_limits = {"joint": 30.1}  # [rad/s], no-load speed
        sdk_joint_order = []  # joint names in the order of the maker's motors, for exported policies; empty: unknown

    class domain_rand:
        """Ranges are drawn uniformly, once per environment unless it says 'at reset'."""

        randomize_friction = True
        friction_range = [0.3, 1.25]  # [-] foot-ground sliding friction
        randomize_base_mass = True
        added_mass_range = [-1.0, 3.0]  # [kg]
        randomize_com = True
        com_shift_range = [-0.03, 0.03]  # [m] per axis
        randomize_gains = True
        kp_range = [0.8, 1.2]  # factor per joint, at reset
        kd_range = [0.8, 1.2]  # factor per joint, at reset
        randomize_armature = True
        armature_range = [0.8, 1.5]  # factor on all joints
        randomize_joint_friction = True
        joint_friction_range = [0.5, 1.5]  # factor on the Coulomb friction of all joints
        randomize_joint_damping = True
        joint_damping_range = [0.05, 0.3]  # [N m s / rad], all joints
        randomize_joint_stiffness = True
        joint_stiffness_range = [0.0, 0.02]  # [N m / rad] towards the default pose, all joints
        randomize_delay = True
        delay_range = [0.0, 0.02]  # [s] from action to motor, whole physics steps, at reset
        push_robots = True
        push_interval_s = 10.0  # [s]
        max_push_vel_xy = 0.5  # [m/s]

    class rewards:
        only_positive_rewards = True  # negative sums are clipped to 0, so that falling early never pays
        tracking_sigma = 0.25  # kernel exp(-error^2 / sigma), [m^2/s^2] and [rad^2/s^2]
        soft_dof_pos_limit = 0.9  # share of the joint range that is free
        base_height_target = None  # [m]; None: feet just touch in the default pose
        foot_clearance_target = 0.08  # [m] foot sphere centre above ground in mid-swing
        air_time_target = 0.4  # [s]
        max_contact_force = 100.0  # [N]

        class scales:
            """Weight of each term per second; units of the terms are in rewards.py."""

            tracking_lin_vel = 1.0
            tracking_ang_vel = 0.5
            lin_vel_z = 0.0
            ang_vel_xy = 0.0
            orientation = 0.0
            base_height = 0.0
            dof_acc = 0.0
            dof_vel = 0.0
            dof_power = 0.0
            torques = 0.0
            action_rate = 0.0
            action_smoothness = 0.0
            dof_pos_limits = 0.0
            collision = 0.0
            feet_air_time = 0.0
            foot_clearance = 0.0
            trot = 0.0
            feet_slip = 0.0
            feet_contact_forces = 0.0
            stand_still = 0.0
            hip_pos = 0.0
            termination = 0.0
            alive = 0.0

    class termination:
        max_tilt = 1.0  # [rad] between base z and vertical; counts as a fall
        contact_force = 1.0  # [N] on a body of terminate_after_contacts_on

    class normalization:
        clip_observations = 100.0
        clip_actions = 100.0

        class obs_scales:
            lin_vel = 2.0
            ang_vel = 0.25
            dof_pos = 1.0
            dof_vel = 0.05
            height_measurements = 5.0
            delay = 50.0

    class noise:
        add_noise = True  # on the `policy` group only
        noise_level = 1.0

        class noise_scales:
            """Half width of uniform noise, in the unit of the quantity before scaling."""

            ang_vel = 0.2  # [rad/s]
            gravity = 0.05  # [-]
            dof_pos = 0.01  # [rad]
            dof_vel = 1.5  # [rad/s]

    class viewer:
        distance = 1.8  # [m]
        azimuth = 135.0  # [deg]
        elevation = -18.0  # [deg]

    class sim:
        engine = "mujoco"
        device = "cpu"
        dt = 0.005  # [s]
        num_threads = 0  # 0: every core this process may use

        class mujoco:
            solver = "pgs"  # pgs | newton | cg; what each costs: benchmarks/engine_options.py
            iterations = 4
            ls_iterations = 8  # newton and cg only
            islands = False  # solving islands apart pays for many robots in one world, not here
            cone = "pyramidal"  # pyramidal | elliptic
            impratio = 1.0
            integrator = "implicitfast"

        class mujoco_warp:  # options of --sim=mujoco_warp (docs/gpu.md)
            solver = "newton"  # newton | cg
            iterations = 10  # of the solver, at most
            ls_iterations = 20  # of its line search, at most
            islands = False  # as in `mujoco`, like the next three
            cone = "pyramidal"
            impratio = 1.0
            integrator = "implicitfast"
            contacts_per_robot = 0  # room for contacts, mean over all robots; 0: what the model can have


class LeggedRobotCfgPPO(BaseConfig):
    """Training with rsl-rl-lib 5.x: sections are handed to its runner under the same names."""

    seed = 1

    class obs_groups:
        actor = ["policy"]
        critic = ["critic"]

    class actor:
        class_name = "MLPModel"
        hidden_dims = [256, 128, 64]
        activation = "elu"
        obs_normalization = True

        class distribution_cfg:
            class_name = "GaussianDistribution"
            init_std = 1.0
            std_type = "scalar"

    class critic:
        class_name = "MLPModel"
        hidden_dims = [256, 128, 64]
        activation = "elu"
        obs_normalization = True

    class algorithm:
        class_name = "PPO"
        num_learning_epochs = 5
        num_mini_batches = 4
        clip_param = 0.2
        gamma = 0.99
        lam = 0.95
        value_loss_coef = 1.0
        entropy_coef = 0.001
        learning_rate = 1e-3
        max_grad_norm = 1.0
        use_clipped_value_loss = True
        schedule = "adaptive"
        desired_kl = 0.01
        symmetry_cfg = None  # e.g. {"data_augmentation_func": "module:function", "use_data_augmentation": True}

    class runner:
        num_steps_per_env = 24
        max_iterations = 300  # in all, also of a training that is resumed
        save_interval = 50  # iterations between checkpoints that are kept
        save_interval_s = 600.0  # [s] after which one is written in between, which the next one replaces; 0: never
        experiment_name = "legged_robot"
        run_name = ""
        logger = "tensorboard"  # tensorboard | wandb | none
        wandb_project = "legged_gym_ext"
        video = False  # film the policy while it learns (--video)
        video_interval = 50  # iterations between videos
        video_length = 5.0  # s
        video_width = 640  # px, 16:9
        device = "cpu"  # where the networks learn
        torch_compile_mode = None  # "default" compiles the networks' pass of the updates; may pay on a GPU
        teacher = ""  # run folder or checkpoint of a trained teacher (--teacher); "": none
        start_from = ""  # run folder or checkpoint whose networks a training begins with (--start_from); "": none
        resume = False
        load_run = "-1"  # name of a run folder; "-1": the newest
        checkpoint = -1  # iteration; -1: the newest
        check_for_nan = True
