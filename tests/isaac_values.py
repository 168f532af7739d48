"""Constants and structures of Isaac Gym's double (isaac_double.py): the fields and names that Isaac Gym has."""

from __future__ import annotations

from typing import Any


class MisuseError(AssertionError):
    """Something that Isaac Gym would not do what it was meant to with."""


def require(condition: Any, message: str) -> None:
    if not condition:
        raise MisuseError(message)


class Constant:
    """A member of one of Isaac Gym's enumerations."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self._value = name, value

    def __int__(self) -> int:
        return self._value


DOF_MODE_EFFORT, SIM_PHYSX = Constant("DOF_MODE_EFFORT", 3), Constant("SIM_PHYSX", 1)
UP_AXIS_Z, CC_ALL_SUBSTEPS = Constant("UP_AXIS_Z", 1), Constant("CC_ALL_SUBSTEPS", 2)


class Struct:
    """Has the fields that its class names, and no others can be set."""

    def __setattr__(self, name: str, value: Any) -> None:
        require(hasattr(type(self), name), f"{type(self).__name__} has no field '{name}'")
        super().__setattr__(name, value)


class Vec3(Struct):
    """Three numbers."""

    x = y = z = 0.0

    def __init__(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
        self.x, self.y, self.z = float(x), float(y), float(z)


class Quat(Struct):
    """A quaternion x y z w."""

    x = y = z = 0.0
    w = 1.0

    def __init__(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, w: float = 1.0) -> None:
        self.x, self.y, self.z, self.w = float(x), float(y), float(z), float(w)


class Transform(Struct):
    """A position and a quaternion."""

    p: Any = None
    r: Any = None

    def __init__(self, p: Any = None, r: Any = None) -> None:
        self.p, self.r = p or Vec3(), r or Quat()


class PhysXParams(Struct):
    """Part of `SimParams`."""

    use_gpu = False
    num_threads = solver_type = num_position_iterations = num_velocity_iterations = max_gpu_contact_pairs = 0
    contact_offset = rest_offset = bounce_threshold_velocity = max_depenetration_velocity = 0.0
    default_buffer_size_multiplier = 1.0
    contact_collection = None


class SimParams(Struct):
    """How to simulate."""

    dt, substeps, use_gpu_pipeline = 1.0 / 60.0, 2, False
    up_axis: Any = None
    gravity: Any = None
    physx: Any = None

    def __init__(self) -> None:
        self.physx = PhysXParams()


class AssetOptions(Struct):
    """How to read a URDF."""

    default_dof_drive_mode = 0
    fix_base_link = disable_gravity = collapse_fixed_joints = replace_cylinder_with_capsule = use_physx_armature = False
    density, thickness, armature, linear_damping, angular_damping = 1000.0, 0.02, 0.0, 0.5, 0.5
    max_linear_velocity = max_angular_velocity = 64.0


class PlaneParams(Struct):
    """Level ground."""

    normal, distance, static_friction, dynamic_friction, restitution = None, 0.0, 1.0, 1.0, 0.0


class TriangleMeshParams(Struct):
    """Ground of triangles."""

    nb_vertices, nb_triangles, static_friction, dynamic_friction, restitution = 0, 0, 1.0, 1.0, 0.0


class RigidBodyProperties(Struct):
    """Mass and centre of mass of a body."""

    mass, com = 0.0, None


class RigidShapeProperties(Struct):
    """Material of a shape."""

    friction = 1.0


API = (
    "AssetOptions", "CC_ALL_SUBSTEPS", "DOF_MODE_EFFORT", "PhysXParams", "PlaneParams", "Quat", "RigidBodyProperties",
    "RigidShapeProperties", "SIM_PHYSX", "SimParams", "Transform", "TriangleMeshParams", "UP_AXIS_Z", "Vec3",
)  # fmt: skip
"""What `gymapi` has, besides `acquire_gym`."""
