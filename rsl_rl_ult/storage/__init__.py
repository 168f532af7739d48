"""Where rollouts, histories and minibatches are kept."""

from rsl_rl_ult.storage.batch import Acted, Batch, by_minibatch, take_rows
from rsl_rl_ult.storage.history import HistoryBuffer
from rsl_rl_ult.storage.rollout import RolloutStorage

__all__ = ["Acted", "Batch", "HistoryBuffer", "RolloutStorage", "by_minibatch", "take_rows"]
