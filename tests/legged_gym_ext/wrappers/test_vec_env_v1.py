"""The tasks in a legged_gym fork: registry, flat environment, and the same checkpoint on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mjbatch")

import legged_gym_ext  # noqa: E402
from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.envs.base.observations import configured_sizes, group_dims, resolve_terms  # noqa: E402
from legged_gym_ext.utils.errors import UserError  # noqa: E402
from legged_gym_ext.wrappers.vec_env_v1 import VecEnvV1, train_cfg_v1  # noqa: E402
from rsl_rl_ult import register  # noqa: E402
from tests import old_host  # noqa: E402
from tests.old_host import ForkRegistry, as_dict  # noqa: E402

register(old_host)
METHODS = ["go2_ts_flat", "go2_cts_flat", "go2_rma_flat", "go2_sitt_flat", "go2_ult_flat"]


@pytest.fixture
def registry() -> ForkRegistry:
    registry = ForkRegistry()
    legged_gym_ext.register_tasks(registry)
    return registry


def test_every_task_of_a_robot_gets_into_a_forks_registry(registry):
    assert sorted(registry.tasks) == task_registry.robot_tasks


class OtherRegistry:
    """legged_gym's: one dictionary for each of class and configurations."""

    def __init__(self) -> None:
        self.task_classes, self.env_cfgs, self.train_cfgs = {}, {}, {}

    def register(self, name, task_class, env_cfg, train_cfg) -> None:
        self.task_classes[name], self.env_cfgs[name], self.train_cfgs[name] = task_class, env_cfg, train_cfg


@pytest.mark.parametrize("registry_class", [ForkRegistry, OtherRegistry])
def test_a_task_of_the_forks_own_is_not_replaced(registry_class, capsys):
    registry = registry_class()
    registry.register("go2", object, "theirs", "theirs")
    names = legged_gym_ext.register_tasks(registry)
    assert sorted([*names, "go2"]) == task_registry.robot_tasks
    (line,) = capsys.readouterr().out.splitlines()
    assert "this fork has already: go2; for ours call register_tasks(task_registry, prefix='our_')" in line
    tasks = registry.tasks["go2"] if registry_class is ForkRegistry else [registry.task_classes["go2"]]
    assert tasks[0] is object
    assert legged_gym_ext.register_tasks(registry) == names  # again: what is ours is no conflict


def test_a_prefix_and_names_choose_what_is_registered_and_where_its_runs_go():
    registry = OtherRegistry()
    registry.register("go2", object, "theirs", "theirs")
    assert legged_gym_ext.register_tasks(registry, prefix="our_", names=["go2", "go2_ult"]) == [
        "our_go2",
        "our_go2_ult",
    ]
    assert sorted(registry.task_classes) == ["go2", "our_go2", "our_go2_ult"]
    experiment = task_registry.get_cfgs("go2_ult")[1].runner.experiment_name
    assert registry.train_cfgs["our_go2_ult"].runner.experiment_name == f"our_{experiment}"


def test_an_unknown_name_is_refused_before_anything_is_registered():
    registry = OtherRegistry()
    with pytest.raises(UserError, match="unknown task 'go2_utl'; did you mean go2_ult"):
        legged_gym_ext.register_tasks(registry, names=["go2", "go2_utl"])
    assert registry.task_classes == {}


def test_tasks_name_our_classes_with_the_prefix_that_register_was_given(monkeypatch):
    for name in ("ActorCriticTS", "PPO_TS"):
        monkeypatch.setattr(old_host, name, object)  # the fork's own
    register(old_host, prefix="Ult")
    registry = ForkRegistry()
    legged_gym_ext.register_tasks(registry, names=["go2", "go2_ts_flat"], class_prefix="Ult")
    cfg = registry.tasks["go2_ts_flat"][2].runner
    assert (cfg.policy_class_name, cfg.algorithm_class_name) == ("UltActorCriticTS", "UltPPO_TS")
    assert registry.tasks["go2"][2].runner.algorithm_class_name == "PPO"  # the fork's
    assert registry.make("go2_ts_flat", num_envs=2).alg.core.learning_rate > 0.0


