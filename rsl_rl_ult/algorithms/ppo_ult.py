"""PPO of the Unified Locomotion Transformer (arXiv 2503.08997): one network acts as teacher and student and learns both at once."""

from __future__ import annotations

import math
from typing import Any, Iterator, Mapping

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.metrics import gradient_cosines
from rsl_rl_ult.algorithms.mixing import Mixing, schedule_iterations
from rsl_rl_ult.algorithms.ppo import MAX_LEARNING_RATE, PPO, Tensors
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT, Readouts
from rsl_rl_ult.modules.transformer import KeyValueCache
from rsl_rl_ult.policies.policy import Policy, join
from rsl_rl_ult.policies.policy_ult import CachedPolicy

IMITATION_LOSSES = ("mse", "kl")
POLICY_SAMPLES = ("acted", "student_from_teacher", "mixture")
SYMMETRY_IMAGES = ("all", "one")


class PPO_ULT(PPO):  # noqa: N801
    """PPO on whole trajectories, with next state-action prediction and action imitation in the same minibatch.

    L = L_surrogate + c_v L_value - c_e H + c_pred (mse(o^_{k+1}, o_{k+1}) + mse(a^_k, a_k)) + c_imit d(mu_S, sg(mu_T)). The rollout keeps keys and
    values of the past (two tokens per step), the update runs each environment's segment once; both see the same frames, so that all ratios are 1
    before the first gradient step.
    """

    network_class = ActorCriticULT
    needed_sets = ("actor", "critic", "privileged")

    def __init__(
        self,
        *args: Any,
        mix_ratio: float = 0.5,
        mix_mode: str = "per_step",
        mix_schedule: str = "constant",
        mix_ratio_end: float = 0.0,
        mix_iterations: int | None = None,
        mix_seed: int = 0,
        prediction_coef: float = 0.1,
        imitation_coef: float = 0.5,
        imitation_loss: str = "kl",
        policy_samples: str = "mixture",
        symmetry_images: str = "all",
        attention_lr_scale: float = 1.0,
        max_learning_rate: float = MAX_LEARNING_RATE,
        cosine_interval: int = 10,
        num_learning_epochs: int = 4,
        desired_kl: float | None = 0.02,
        use_mixed_precision: bool | None = None,
        entropy_coef: float = 0.005,
        **ppo: Any,
    ) -> None:
        """Settings of the method; everything else is PPO's. The defaults are those of the task `go2_ult`.

        Args:
            args: network, storage and sets of `PPO`.
            mix_ratio: probability that the teacher acts, in [0, 1]; where the schedule starts.
            mix_mode: "per_step" draws who acts anew in every step, "per_episode" when an episode starts, "per_env" fixes it by index.
            mix_schedule: "constant", "linear" or "cosine".
            mix_ratio_end: where the schedule ends.
            mix_iterations: updates until it ends; None for the whole training, where the host says how long that is.
            mix_seed: of the generator that draws.
            prediction_coef: c_pred.
            imitation_coef: c_imit.
            imitation_loss: d, per sample. "kl" of the Gaussians, the sum over actions of (difference / deviation)^2 / 2; "mse", the mean over actions
                of difference^2. With A actions and deviation s the first is A / (2 s^2) times the second: 37.5 for 12 and 0.4.
            policy_samples: "acted" gives each read-out the samples that it acted; with "student_from_teacher" the student also learns from what
                the teacher acted; with "mixture" both learn from every sample. See `surrogate`; the last two need mix_mode "per_step".
            symmetry_images: with `symmetry_cfg`, "all" learns from every image of a trajectory in every epoch, "one" from one of them, another
                one in the next epoch: half the work for a left-right mirror.
            attention_lr_scale: learning rate of the transformer's blocks as a multiple of the others'.
            max_learning_rate: upper bound of the adaptive schedule.
            cosine_interval: updates between measurements of the cosines between the policy gradient and the auxiliary ones; 0 for never.
            num_learning_epochs: as in `PPO`.
            desired_kl: as in `PPO`.
            use_mixed_precision: as in `PPO`.
            entropy_coef: as in `PPO`.
            ppo: options of `PPO`.
        """
        for name, value, known in (
            ("imitation_loss", imitation_loss, IMITATION_LOSSES),
            ("policy_samples", policy_samples, POLICY_SAMPLES),
            ("symmetry_images", symmetry_images, SYMMETRY_IMAGES),
        ):
            if value not in known:
                raise ValueError(f"algorithm.{name} '{value}': expected {' or '.join(known)}")
        for name, value in (("prediction_coef", prediction_coef), ("imitation_coef", imitation_coef)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"algorithm.{name}={value}: expected a number of at least 0")
        if policy_samples != "acted" and mix_mode in ("per_episode", "per_env"):
            raise ValueError(
                f"algorithm.policy_samples={policy_samples} needs mix_mode=per_step, found {mix_mode}: elsewhere the states that a read-out meets "
                "depend on who acts; choose policy_samples=acted"
            )
        if not attention_lr_scale > 0.0:
            raise ValueError(f"algorithm.attention_lr_scale={attention_lr_scale}: expected a positive number")
        if not 0.0 < max_learning_rate <= MAX_LEARNING_RATE:
            raise ValueError(
                f"algorithm.max_learning_rate={max_learning_rate}: expected a positive number of at most {MAX_LEARNING_RATE}"
            )
        super().__init__(
            *args,
            num_learning_epochs=num_learning_epochs,
            desired_kl=desired_kl,
            use_mixed_precision=use_mixed_precision,
            entropy_coef=entropy_coef,
            **ppo,
        )
        self.attention_lr_scale, self.max_learning_rate = attention_lr_scale, max_learning_rate
        self.set_learning_rate(self.learning_rate)
        self.mixing = Mixing(
            self.storage.num_envs,
            mix_ratio,
            mix_mode,
            mix_schedule,
            mix_ratio_end,
            mix_iterations,
            mix_seed + self.processes.rank,
            self.device,
        )
        self.prediction_coef, self.imitation_coef, self.imitation_loss = prediction_coef, imitation_coef, imitation_loss
        self.policy_samples, self.cosine_interval = policy_samples, cosine_interval
        if policy_samples != "acted":
            self.sample_names = (*self.sample_names, "other_log_prob")
        self.symmetry_images = symmetry_images
        if symmetry_images == "one" and self.symmetry is not None and self.symmetry.use_mirror_loss:
            raise ValueError(
                "algorithm.symmetry_images=one excludes symmetry_cfg.use_mirror_loss, which compares images: choose one"
            )
        self.teacher, self.student = (CachedPolicy(self.network, self.sets, name) for name in ("teacher", "student"))
        self._last_actions = torch.zeros(self.storage.num_envs, self.network.num_actions, device=self.device)
        # Of the rollout; None after an update, because it was filled with the parameters before.
        self._cache: KeyValueCache | None = None
        self._names: list = []
        self._sums: Any = None  # (2, figures + 1) of this rollout: teacher and student, the last column counts steps
        self._measures_cosines = False
        self._cosines: dict = {}

    def _parameter_groups(self) -> list:
        """The transformer's blocks have a learning rate of their own."""
        blocks = {id(p) for p in self.network.attention_parameters()}
        actor, critic = self.network.actor_parameters(), self.network.critic_parameters()
        return [
            {"params": [*(p for p in actor if id(p) not in blocks), *critic]},
            {"params": self.network.attention_parameters()},
        ]

    def set_learning_rate(self, learning_rate: float) -> None:
        """Of all groups, each by its scale."""
        super().set_learning_rate(min(learning_rate, self.max_learning_rate))
        self.optimizer.param_groups[1]["lr"] = self.learning_rate * self.attention_lr_scale

    def get_policy(self) -> Policy:
        """The student: it reads what a robot can measure."""
        return self.student

    def inference_policies(self) -> dict[str, Policy]:
        """Teacher and student."""
        return {"teacher": self.teacher, "student": self.student}

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """The C = L (T - 1) frames before the rollout, and the actions before them."""
        return dict.fromkeys([*sets["actor"], "last_actions"], network.transformer.context)

    @classmethod
    def network_sizes(cls, dims: Mapping[str, int]) -> dict[str, int]:
        """Also the columns of `privileged`."""
        return {**super().network_sizes(dims), "num_privileged_obs": dims["privileged"]}

    # -- rollout -----------------------------------------------------------------------------------------------------

    def acting_mean(self, obs: Tensors, inputs: dict) -> torch.Tensor:
        """Mean actions (N, A) of whoever acts in each environment."""
        if self._cache is None:
            self._cache = self._primed_cache()
        readouts = self._step(obs, inputs, self._cache)
        self.mixing.updates = self.updates
        teacher = self.mixing.draw()
        inputs["reader"] = readouts.reader
        self._transition.update(last_actions=self._last_actions, teacher=teacher)
        if self.policy_samples != "acted":
            self._transition["other_mean"] = torch.where(teacher[:, None], readouts.student, readouts.teacher)
        return torch.where(teacher[:, None], readouts.teacher, readouts.student)

    def _step(self, obs: Tensors, inputs: Tensors, cache: KeyValueCache) -> Readouts:
        pairs = self.network.pairs(join(obs, self.sets["actor"]), self._last_actions)
        return self.network.step(pairs, inputs["privileged"], cache)

    def _primed_cache(self) -> KeyValueCache:
        """What a cache would hold had the present networks seen the stored context."""
        transformer, storage = self.network.transformer, self.storage
        if "last_actions" not in storage:  # nothing was ever stored
            return transformer.make_cache(storage.num_envs)
        tokens = self.network.frame_tokenizer(self.network.pairs(*self._segments(0)))
        return transformer.prime(tokens, storage.ages(transformer.context, 0))

    def _segments(self, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw frames (N, C + S, d) and the actions before them (N, C + S, A), for the first `steps` (S) of the rollout."""
        groups = (*self.sets["actor"], "last_actions")
        found = {group: self.storage.segments(group, self.network.transformer.context, steps) for group in groups}
        return join(found, self.sets["actor"]), found["last_actions"]

    @torch.no_grad()
    def process_env_step(self, obs: Tensors, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping) -> None:
        """Also forgets finished episodes, and notes how teacher and student do."""
        ended, actions = dones.to(self.device).bool(), self._transition["actions"]
        self._last_actions = torch.where(ended[:, None], torch.zeros_like(actions), actions)
        self._note(self._transition["teacher"], {"reward": rewards, **extras.get("step_metrics", {})})
        if self.policy_samples != "acted":
            mean, std = self._transition.pop("other_mean"), self._transition["std"]
            self._transition["other_log_prob"] = losses.gaussian_log_prob(mean, std, actions)
        self.mixing.see(ended)
        assert self._cache is not None
        self._cache.reset(ended)
        super().process_env_step(obs, rewards, dones, extras)

    def _note(self, teacher: torch.Tensor, metrics: Tensors) -> None:
        """Add up figures (N,) of this step by who acted."""
        rows = torch.stack([*(x.to(self.device) for x in metrics.values()), torch.ones_like(metrics["reward"])])
        sums = torch.stack(((rows * teacher).sum(-1), (rows * ~teacher).sum(-1)))
        self._names = list(metrics)
        self._sums = sums if self._sums is None else self._sums + sums

    def compute_returns(self, obs: Tensors) -> None:
        """Also keeps the frames after the rollout, which its last predictions are compared with; some hosts do not show them."""
        super().compute_returns(obs)
        shown = set(self.sets["actor"]) <= set(obs.keys())
        self._next_frames = join(obs, self.sets["actor"]).clone() if shown else None

    def last_values(self, obs: Tensors) -> torch.Tensor:
        """Values (N, 1) of the state after the rollout."""
        if self.network.critic_input == "critic":
            return super().last_values(obs)
        inputs = self.network.inputs(self.raw_sets(obs))
        assert self._cache is not None
        # This step will be taken again when the next rollout begins, with a cache primed anew.
        return self.network.value({"reader": self._step(obs, inputs, self._cache).reader})

    def train_mode(self) -> None:
        """Also checks what acting alone does not need: a minibatch holds at least one environment."""
        if self.storage.num_envs < self.num_mini_batches:
            raise ValueError(
                f"algorithm.num_mini_batches={self.num_mini_batches}: minibatches hold whole environments, expected at most their number, "
                f"{self.storage.num_envs}"
            )
        super().train_mode()

    # -- update ------------------------------------------------------------------------------------------------------

    def sample_rows(self) -> torch.Tensor:
        """Rows of whole trajectories: minibatches of environments in random order, S steps after one another."""
        storage = self.storage
        used = storage.num_envs // self.num_mini_batches * self.num_mini_batches
        self._envs = self.shuffled_envs()[:used]
        steps = torch.arange(storage.num_steps, device=storage.device)
        return (steps * storage.num_envs + self._envs[:, None]).flatten()

    def shuffled_envs(self) -> torch.Tensor:
        """(N,) environments in the order of this update."""
        return torch.randperm(self.storage.num_envs, device=self.storage.device)

    def extra_samples(self, rows: torch.Tensor, images: int) -> dict[str, torch.Tensor]:
        """What a pass over the segments reads, for the environments of each minibatch and their images."""
        envs, steps = self._envs, self.storage.num_steps
        frames, last_actions = (x[envs] for x in self._segments(steps))
        ongoing = (self.storage["dones"][:, envs] == 0).transpose(0, 1)
        if self._next_frames is None:
            next_frames, ongoing[:, -1] = torch.zeros_like(frames[:, -1]), False
        else:
            next_frames = self._next_frames[envs]
        if images > 1:
            frames, last_actions = self._images_of_frames(frames), self._images_of_actions(last_actions)
            next_frames = self._images_of_frames(next_frames[:, None])[:, 0]
        pairs = self.network.pairs(frames, last_actions)
        following = torch.cat(
            (
                pairs[:, pairs.shape[1] - steps + 1 :, : frames.shape[-1]],
                self.network.normalizers["actor"](next_frames)[:, None],
            ),
            dim=1,
        )
        age = self.storage.ages(self.network.transformer.context, steps)[envs]
        found = {
            "pairs": pairs,
            "next_frames": following,
            "age": age.repeat(images, 1),
            "ongoing": ongoing.repeat(images, 1),
            "teacher": self.storage.flat("teacher")[rows].repeat(images),
        }
        return {name: self._by_mini_batch(value, images) for name, value in found.items()}

    def _images_of_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, F, d) -> (K B, F, d): the originals, then their images."""
        assert self.symmetry is not None
        parts = frames.flatten(0, 1).split([self.storage[group].shape[-1] for group in self.sets["actor"]], dim=-1)
        mirrored = self.symmetry.observations(dict(zip(self.sets["actor"], parts)))
        return join(mirrored, self.sets["actor"]).unflatten(0, (-1, frames.shape[1]))

    def _images_of_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """(B, F, A) -> (K B, F, A)."""
        assert self.symmetry is not None
        return self.symmetry.actions(actions.flatten(0, 1)).unflatten(0, (-1, actions.shape[1]))

    def _mini_batches(self, samples: Tensors, images: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        """As PPO's; with `symmetry_images` "one" only one image of each trajectory."""
        count = len(images["actions"]) // len(samples["log_prob"])
        for index, batch in enumerate(super()._mini_batches(samples, images)):
            if count > 1 and self.symmetry_images == "one":
                chosen = {name: batch[name] for name in images}
                batch.update(self._one_image(chosen, count, index // self.num_mini_batches))
            yield batch

    def _one_image(self, values: Tensors, images: int, epoch: int) -> dict[str, torch.Tensor]:
        """Image i + `epoch` (modulo K = `images`) of trajectory i, from values with K B S rows or, per trajectory, K B."""
        samples = len(values["actions"]) // images
        count = samples // self.storage.num_steps
        trajectory = torch.arange(count, device=self.device)
        image = (trajectory + epoch) % images
        rows = {images * count: image * count + trajectory}
        step = torch.arange(samples, device=self.device)
        rows[images * samples] = image.repeat_interleave(self.storage.num_steps) * samples + step
        chosen = {name: value[rows[len(value)]] for name, value in values.items()}
        return {**chosen, "original": (image == 0).repeat_interleave(self.storage.num_steps)}

    def kl_rows(self, kl: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """Samples as they were acted: of images the former policy is not known."""
        return kl[batch["original"]] if "original" in batch else kl

    def policy_mean(self, batch: dict) -> torch.Tensor:
        """Mean actions (B, A) of whoever acted each sample; one pass over the segments."""
        steps = self.storage.num_steps
        privileged = batch["privileged"].unflatten(0, (-1, steps))
        readouts = self.network.read(batch["pairs"], privileged, batch["age"])
        batch["readouts"], batch["reader"] = readouts, readouts.reader
        return torch.where(batch["teacher"][:, None], readouts.teacher, readouts.student)

    def surrogate(self, per_sample: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """Mean over samples of what the one that acted and, with other `policy_samples` than "acted", the other read-out make of them.

        Every read-out's ratio is the one to its *own* former policy, so that it is 1 before the first gradient step whoever acted, and clipping
        favours no direction. A read-out that did not act for certain weighs the sample by the probability that it would have been the one who
        acted, given the action. This replaces "who acted" by its expectation, so the expected gradient is that of "acted", with less variance;
        far apart read-outs hardly learn from each other's samples, equal ones share all of them.
        """
        if self.policy_samples == "acted":
            return per_sample.mean()
        used, readouts = len(per_sample), batch["readouts"]
        teacher = batch["teacher"][:used]
        mean = torch.where(teacher[:, None], readouts.student[:used], readouts.teacher[:used])
        log_prob = losses.gaussian_log_prob(mean, self.network.std().expand_as(mean), batch["actions"][:used])
        other = self.clipped_surrogate(log_prob, {**batch, "log_prob": batch["other_log_prob"]})
        weight = self._other_weight(batch).repeat(used // len(batch["log_prob"]))
        own_weight = 1.0 - weight
        if self.policy_samples == "student_from_teacher":  # the teacher learns from what it acted and from nothing else
            own_weight = torch.where(teacher, torch.ones_like(weight), own_weight)
            weight = torch.where(teacher, weight, torch.zeros_like(weight))
        return (own_weight * per_sample + weight * other).mean()

    def _other_weight(self, batch: Tensors) -> torch.Tensor:
        """(B,) probability that the read-out that did not act would have been the one to take the action."""
        teacher = batch["teacher"][: len(batch["log_prob"])].to(batch["log_prob"].dtype)
        prior = teacher * (1.0 - self.mixing.ratio) + (1.0 - teacher) * self.mixing.ratio
        return losses.responsibility(batch["other_log_prob"], batch["log_prob"], prior)

    def auxiliary_losses(self, batch: Tensors, policy_loss: torch.Tensor) -> dict[str, tuple[float, torch.Tensor]]:
        """Prediction of the next frame and of the action, imitation of the teacher's mean action."""
        readouts: Readouts = batch["readouts"]  # pyright: ignore
        found = {
            "prediction": (self.prediction_coef, self._prediction_loss(readouts, batch)),
            "imitation": (self.imitation_coef, self._imitation_loss(readouts)),
        }
        if self._measures_cosines:
            self._measures_cosines = False  # once per update is enough
            auxiliary = {name: loss for name, (_, loss) in found.items()}
            self._cosines = gradient_cosines(policy_loss, auxiliary, self.network.trunk_parameters())
        return found

    def _prediction_loss(self, readouts: Readouts, batch: Tensors) -> torch.Tensor:
        """Squared error of the next normalised frame, where the episode goes on, plus that of the action taken."""
        frames, actions = self.network.predict(readouts.frame)
        ongoing = batch["ongoing"].flatten().to(frames.dtype)
        errors = (frames - batch["next_frames"].flatten(0, 1)).square().mean(-1)
        # The mean over processes makes the mean of all samples out of unequal shares.
        count = self.processes.mean(ongoing.sum()).clamp(min=1e-6)
        return (errors * ongoing).sum() / count + losses.regression_loss(actions, batch["actions"])

    def _imitation_loss(self, readouts: Readouts) -> torch.Tensor:
        """Distance of the student's mean action from the teacher's, which gets no gradient."""
        if self.imitation_loss == "mse":
            return losses.regression_loss(readouts.student, readouts.teacher)
        std = self.network.std().detach().expand_as(readouts.student)
        return losses.gaussian_kl(readouts.teacher.detach(), std, readouts.student, std).mean()

    def update(self) -> dict[str, float]:
        """As PPO's; the next rollout starts with a cache that the new networks have filled."""
        self._measures_cosines = self.cosine_interval > 0 and self.updates % self.cosine_interval == 0
        figures = super().update()
        self._cache = None
        return figures

    def after_update(self) -> dict[str, float]:
        """Share of the teacher's actions, figures by who acted, and the latest cosines."""
        teacher, student = self._sums.tolist()
        result = {"teacher_share": teacher[-1] / (teacher[-1] + student[-1])}
        for role, sums in (("teacher", teacher), ("student", student)):
            if sums[-1] > 0:
                result.update({f"{role}_{name}": value / sums[-1] for name, value in zip(self._names, sums)})
        self._sums = None
        return {**result, **self._cosines}

    # -- checkpoints and exact resume --------------------------------------------------------------------------------

    def forget(self) -> None:
        """Also the cache of the rollout."""
        self.student.reset()
        self.teacher.reset()
        self._cache = None

    def rollout_state(self) -> dict[str, Any]:
        """Also the last actions, and who drives."""
        state = {"last_actions": self._last_actions.clone(), "mixing": self.mixing.state_dict()}
        return {**super().rollout_state(), **state}

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        super().load_rollout_state(state)
        self._last_actions.copy_(state["last_actions"])
        self.mixing.load_state_dict(state["mixing"])
        self._cache = None

    # -- construction ------------------------------------------------------------------------------------------------

    @classmethod
    def host_options(cls, cfg: Mapping[str, Any]) -> dict:
        """As PPO's; a schedule without `mix_iterations` takes the whole training."""
        options = super().host_options(cfg)
        if options.get("mix_schedule", "constant") != "constant" and cfg.get("max_iterations") is not None:
            options["mix_iterations"] = schedule_iterations(
                options.get("mix_iterations"), cfg["max_iterations"], bool(cfg.get("resume"))
            )
        return options
