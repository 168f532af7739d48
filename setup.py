"""Packaging of rsl_rl_ult (algorithms; torch and numpy only) and legged_gym_ext (tasks)."""

from setuptools import find_packages, setup

TRAIN = ["rsl-rl-lib>=5.5,<6; python_version>='3.9'", "tensordict>=0.7", "tensorboard"]
MUJOCO = ["mujoco==3.14.0; python_version>='3.10'", "mjbatch==0.1.4; python_version>='3.10'", "rich>=13"]
VIDEO = ["imageio>=2.30", "imageio-ffmpeg>=0.5", "pillow"]
VIEW = ["viser>=1.1.1,<2", "mjviser==0.0.14; python_version>='3.10'"]  # cap rich below 15 and websockets below 17
EXPORT = ["onnx>=1.16", "onnxscript>=0.5.4", "onnxruntime>=1.18"]
REPORT = ["matplotlib"]
WANDB = ["wandb>=0.20"]
DATA = ["minari>=0.5.3; python_version>='3.11'", "h5py>=3.10", "pyarrow>=14"]
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.6"]
TEST = [
    "pytest>=7",
    "pytest-xdist",
    "hypothesis",
    "ruff",
    "pyright",
    "isaacgym-stubs==1.1rc4",
    "vermin",
    "setuptools>=70.1",  # builds a wheel
    *REPORT,
    *EXPORT,
    *WANDB,
    *DATA,
    *VIEW,
]

SCRIPTS = [
    *("train", "play", "evaluate", "export", "sim2sim", "report", "describe", "doctor", "sweep"),
    *("collect", "dataset", "distill"),
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
    install_requires=["torch>=1.10", "numpy"],
    extras_require={
        "train": TRAIN,
        "mujoco": MUJOCO,
        "video": VIDEO,
        "view": VIEW,
        "export": EXPORT,
        "report": REPORT,
        "wandb": WANDB,
        "data": DATA,
        "docs": DOCS,
        "test": TEST,
        "all": TRAIN + MUJOCO + VIDEO + VIEW + TEST,  # the README's first page, its tests included
    },
)
