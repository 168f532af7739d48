"""Pictures of the robots with MuJoCo: off-screen frames for videos, and an interactive window.

The view has a model of its own, with the geoms that only look like something, and reads poses through the `Simulator`
protocol; so it does not matter which engine steps the physics, and looking changes nothing.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

import mujoco
import numpy as np

from legged_gym_ext.simulators.mujoco_model import load_robot
from legged_gym_ext.utils.errors import UserError

MAX_ROBOTS = 50  # drawn; more would overflow the scene's list of geoms
FOLLOW_TIME = 0.3  # s, the camera smooths the robot's motion with this time constant
JUMP = 1.0  # m, a larger move in one frame is a reset: the camera jumps along
ARROW_HEIGHT, ARROW_SCALE, ARROW_WIDTH = 0.22, 0.6, 0.012  # m above the base, m per m/s, m
COMMAND_RGBA, ACTUAL_RGBA = (0.25, 0.72, 0.35, 1.0), (0.16, 0.5, 0.9, 1.0)
ARROW_KEYS = {262: "right", 263: "left", 264: "down", 265: "up", 257: "enter"}
"""GLFW key codes -> names; other keys are reported as their character."""


def build_scene(cfg: Any, terrain: Any) -> mujoco.MjModel:
    """Robot and ground of `cfg` (a `LeggedRobotCfg`) with sky, floor pattern and lights; it is never stepped."""
    spec = load_robot(cfg.asset.file)
    terrain.build(spec, friction=1.0)
    _dress(spec, cfg.asset.base_name)
    return spec.compile()


def _dress(spec: mujoco.MjSpec, base_name: str) -> None:
    """Add what only pictures need."""
    horizon = [0.80, 0.86, 0.91]
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.36, 0.55, 0.76],
        rgb2=horizon,
        width=256,
        height=1536,
    )
    spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=[0.42, 0.48, 0.54],
        rgb2=[0.37, 0.43, 0.49],
        markrgb=[0.52, 0.58, 0.64],
        width=512,
        height=512,
    )
    # One texture repeat shows 2 x 2 fields, so the fields are half a metre wide: a scale for the eye.
    floor = spec.add_material(name="floor", texuniform=True, texrepeat=[2, 2], reflectance=0.0, specular=0.1)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    for geom in spec.worldbody.geoms:
        geom.material = "floor"
        geom.rgba = [1.0, 1.0, 1.0, 1.0]
    # The light travels with the robot, because a shadow map covers only its surroundings.
    spec.body(base_name).add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
        pos=[-0.18, 0.29, 0.9],
        dir=[0.2, -0.32, -1.0],
        diffuse=[0.62, 0.61, 0.58],
        specular=[0.3, 0.3, 0.3],
        castshadow=True,
    )
    visual = spec.visual
    visual.headlight.ambient, visual.headlight.diffuse = [0.34, 0.35, 0.37], [0.28, 0.28, 0.28]
    visual.headlight.specular = [0.05, 0.05, 0.05]
    visual.rgba.haze = [*horizon, 1.0]
    visual.map.haze, visual.map.shadowclip, visual.map.znear = 0.35, 3.0, 0.02
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 4
    visual.global_.fovy = 36.0
    visual.global_.offwidth, visual.global_.offheight = 3840, 2160
    spec.stat.extent = 1.0  # shadows and clipping planes scale with it; computed, an infinite floor would count
