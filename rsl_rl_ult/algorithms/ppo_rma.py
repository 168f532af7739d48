"""Rapid motor adaptation in two stages (Kumar et al. 2021), and the action-plus-latent form of Lee et al. 2020."""

from __future__ import annotations

from typing import Any, Mapping

from rsl_rl_ult.algorithms.construct import log_once
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS
from rsl_rl_ult.algorithms.rollout_state import Decision
from rsl_rl_ult.modules.actor_critic import Tensors


class PPO_RMA(PPO_TS):  # noqa: N801
    """Stage 1 is PPO of the teacher; in stage 2 everything but E_hist is frozen and the student acts.

    With a loaded teacher (`use_teacher`) it starts in stage 2.
    """

    def __init__(
        self, *args: Any, stage1_iterations: int | None = None, encoder_learning_rate: float = 1e-3, **ts: Any
    ) -> None:
        """Settings of the stages; everything else is that of `PPO_TS`.

        Args:
            args: network, storage and sets of `PPO`.
            stage1_iterations: updates before stage 2 begins; None stays in stage 1.
            encoder_learning_rate: of E_hist.
            ts: options of `PPO_TS` and `PPO`; `student_loss="action_latent"` is the form of Lee et al.
        """
        if stage1_iterations is not None and stage1_iterations < 0:
            raise ValueError(f"algorithm.stage1_iterations={stage1_iterations}: expected at least 0, or None")
        super().__init__(*args, encoder_learning_rate=encoder_learning_rate, **ts)
        if self.regression.num_steps == 0:
            raise ValueError("algorithm.num_encoder_steps=0: stage 2 would learn nothing; expected at least 1")
        if stage1_iterations is None:
            log_once("PPO_RMA stays in stage 1, its student learns nothing: set algorithm.stage1_iterations")
        self.stage1_iterations = stage1_iterations

    @property
    def stage(self) -> int:
        """1 or 2."""
        if self.frozen_teacher:
            return 2
        return 1 if self.stage1_iterations is None or self.updates < self.stage1_iterations else 2

    def learns_policy(self) -> bool:
        """In stage 1."""
        return self.stage == 1

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """The teacher acts in stage 1, the student in stage 2."""
        window = self.windows.append(obs)  # also in stage 1: the student takes over in the middle of episodes
        if self.stage == 1:
            return super().decide(obs, inputs)
        latent = self.network.student_latent(self.network.normalizers["actor"](window))
        return Decision(self.network.head(inputs, latent), self.network.value(inputs))

    def after_update(self) -> dict[str, float]:
        """Stage 1 trains the teacher alone, stage 2 the student alone."""
        metrics = {} if self.stage == 1 else super().after_update()
        return {**metrics, "stage": float(self.stage)}

    @classmethod
    def host_options(cls, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """As PPO's; `stage2_iterations` of the runner's configuration places stage 2 behind its `max_iterations`."""
        options = super().host_options(cfg)
        if cfg.get("stage2_iterations"):
            options["stage1_iterations"] = cfg["max_iterations"]
        return options
