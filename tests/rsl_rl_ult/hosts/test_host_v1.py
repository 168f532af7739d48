"""Our methods in a host of the rsl_rl 1.0.2 generation (tests/old_host.py)."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult import algorithms, register
from rsl_rl_ult.hosts import rsl_rl_v1
from rsl_rl_ult.hosts.common import host_classes
from tests import old_host
from tests.old_host import TERMS, OldEnv, OnPolicyRunner

register(old_host)

METHODS = {"TS": "PPO_TS", "CTS": "PPO_CTS", "ULT": "PPO_ULT", "RMA": "PPO_RMA", "SITT": "PPO_SITT"}
SMALL = {
    "TS": {"history_length": 4, "history_hidden_dims": [16], "privilege_hidden_dims": [16], "latent_dim": 4},
    "ULT": {"history_length": 4, "width": 16, "num_heads": 2, "token_hidden_dims": [16]},
}
SMALL["CTS"] = SMALL["RMA"] = SMALL["TS"]
SMALL["SITT"] = {**SMALL["TS"], "proxy_hidden_dims": [16]}


def make_cfg(method: str, steps: int = 12, policy: dict | None = None, **algorithm) -> dict:
    name = "ActorCriticTS" if method == "RMA" else f"ActorCritic{method}"
    sizes = {"actor_hidden_dims": [16], "critic_hidden_dims": [16], **SMALL[method]}
    return {
        "runner": {
            "policy_class_name": name,
            "algorithm_class_name": METHODS[method],
            "num_steps_per_env": steps,
        },
        "policy": {**sizes, "critic_obs_terms": TERMS, "privileged_terms": ["load"], **(policy or {})},
        "algorithm": {"num_learning_epochs": 2, "num_mini_batches": 2, **algorithm},
    }


def make_runner(method: str, env_seed: int = 0, seed: int = 1, num_envs: int = 16, **cfg) -> OnPolicyRunner:
    torch.manual_seed(seed)
    return OnPolicyRunner(OldEnv(num_envs, env_seed), make_cfg(method, **cfg))


@pytest.fixture
def plain_names(monkeypatch):
    """Our plain PPO and the reference's, under names that the old runner can look up."""
    for name, cls in (("OurPolicy", rsl_rl_v1.ActorCritic), ("OurPPO", rsl_rl_v1.PPO)):
        monkeypatch.setattr(old_host, name, cls, raising=False)


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.05, "schedule": "fixed", "learning_rate": 5e-3}])
def test_without_extra_losses_an_update_is_that_of_rsl_rl_1_0_2(plain_names, options):
    # Sums are taken in another order, and KL terms written in another form: weights agree to float32 rounding over
    # three updates.
    runners = {}
    for name in ("old", "ours"):
        cfg = make_cfg("TS")
        cfg["algorithm"] = {"num_learning_epochs": 2, "num_mini_batches": 2, "entropy_coef": 0.01, **options}
        if name == "old":
            cfg["runner"].update(policy_class_name="OldActorCritic", algorithm_class_name="OldPPO")
            cfg["policy"] = {}
        else:
            cfg["runner"].update(policy_class_name="OurPolicy", algorithm_class_name="OurPPO")
            cfg["policy"] = {"actor_hidden_dims": [16, 8], "critic_hidden_dims": [16, 8]}
        torch.manual_seed(0)
        runners[name] = OnPolicyRunner(OldEnv(16), cfg)
    old, ours = runners["old"].alg.actor_critic, runners["ours"].alg.actor_critic
    for part in ("actor", "critic"):
        for theirs, own in zip(getattr(old, part).parameters(), getattr(ours.network, part).parameters()):
            own.data.copy_(theirs.data)
    for runner in runners.values():
        for iteration in range(3):
            torch.manual_seed(10 + iteration)
            runner.learn(1)
    for part in ("actor", "critic"):
        for theirs, own in zip(getattr(old, part).parameters(), getattr(ours.network, part).parameters()):
            torch.testing.assert_close(own, theirs, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(ours.std, old.std.detach(), atol=2e-6, rtol=1e-5)
    for key, value in runners["old"].scalars.items():
        assert runners["ours"].scalars[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("method", METHODS)
def test_two_names_in_the_configuration_train_save_load_resume_and_infer(method, tmp_path):
    runner = make_runner(method)
    runner.learn(3)
    runner.save(tmp_path / "model.pt")
    other = make_runner(method, seed=2)
    other.load(tmp_path / "model.pt")
    assert other.current_learning_iteration == 3
    assert other.alg.learning_rate == runner.alg.learning_rate
    obs = OldEnv(5, seed=7).get_observations()
    for _ in range(3):
        expected, found = runner.get_inference_policy()(obs), other.get_inference_policy()(obs)
        assert expected.shape == (5, 2) and torch.equal(expected, found)
    other.learn(1)
    assert other.alg.core.updates == 4 and other.current_learning_iteration == 4


@pytest.mark.parametrize("method", METHODS)
def test_the_host_learns_what_the_native_algorithm_learns(method):
    """The same samples under the 5.x protocol give the same weights.

    ULT's last prediction has no target here, so it is left out there too.
    """
    runner = make_runner(method, clip_jointly=False, kl_epsilon=0.0)
    core = runner.alg.core
    native_env, native = OldEnv(16), make_native(core, runner)
    runner.alg.actor_critic.train()
    for iteration in range(2):
        torch.manual_seed(iteration)
        runner.learn(1)
        torch.manual_seed(iteration)
        run_native(native, native_env, runner.cfg["num_steps_per_env"])
    for (name, expected), found in zip(native.network.state_dict().items(), core.network.state_dict().values()):
        assert torch.equal(expected, found), name


def groups_of(env: OldEnv) -> dict:
    return {"policy": env.obs_buf, "critic": env.privileged_obs_buf, "privileged": env.load.clone()}


def make_native(core, runner):
    """An algorithm as 5.x builds it, with the weights of `core`."""
    method = type(core).__name__.replace("PPO_", "")
    policy = {k: v for k, v in make_cfg(method)["policy"].items() if not k.endswith("_terms")}
    actor = {"class_name": runner.cfg["policy_class_name"], "hidden_dims": policy.pop("actor_hidden_dims")}
    if method == "CTS":
        actor["critic_reads_latent"] = False
    cfg = {
        "num_steps_per_env": runner.cfg["num_steps_per_env"],
        "obs_groups": {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]},
        "critic": {"hidden_dims": policy.pop("critic_hidden_dims")},
        "actor": {**actor, **policy},
        "algorithm": {"class_name": type(core), "num_learning_epochs": 2, "num_mini_batches": 2},
    }
    env = OldEnv(16)
    native = algorithms.PPO.construct_algorithm(groups_of(env), env, cfg, "cpu")
    native.network.load_state_dict(core.network.state_dict())
    return native


def run_native(native, env: OldEnv, steps: int) -> None:
    with torch.inference_mode():
        for _ in range(steps):
            actions = native.act(groups_of(env))
            _, _, rewards, dones, infos = env.step(actions)
            native.process_env_step(groups_of(env), rewards, dones.long(), infos)
        last = groups_of(env)
        del last["policy"]
        native.compute_returns(last)
    native.update()


def test_privileged_columns_are_cut_from_the_critic_observation():
    runner = make_runner("TS", policy={"critic_terms": ["load", "obs"]})
    critic_obs = torch.arange(9.0)[None]
    groups = runner.alg.actor_critic.groups(torch.zeros(1, 4), critic_obs)
    assert groups["privileged"].tolist() == [[4.0, 5.0]]
    assert groups["critic"].tolist() == [[4.0, 5.0, 0.0, 1.0, 2.0, 3.0]]


def test_losses_that_the_host_does_not_know_reach_its_log_one_iteration_later():
    runner = make_runner("ULT", num_envs=32)
    runner.learn(2)
    metrics = runner.alg.metrics
    runner.learn(1)
    assert not any(iteration == 0 for iteration, name in runner.scalars if name.startswith("Episode/loss_"))
    for name in ("prediction", "imitation", "entropy"):
        assert runner.scalars[2, f"Episode/loss_{name}"] == pytest.approx(metrics[name])
    assert (2, "Episode/loss_value") not in runner.scalars  # it is in the log already


def test_rma_changes_its_stage_where_a_checkpoint_says(tmp_path):
    runner = make_runner("RMA", stage1_iterations=2)
    runner.learn(2)
    assert runner.alg.core.stage == 2
    runner.save(tmp_path / "model.pt")
    other = make_runner("RMA", stage1_iterations=2, seed=3)
    other.load(tmp_path / "model.pt")
    before = {k: v.clone() for k, v in other.alg.actor_critic.state_dict().items()}
    other.learn(1)
    changed = {k for k, v in other.alg.actor_critic.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(name.startswith("history_encoder.") for name in changed)


def test_losses_of_a_stage_that_is_over_leave_the_log(tmp_path):
    """1.0.2 reads an iteration's metrics by the keys of the first; environments show old ones until an episode ends."""
    runner = make_runner("RMA", stage1_iterations=2, num_envs=8, steps=24)
    runner.learn(5)
    shown = {n: {name for k, name in runner.scalars if k == n and name.startswith("Episode/")} for n in range(5)}
    assert shown[0] == {"Episode/rew_match"}  # losses come one iteration late
    assert "Episode/loss_entropy" in shown[1] & shown[2]
    student = {"Episode/loss_student_latent", "Episode/loss_student_action"}
    assert shown[3] == shown[4] == {"Episode/rew_match", "Episode/loss_stage", *student}


def test_the_environments_own_figures_stay_as_they_are():
    runner = make_runner("TS")
    env, seen = runner.env, []
    step = env.step

    def noting_step(actions: torch.Tensor) -> tuple:
        seen.append(env.extras.get("episode"))  # what the last step has left
        return step(actions)

    env.step = noting_step
    runner.learn(3)
    assert any(seen) and all(set(figures) == {"rew_match"} for figures in seen if figures)
    assert set(env.extras["episode"]) == {"rew_match"}


def test_a_played_policy_forgets_an_episode_when_told_to():
    runner = make_runner("TS")
    policy, obs = runner.get_inference_policy(), OldEnv(2).get_observations()
    first = policy(obs)
    second = policy(obs)
    runner.alg.actor_critic.reset(torch.tensor([True, False]))
    third = policy(obs)
    assert not torch.equal(first, second)
    # Batches of other contents round differently: equal to 1e-6.
    torch.testing.assert_close(third[0], first[0], atol=1e-6, rtol=0.0)
    assert (third[1] - first[1]).abs().max() > 1e-4


def test_what_a_fork_saves_as_the_actor_is_the_deployable_student():
    runner = make_runner("TS")
    runner.learn(1)
    student, policy = runner.alg.actor_critic.actor, runner.get_inference_policy()
    runner.alg.actor_critic.reset()
    obs = OldEnv(1).get_observations()
    for _ in range(5):
        torch.testing.assert_close(student(obs), policy(obs), atol=1e-6, rtol=0.0)


# A student of TS never acts: with many large steps it learns to read the teacher's actions off its history instead of
# the load (0.44 with 40).
FEW_STEPS = {"encoder_learning_rate": 3e-3, "num_encoder_steps": 8, "num_encoder_mini_batches": 4, "desired_kl": 0.01}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [("ULT", {}), ("TS", FEW_STEPS)])
def test_a_student_learns_a_hidden_load_in_an_old_style_environment(method, options):
    # exp(-|a - wanted|^2) with a load of N(0, 1) in both columns: who does not know it earns at most (1 / sqrt(3))^2 =
    # 0.33, who does 1.
    options = {"num_learning_epochs": 4, "entropy_coef": 0.0, "gamma": 0.3, **options}
    runner = make_runner(method, num_envs=64, steps=20, **options)
    runner.learn(60)
    env, policy, rewards = OldEnv(128, seed=5), runner.get_inference_policy(), []
    runner.alg.actor_critic.reset()
    with torch.inference_mode():
        for _ in range(60):
            _, _, reward, dones, _ = env.step(policy(env.obs_buf))
            runner.alg.actor_critic.reset(dones)
            rewards.append(reward.mean())
    assert torch.stack(rewards[5:]).mean() > 0.5


class Cloning(algorithms.OnPolicyAlgorithm):
    """Learns values, and repeats the actions that it drew: no PPO."""

    def compute_loss(self, batch):
        found = self.evaluate(batch)
        value = (found.value - batch.acted.returns).square().mean()
        surrogate = (found.mean - batch.actions).square().mean()
        return value + surrogate, {"value": value, "surrogate": surrogate}


def test_a_method_that_is_no_ppo_gets_only_options_that_it_has(monkeypatch):
    monkeypatch.setitem(algorithms.METHODS, "Cloning", Cloning)
    classes = host_classes(rsl_rl_v1._Policy, rsl_rl_v1._Algorithm, "somewhere")
    for name, cls in (("OurPolicy", classes["ActorCritic"]), ("Cloning", classes["Cloning"])):
        monkeypatch.setattr(old_host, name, cls, raising=False)
    cfg = make_cfg("TS")
    cfg["runner"].update(policy_class_name="OurPolicy", algorithm_class_name="Cloning")
    cfg["policy"] = {"actor_hidden_dims": [16], "critic_hidden_dims": [16]}
    runner = OnPolicyRunner(OldEnv(16), cfg)
    runner.learn(1)
    assert runner.alg.core.clip_jointly and runner.alg.core.updates == 1
    cfg["algorithm"]["kl_epsilon"] = 0.0
    with pytest.raises(ValueError, match="has no option 'kl_epsilon' for Cloning"):
        OnPolicyRunner(OldEnv(16), cfg)


# -- mistakes --------------------------------------------------------------------------------------------------------


def test_a_table_of_columns_that_does_not_add_up_is_shown():
    with pytest.raises(ValueError) as error:
        make_runner("TS", policy={"critic_obs_terms": {"obs": 4, "load": 2}})
    text = str(error.value)
    assert "adds up to 6 columns, the critic observation has 9 (env.num_privileged_obs; where that is None" in text
    assert "obs      4  [0:4]" in text and "load     2  [4:6]" in text


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"privileged_terms": ["lode"]}, r"policy.privileged_terms names \['lode'\]"),
        ({"critic_obs_term": {"obs": 4}}, r"policy has no option 'critic_obs_term' .*did you mean 'critic_obs_terms'"),
        ({"critic_terms": []}, "policy.critic_terms names no block"),
        ({"critic_obs_terms": {"obs": 9, "load": 0}}, "'load' has 0 columns"),
        ({"histroy_length": 3}, "did you mean 'history_length'"),
    ],
)
def test_mistakes_in_the_policy_section_are_named(policy, message):
    with pytest.raises(ValueError, match=message):
        make_runner("TS", policy=policy)


