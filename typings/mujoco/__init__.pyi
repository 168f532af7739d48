"""Stub for pyright: MuJoCo's classes, functions and enums are compiled and generated, and come without types."""

from typing import Any

from mujoco.renderer import Renderer as Renderer

def __getattr__(name: str) -> Any: ...
