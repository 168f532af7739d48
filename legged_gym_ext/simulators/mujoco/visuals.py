"""What only pictures need: sky, floor pattern, light, arrows for velocities, names of keys. Numpy only."""

from __future__ import annotations

import mujoco
import numpy as np

FOLLOW_TIME = 0.25  # s, the camera smooths the robot's motion with this time constant
JUMP = 1.0  # m, a larger move between two frames is a restart: the camera jumps along
SIGHT = 12.0  # m of ground drawn around the robot
HIDDEN = 5  # group of geoms that are not drawn
FLOOR = "picture_floor"  # texture and material; a name that no robot file has
ARROW_HEIGHT, ARROW_SCALE, ARROW_WIDTH = 0.2, 0.5, 0.011  # m above the base, m per m/s, m
COMMAND_RGBA, ACTUAL_RGBA = (0.20, 0.68, 0.32, 1.0), (0.13, 0.45, 0.90, 1.0)
NAMED_KEYS = {262: "right", 263: "left", 264: "down", 265: "up", 257: "enter", 335: "enter", 32: "space"}
"""GLFW key codes -> names; other keys are reported as their character."""


def add_visuals(spec: mujoco.MjSpec, base_name: str, azimuth: float) -> None:
    """Add what only pictures need: sky, a pattern on the ground, a light that travels with the robot.

    Args:
        spec: of robot and ground.
        base_name: body that the light follows.
        azimuth: rad, where the camera looks to.
    """
    horizon = [0.80, 0.86, 0.91]
    spec.add_texture(
        name="picture_sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.36, 0.55, 0.76],
        rgb2=horizon,
        width=256,
        height=1536,
    )
    spec.add_texture(
        name=FLOOR,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=[0.48, 0.54, 0.60],
        rgb2=[0.43, 0.49, 0.55],
        markrgb=[0.60, 0.66, 0.72],
        width=512,
        height=512,
    )
    # One texture repeat shows 2 x 2 fields, so the fields are half a metre wide: a scale for the eye.
    floor = spec.add_material(name=FLOOR, texuniform=True, texrepeat=[2, 2], reflectance=0.0, specular=0.1)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = FLOOR
    for geom in spec.worldbody.geoms:
        geom.material = FLOOR
        geom.rgba = [1.0, 1.0, 1.0, 1.0]
    # From behind the camera, to its left: software renderers speckle the ground at the far edge on the light's side.
    slope_x, slope_y = 0.5 * np.cos(azimuth - 0.7), 0.5 * np.sin(azimuth - 0.7)
    # The light travels with the robot, because a shadow map covers only its surroundings.
    spec.body(base_name).add_light(
        name="picture_sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACK,
        pos=[-1.5 * slope_x, -1.5 * slope_y, 1.5],
        dir=[slope_x, slope_y, -1.0],
        diffuse=[0.62, 0.61, 0.58],
        specular=[0.3, 0.3, 0.3],
        castshadow=True,
    )
    visual = spec.visual
    visual.headlight.ambient, visual.headlight.diffuse = [0.34, 0.35, 0.37], [0.28, 0.28, 0.28]
    visual.headlight.specular = [0.05, 0.05, 0.05]
    visual.rgba.haze = [*horizon, 1.0]
    visual.map.haze, visual.map.shadowclip, visual.map.znear = 0.35, 2.0, 0.02
    visual.quality.shadowsize, visual.quality.offsamples = 4096, 4
    visual.global_.fovy = 36.0
    visual.global_.offwidth, visual.global_.offheight = 3840, 2160
    spec.stat.extent = 1.0  # shadows and clipping planes scale with it; computed, an infinite floor would count


def add_arrow(
    scene: mujoco.MjvScene, start: np.ndarray, yaw: float, velocity: np.ndarray, rgba: tuple[float, ...]
) -> None:
    """Arrow for a horizontal velocity (2,) m/s given in the base frame; none when it is too small to see."""
    if float(np.linalg.norm(velocity)) < 0.05 or scene.ngeom >= scene.maxgeom:
        return
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    end = start + np.append(ARROW_SCALE * turn @ velocity, 0.0)
    geom, kind = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_ARROW
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).flatten(), np.array(rgba, dtype=np.float32))
    mujoco.mjv_connector(geom, kind, ARROW_WIDTH, start, end)
    scene.ngeom += 1


def follow(camera: mujoco.MjvCamera, base: np.ndarray, seconds: float) -> None:
    """Move a camera after a robot.

    Args:
        camera: to move.
        base: (3,) m, position of the robot's base.
        seconds: since the last call; infinity puts the camera there at once.
    """
    # A hand's breadth below the base, so that robot and arrows are in the middle of the picture.
    way = base - np.array([0.0, 0.0, 0.04]) - camera.lookat
    pull = 1.0 - float(np.exp(-seconds / FOLLOW_TIME))
    camera.lookat[:] += way if np.linalg.norm(way) > JUMP else pull * way


def hide_far_ground(model: mujoco.MjModel, ground: np.ndarray, place: np.ndarray) -> None:
    """Draw only those boxes (geoms `ground`) of a map that are around `place` (2,) m; physics ignores groups."""
    way = np.abs(model.geom_pos[ground, :2] - place) - model.geom_size[ground, :2]
    model.geom_group[ground] = np.where(way.max(axis=1, initial=-np.inf) < SIGHT, 0, HIDDEN)


def show_groups(model: mujoco.MjModel, option: mujoco.MjvOption) -> None:
    """Hide collision shapes (group 3 and up), unless the robot consists of nothing else."""
    robot = model.geom_group[model.body_weldid[model.geom_bodyid] > 0]
    option.geomgroup[:] = [1, 1, 1, int(bool(np.all(robot > 2))), 0, 0]