def test_a_critic_that_would_read_a_latent_which_the_host_never_shows_is_refused():
    assert make_runner("CTS").alg.core.network.critic_reads_latent is False
    with pytest.raises(ValueError, match=r"critic_reads_latent=True: runners of rsl_rl 1\.0\.2 show no frame after"):
        make_runner("CTS", policy={"critic_reads_latent": True})


def test_an_environment_without_privileged_observations_is_refused(monkeypatch):
    monkeypatch.setattr(OldEnv, "num_privileged_obs", None)
    with pytest.raises(ValueError, match=r"this environment has none \(num_privileged_obs is None\)"):
        make_runner("TS", policy={"critic_obs_terms": None, "privileged_terms": None})


def test_a_policy_of_another_method_is_refused():
    cfg = make_cfg("TS")
    cfg["runner"]["algorithm_class_name"] = "PPO_CTS"
    with pytest.raises(
        ValueError, match="PPO_CTS trains ActorCriticCTS, the configuration names the policy ActorCriticTS"
    ):
        OnPolicyRunner(OldEnv(), cfg)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    runner = make_runner("TS")
    runner.save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="the checkpoint holds another network"):
        make_runner("TS", policy={"latent_dim": 5}).load(tmp_path / "model.pt")


def test_blocks_that_are_adjacent_are_cut_without_a_copy():
    columns = rsl_rl_v1.Columns(9, TERMS, ["load"], ["distractor", "obs"])
    critic_obs = torch.arange(18.0).view(2, 9)
    load = columns.cut(critic_obs, "privileged")
    assert load.tolist() == [[4.0, 5.0], [13.0, 14.0]] and load.data_ptr() == critic_obs[:, 4:].data_ptr()
    assert columns.cut(critic_obs, "critic")[0].tolist() == [6.0, 7.0, 8.0, 0.0, 1.0, 2.0, 3.0]
