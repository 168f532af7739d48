"""What MuJoCo draws of an environment: robots, the ground near them, arrows for velocities.

The scene has a model of its own, with the visual geoms, and reads poses through the `Simulator`
protocol; so it works with every engine, and drawing changes no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from legged_gym_ext.simulators.mujoco.model import add_ground, load_robot
from legged_gym_ext.simulators.mujoco.visuals import (
    ACTUAL_RGBA,
    ARROW_HEIGHT,
    COMMAND_RGBA,
    add_arrow,
    add_visuals,
    hide_far_ground,
    show_groups,
)
from legged_gym_ext.utils.math import yaw_of

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

MAX_ROBOTS = 50  # drawn; more would overflow the scene's list of geoms


def build_scene(cfg: LeggedRobotCfg, terrain: Terrain, *, draft: bool = False) -> mujoco.MjModel:
    """Robot and ground of `cfg` (a `LeggedRobotCfg`) with sky, floor pattern and lights; it is never stepped.

    Args:
        cfg: configuration of the environment.
        terrain: its ground.
        draft: draw fast rather than well, edges and shadows with steps in them.
    """
    spec = load_robot(cfg.asset.file)
    add_ground(spec, terrain)
    add_visuals(spec, cfg.asset.base_name, np.deg2rad(cfg.viewer.azimuth))
    if draft:
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1024, 0
    return spec.compile()


class Scene:
    """The robots of an environment as MuJoCo draws them, with arrows for commanded (green) and actual (blue) velocity.

    Attributes:
        colours: RGBA in 0..1 of the commanded and the actual velocity, for captions.
        model, data: what is drawn; `data` has the pose of `robot`.
        base_id: body of the robot's base.
        option: what kinds of things are drawn.
    """

    colours = (COMMAND_RGBA, ACTUAL_RGBA)

    def __init__(self, env: LeggedRobot, robot: int = 0, *, alone: bool = False, draft: bool = False) -> None:
        """Build the scene of `env` (a `LeggedRobot`) around one robot, with the others unless it is `alone`."""
        self.env, self.robot = env, robot
        others = [] if alone else [index for index in range(env.num_envs) if index != robot]
        self._others = others[: MAX_ROBOTS - 1]
        self.model = build_scene(env.cfg, env.terrain, draft=draft)
        self.data, self._other = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._joints = np.array([self.model.joint(name).qposadr[0] for name in env.sim.joint_names])
        self.base_id = self.model.body(env.cfg.asset.base_name).id
        self._ground = np.flatnonzero(
            (self.model.geom_bodyid == 0) & (self.model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        )
        self.option = mujoco.MjvOption()
        show_groups(self.model, self.option)

    def pose(self, data: mujoco.MjData, robot: int) -> None:
        """Put `data` into the pose of one robot; nothing is simulated."""
        sim = self.env.sim
        data.qpos[0:3] = sim.root_pos[robot].cpu().numpy()
        data.qpos[3:7] = sim.root_quat[robot].cpu().numpy()
        data.qpos[self._joints] = sim.dof_pos[robot].cpu().numpy()
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def update(self) -> None:
        """Take over pose and surroundings of the robot as they are now."""
        self.pose(self.data, self.robot)
        hide_far_ground(self.model, self._ground, self.env.sim.root_pos[self.robot, :2].cpu().numpy())

    def add_rest(self, scene: mujoco.MjvScene) -> None:
        """Add the other robots and the arrows to a scene that has the robot."""
        moving, nothing = int(mujoco.mjtCatBit.mjCAT_DYNAMIC), mujoco.MjvPerturb()
        for robot in self._others:
            self.pose(self._other, robot)
            mujoco.mjv_addGeoms(self.model, self._other, self.option, nothing, moving, scene)
        chosen, sim = self.robot, self.env.sim
        base = sim.root_pos[chosen].cpu().numpy() + np.array([0.0, 0.0, ARROW_HEIGHT])
        yaw = float(yaw_of(sim.root_quat[chosen : chosen + 1]))
        velocities = (self.env.commands, self.env.base_lin_vel)
        for velocity, rgba, lift in zip(velocities, self.colours, (0.03, 0.0)):
            add_arrow(scene, base + np.array([0.0, 0.0, lift]), yaw, velocity[chosen, :2].cpu().numpy(), rgba)