@pytest.mark.parametrize("name", [*METHODS, "go1_ts_flat"])
def test_a_task_trains_in_the_fork(registry, name):
    runner = registry.make(name, sim_device="cuda:0")  # of no consequence: the engine is on the CPU
    before = {key: value.clone() for key, value in runner.alg.actor_critic.state_dict().items()}
    runner.learn(1)
    after = runner.alg.actor_critic.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in before.items())
    assert all(torch.isfinite(value).all() for value in after.values())
    assert "symmetry" in runner.alg.metrics  # mirrored samples, although the host does not show its environment


def test_plain_tasks_name_the_forks_own_classes_and_options():
    for name in ("go2", "go2_blind_flat"):
        cfg = as_dict(train_cfg_v1(task_registry.get_cfgs(name)[1], {"critic": 171, "privileged": 174}))
        assert (cfg["runner"]["policy_class_name"], cfg["runner"]["algorithm_class_name"]) == ("ActorCritic", "PPO")
        assert set(cfg["policy"]) == {"init_noise_std", "actor_hidden_dims", "critic_hidden_dims", "activation"}
        assert "symmetry_cfg" not in cfg["algorithm"]


def test_both_stages_of_rma_are_in_the_forks_iterations(registry):
    _, own = task_registry.get_cfgs("go2_rma_flat")
    cfg = registry.tasks["go2_rma_flat"][2]
    assert cfg.algorithm.stage1_iterations == own.runner.max_iterations
    assert cfg.runner.max_iterations == own.runner.max_iterations + own.runner.stage2_iterations


def test_a_schedule_over_the_whole_training_has_its_length_in_the_fork():
    _, own = task_registry.get_cfgs("go2_ult")
    assert (own.algorithm.mix_schedule, own.algorithm.mix_iterations) == ("linear", None)
    terms = {"critic": 171, "privileged": 174}
    assert train_cfg_v1(own, terms).algorithm.mix_iterations == own.runner.max_iterations
    own.algorithm.mix_iterations = 7
    assert train_cfg_v1(own, terms).algorithm.mix_iterations == 7


def test_the_flat_environment_shows_the_same_numbers():
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.env.num_envs = 4
    env = VecEnvV1(cfg)
    obs, privileged, rewards, dones, extras = env.step(torch.zeros(4, 12))
    assert torch.equal(obs, env.env.obs_buf) and torch.equal(env.get_observations(), obs)
    assert torch.equal(privileged[:, : env.terms["critic"]], env.env.critic_obs_buf)
    assert torch.equal(privileged[:, env.terms["critic"] :], env.env.privileged_obs_buf)
    assert (env.num_obs, env.num_privileged_obs, env.num_actions) == (45, 171 + 174, 12)
    assert rewards.shape == dones.shape == extras["time_outs"].shape == (4,)
    env.episode_length_buf = torch.arange(4)
    assert env.env.episode_length_buf.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_of_rsl_rl_lib_5_acts_the_same_in_the_fork(registry, name, tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs(name)
    env_cfg.env.num_envs, train_cfg.runner.eval_interval = 8, 0
    train_cfg.runner.max_iterations, train_cfg.runner.logger = 1, "none"
    if "rma" in name:
        train_cfg.runner.stage2_iterations = 1
    if "cts" in name:
        train_cfg.actor.critic_reads_latent = False  # a fork's runner does not show what such a critic reads
    env, _ = task_registry.make_env(name, env_cfg)
    native, _ = task_registry.make_alg_runner(env, name, train_cfg, log_root=tmp_path)
    native.learn(1)
    path = Path(native.logger.log_dir) / "model.pt"
    native.save(str(path))
    fork = registry.make(name)
    fork.load(path)
    assert fork.alg.learning_rate == native.alg.learning_rate
    native_policy, fork_policy = native.get_inference_policy("cpu"), fork.get_inference_policy()
    native_policy.reset(torch.ones(8, dtype=torch.bool))
    with torch.inference_mode():
        for _ in range(4):
            obs = torch.randn(8, 45)
            assert torch.equal(fork_policy(obs), native_policy({"policy": obs}))
    fork.learn(1)  # and the training goes on


def test_columns_of_mirrored_terms_are_those_of_the_environment():
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.env.num_envs = 1
    env, _ = task_registry.make_env("go2_flat", cfg)
    counted = resolve_terms(env.cfg, configured_sizes(env.cfg))
    assert {n: t.dim for n, t in env.observations.terms.items()} == {n: t.dim for n, t in counted.items()}
    assert group_dims(env.cfg) == env.group_dims
