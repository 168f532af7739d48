"""States of the Isaac Gym engine, over its double (isaac_double.py)."""

from __future__ import annotations

import torch

from tests.engines import JOINTS, hold, place, random_state, state_of
from tests.isaac import BASE_COM, HALF, engine


def test_reset_writes_exactly_the_given_state_to_exactly_the_given_robots(gym):
    sim = engine(4)
    place(sim)
    hold(sim)
    state = state_of(
        sim,
        2,
        root_pos=torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.4]]),
        # A quarter turn to the left about z, and one about x that puts y up.
        root_quat=torch.tensor([[HALF, 0.0, 0.0, HALF], [HALF, HALF, 0.0, 0.0]]),
        root_lin_vel=torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]]),
        root_ang_vel=torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
        dof_pos=torch.arange(24.0).view(2, 12) / 100.0,
        dof_vel=torch.arange(24.0).view(2, 12),
    )
    sim.reset(torch.tensor([3, 1]), state)
    gym.sim.frozen = True
    hold(sim)
    root, dof = gym.log[-1]["root"], gym.log[-1]["dof"]
    assert sorted(root) == sorted(dof) == [1, 3]
    # Four robots stand on a grid of 2 x 2 with 3 m between them: robot 3 at (3, 3), robot 1 at (0, 3).
    third = torch.tensor([1.0 + 3.0, 2.0 + 3.0, 3.0, 0.0, 0.0, HALF, HALF, 0.1, 0.2, 0.3, 0.0, 0.0, 0.0])
    assert torch.allclose(root[3], third, atol=1e-6)
    # 2 rad/s about the base's y, which points up: world (0, 0, 2). The centre of mass, in the base at (cx, 0, cz), is
    # in the world at (cx, -cz, 0) from the origin and moves at (0, 0, 2) x (cx, -cz, 0) = (2 cz, 2 cx, 0).
    cx, _, cz = BASE_COM
    first = torch.tensor([-1.0, 3.5, 0.4, HALF, 0.0, 0.0, HALF, 2 * cz, 2 * cx, 0.0, 0.0, 0.0, 2.0])
    assert torch.allclose(root[1], first, atol=1e-6)
    names = gym.sim.actors[0].asset.dof_names
    assert (names == JOINTS) == (gym.order == "tree")
    for row, robot in ((0, 3), (1, 1)):
        for column, name in enumerate(names):
            ours = JOINTS.index(name)
            assert dof[robot][column, 0] == state.dof_pos[row, ours]
            assert dof[robot][column, 1] == state.dof_vel[row, ours]


def test_isaac_gyms_state_is_read_in_our_frames_and_orders(gym):
    sim = engine(2)
    hold(sim)
    native = gym.sim
    # Robot 1 of two is at (0, 3) on the grid. It is turned by half a turn about z (x y z w = 0 0 1 0).
    native.root[1] = torch.tensor([0.5, 3.25, 0.3, 0.0, 0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0])
    native.dof[1, :, 0], native.dof[1, :, 1] = torch.arange(12.0), torch.arange(12.0) + 100.0
    native.frozen = True
    hold(sim)
    assert torch.allclose(sim.root_pos[1], torch.tensor([0.5, 0.25, 0.3]))
    assert torch.allclose(sim.root_quat[1], torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert torch.allclose(sim.root_ang_vel[1], torch.tensor([0.0, -4.0, 5.0]), atol=1e-6)  # y is turned round
    # Centre of mass at (-cx, 0, cz) in the world; (0, 4, 5) x (-cx, 0, cz) = (4 cz, -5 cx, 4 cx) is its motion about
    # the origin.
    cx, _, cz = BASE_COM
    assert torch.allclose(sim.root_lin_vel[1], torch.tensor([1.0 - 4 * cz, 2.0 + 5 * cx, 3.0 - 4 * cx]), atol=1e-6)
    names = native.actors[0].asset.dof_names
    expected = torch.tensor([float(names.index(name)) for name in JOINTS])
    assert torch.equal(sim.dof_pos[1], expected) and torch.equal(sim.dof_vel[1], expected + 100.0)


def test_several_writes_before_a_step_reach_isaac_gym_in_one_call_per_kind(plain):
    sim = engine(3)
    hold(sim)
    sim.reset(torch.tensor([0, 1]), random_state(sim, 2))
    raised = random_state(sim, 1, seed=1)
    sim.reset(torch.tensor([1]), raised)  # as for feet that would be in the ground
    pushed = sim.root_lin_vel.clone()
    pushed[:, :2] = torch.tensor([0.7, -0.4])
    sim.set_root_lin_vel(pushed)
    assert torch.allclose(sim.root_lin_vel, pushed, atol=1e-6)
    plain.calls.clear()
    plain.sim.frozen = True
    hold(sim)
    assert plain.calls.count("set_actor_root_state_tensor_indexed") == 1
    assert plain.calls.count("set_dof_state_tensor_indexed") == 1
    assert sorted(plain.log[-1]["root"]) == [0, 1, 2] and sorted(plain.log[-1]["dof"]) == [0, 1]
    assert torch.allclose(sim.root_pos[1], raised.root_pos[0], atol=1e-5)
    assert torch.allclose(sim.root_lin_vel, pushed, atol=1e-6)
    plain.calls.clear()
    hold(sim)
    assert "set_actor_root_state_tensor_indexed" not in plain.calls  # once is enough


def test_a_fault_is_reported_for_its_robot_and_ends_with_a_reset(plain):
    sim = engine(3)
    hold(sim)
    assert sim.faults().tolist() == [False, False, False]
    for broken in (plain.sim.root[1, :3], plain.sim.dof[1, 4]):
        broken[0] = torch.nan
        sim._gym.refresh_actor_root_state_tensor(plain.sim)
        sim._gym.refresh_dof_state_tensor(plain.sim)
        assert sim.faults().tolist() == [False, True, False]
        sim.reset(torch.tensor([1]), state_of(sim, 1))
        assert not sim.faults().any()
        hold(sim)
        assert not sim.faults().any() and torch.isfinite(sim.root_pos).all()
