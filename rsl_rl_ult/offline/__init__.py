"""Learning from data sets, without an environment."""

from rsl_rl_ult.offline.behaviour_cloning import BC as BC
from rsl_rl_ult.offline.behaviour_cloning import BC_ULT as BC_ULT
from rsl_rl_ult.offline.behaviour_cloning import Cloning as Cloning
from rsl_rl_ult.offline.multi_task import MULTI as MULTI
