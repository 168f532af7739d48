"""Registers the tasks: every robot with every method on every ground, named like `go2_ult_flat`."""

from legged_gym_ext.envs.colour_maze.colour_maze_config import register_colour_maze
from legged_gym_ext.envs.go1.go1_config import GO1
from legged_gym_ext.envs.go2.go2_config import GO2
from legged_gym_ext.envs.methods import GROUNDS, METHODS
from legged_gym_ext.task_registry import task_registry

for ground in GROUNDS:
    task_registry.register_ground(ground)
for method in METHODS:
    task_registry.register_method(method)
for robot in (GO1, GO2):
    task_registry.register_robot(robot)
register_colour_maze(task_registry)

__all__ = ["task_registry"]
