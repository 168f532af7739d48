"""Training configurations of the Go2 by name, to subclass; what they hold is in envs/methods.py."""

from __future__ import annotations

from legged_gym_ext.envs.go2.go2_config import GO2
from legged_gym_ext.envs.methods import (
    CTS,
    DAGGER,
    FLAT,
    RMA,
    ROUGH,
    SITT,
    TS,
    ULT,
    ULT_FAITHFUL,
    CTSCfg,
    DAggerCfg,
    RMACfg,
    SITTCfg,
    TSCfg,
    ULTCfg,
    ULTFaithfulCfg,
)

Go2TSCfgPPO: type[TSCfg] = GO2.train_cfg(TS, ROUGH)
Go2CTSCfgPPO: type[CTSCfg] = GO2.train_cfg(CTS, ROUGH)
Go2RMACfgPPO: type[RMACfg] = GO2.train_cfg(RMA, ROUGH)
Go2DAggerCfgPPO: type[DAggerCfg] = GO2.train_cfg(DAGGER, ROUGH)
Go2SITTCfgPPO: type[SITTCfg] = GO2.train_cfg(SITT, ROUGH)
Go2ULTCfgPPO: type[ULTCfg] = GO2.train_cfg(ULT, ROUGH)
Go2ULTFaithfulCfgPPO: type[ULTFaithfulCfg] = GO2.train_cfg(ULT_FAITHFUL, ROUGH)
Go2TSFlatCfgPPO: type[TSCfg] = GO2.train_cfg(TS, FLAT)
Go2CTSFlatCfgPPO: type[CTSCfg] = GO2.train_cfg(CTS, FLAT)
Go2RMAFlatCfgPPO: type[RMACfg] = GO2.train_cfg(RMA, FLAT)
Go2DAggerFlatCfgPPO: type[DAggerCfg] = GO2.train_cfg(DAGGER, FLAT)
Go2SITTFlatCfgPPO: type[SITTCfg] = GO2.train_cfg(SITT, FLAT)
Go2ULTFlatCfgPPO: type[ULTCfg] = GO2.train_cfg(ULT, FLAT)
