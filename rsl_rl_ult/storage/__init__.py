"""Where rollouts and histories are kept."""

from rsl_rl_ult.storage.history import HistoryBuffer
from rsl_rl_ult.storage.rollout import RolloutStorage

__all__ = ["HistoryBuffer", "RolloutStorage"]
