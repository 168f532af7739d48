"""Packaging of rsl_rl_ult (algorithms; torch and numpy only) and legged_gym_ext (tasks)."""

from setuptools import find_packages, setup

TRAIN = [
    "rsl-rl-lib>=5.5,<6; python_version>='3.9'",
    "tensordict>=0.7",
    "tensorboard",
    "numpy>=1.23.5; python_version>='3.10'",  # the oldest that was run: benchmarks/python_matrix.py
]
MUJOCO = ["mujoco==3.14.0; python_version>='3.10'", "mjbatch==0.1.4; python_version>='3.10'", "rich>=13"]
GPU = ["mujoco-warp==3.14.0; python_version>='3.10'", "warp-lang==1.19.0; python_version>='3.10'"]
VIDEO = ["imageio>=2.30", "imageio-ffmpeg>=0.5", "pillow"]
VIEW = ["viser>=1.1.1,<2", "mjviser==0.0.14; python_version>='3.10'"]  # cap rich below 15 and websockets below 17
EXPORT = ["onnx>=1.16", "onnxscript>=0.5.4", "onnxruntime>=1.18"]
REPORT = ["matplotlib"]
WANDB = ["wandb>=0.20"]
DATA = ["minari>=0.5.3; python_version>='3.11'", "h5py>=3.10", "pyarrow>=14"]
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.6"]
GYMNASIUM = ["gymnasium[mujoco]>=1.0; python_version>='3.11'"]
TEST = [
    "pytest>=7",
    "pytest-xdist",
    "hypothesis",
    "ruff",
    "pyright",
    "isaacgym-stubs==1.1rc4",
    "vermin",
    "torchjd>=0.18; python_version>='3.10'",  # its PCGrad is what ours is compared with
    "setuptools>=70.1",  # builds a wheel
    *REPORT,
    *EXPORT,
    *WANDB,
    *DATA,
    *VIEW,
    *GYMNASIUM,
]

SCRIPTS = [
    *("train", "play", "evaluate", "export", "sim2sim", "report", "describe", "doctor", "sweep"),
    *("collect", "dataset", "distill", "multi_task"),
]

setup(
    name="rsl_rl_ult",
    version="0.1.0",
    description="Privileged learning for legged robots: rsl_rl algorithms and Unitree Go2 tasks",
    license="BSD-3-Clause",
    packages=find_packages(include=["rsl_rl_ult*", "legged_gym_ext*"]),
    package_data={
        "legged_gym_ext": [
            *("py.typed", "resources/robots/*/*"),
            *("resources/policies/*/*", "resources/policies/*/params/*"),
        ],
        "rsl_rl_ult": ["py.typed"],
    },
    entry_points={"console_scripts": [f"ult-{name} = legged_gym_ext.scripts.console:{name}" for name in SCRIPTS]},
    # Python 3.8 is for owners of Isaac Gym forks, who install the algorithms only.
    python_requires=">=3.8",
    install_requires=["torch>=1.10", "numpy>=1.17.3"],
    extras_require={
        "train": TRAIN,
        "mujoco": MUJOCO,
        "gpu": MUJOCO + GPU,
        "video": VIDEO,
        "view": VIEW,
        "export": EXPORT,
        "report": REPORT,
        "wandb": WANDB,
        "data": DATA,
        "gymnasium": GYMNASIUM,
        "docs": DOCS,
        "test": TEST,
        "all": TRAIN + MUJOCO + VIDEO + VIEW + TEST,  # the README's first page, its tests included
    },
)
