"""The last observation of an episode, which the reset hides: what it is, and that keeping it changes nothing."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

from legged_gym_ext.envs import task_registry  # noqa: E402


def make(keep, num_envs=4, steps=10):
    env_cfg, _ = task_registry.get_cfgs("go2_flat")
    env_cfg.env.num_envs, env_cfg.env.episode_length_s, env_cfg.sim.num_threads = num_envs, steps * 0.02, 1
    env, _ = task_registry.make_env("go2_flat", env_cfg)
    if keep:
        env.keep_last_observations(seed=5)
    return env


def drive(env, steps=25):
    """Policy frames (S, N, D) that the host sees, and the last ones by step."""
    generator, frames, last = torch.Generator().manual_seed(0), [], {}
    for step in range(steps):
        obs, *_ = env.step(0.3 * torch.randn(env.num_envs, env.num_actions, generator=generator))
        frames.append(obs.clone())
        if bool(env.reset_buf.any()) and env.last_groups is not None:
            ended = env.reset_buf.clone()
            last[step] = {name: values[ended].clone() for name, values in env.last_groups.items()}, ended
    return torch.stack(frames), last


def test_keeping_it_changes_no_random_number():
    assert torch.equal(drive(make(False))[0], drive(make(True))[0])


def test_it_is_the_state_before_the_reset():
    env = make(True)
    frames, last = drive(env, steps=10)
    (groups, ended) = last[9]
    assert ended.all()  # all episodes have ten steps
    actions = env.observations.slices("policy")["last_action"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        action = 0.3 * torch.randn(env.num_envs, env.num_actions, generator=generator)
    assert torch.allclose(groups["policy"][:, actions], action)  # the reset sets it to zero
    assert not frames[9][:, actions].any()


def test_it_is_what_a_longer_episode_would_have_shown():
    noiseless = {}
    for steps in (10, 50):
        env_cfg, _ = task_registry.get_cfgs("go2_flat")
        env_cfg.env.num_envs, env_cfg.env.episode_length_s, env_cfg.sim.num_threads = 4, steps * 0.02, 1
        env_cfg.noise.add_noise = False
        env, _ = task_registry.make_env("go2_flat", env_cfg)
        env.keep_last_observations()
        frames, last = drive(env, steps=10)
        noiseless[steps] = last[9][0]["policy"] if steps == 10 else frames[9]
    commands = env.observations.slices("policy")["commands"]  # may be drawn anew at this very step
    noiseless = {steps: frame[:, commands.stop :] for steps, frame in noiseless.items()}
    assert torch.allclose(noiseless[10], noiseless[50], atol=1e-5)
