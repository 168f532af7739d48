"""Runtime of the robot under a fake clock: standing up, walking, and every fault."""

from __future__ import annotations

import numpy as np
import pytest

from legged_gym_ext.deploy.go2.remote import Remote, encode
from legged_gym_ext.deploy.go2.runtime import DAMP, RUN, STAND, WAIT, JointMap, Options, loop, stand_up_pose
from legged_gym_ext.deploy.go2.safety import Limits, Supervisor
from legged_gym_ext.deploy.go2.timing import Timing
from tests.policy_files import JOINTS
from tests.robot_doubles import DEFAULT_SDK, Bench, is_damping, make_state
from tests.robot_policies import make_contract

ROLLED = np.array([np.cos(0.6), np.sin(0.6), 0.0, 0.0])  # by 1.2 rad about x; the limit is 1.0


def with_joint(**values):
    """A state in which motor 2 (FR calf) has other values."""
    changes = {}
    for name, value in values.items():
        array = getattr(make_state(), name).copy()
        array[2] = value
        changes[name] = array
    return changes


FAULTS = {
    "bad quat": ({"quat": np.full(4, np.nan)}, "bad state"),
    "infinite speed": (with_joint(dq=np.inf), "bad state"),
    "no unit quaternion": ({"quat": np.zeros(4)}, "bad state"),
    "tilt": ({"quat": ROLLED}, "tilt"),
    "joint beyond its limit": (with_joint(q=-0.7), "joint limit"),  # limit -0.838, tolerance 0.1
    "hot motor": (with_joint(temperature=81.0), "temperature"),
    "stop keys": ({"remote": encode(Remote(keys=frozenset({"L2", "B"}), connected=True))}, "operator"),
}


def stay_damped(bench):
    """However good everything becomes again, damping is all that is sent."""
    bench.robot.state, bench.link.error, bench.link.silent = make_state(), "", False
    bench.robot.on_write = lambda command: None
    count = len(bench.robot.sent)
    bench.run(1.0)
    assert len(bench.robot.sent) == count + 500
    return all(is_damping(command) for command in bench.robot.sent[count:])


@pytest.mark.parametrize("phase", ["stand up", "wait", "run"])
@pytest.mark.parametrize("case", FAULTS)
def test_a_bad_state_is_answered_with_damping_at_the_same_tick_and_for_good(case, phase):
    bench = Bench()
    bench.run(1.0 if phase == "stand up" else 3.5)
    if phase == "run":
        bench.runtime.request_start()
        bench.run(1.0)
    assert bench.runtime.phase == phase
    assert not is_damping(bench.robot.sent[-1])
    changes, name = FAULTS[case]
    bench.robot.state = make_state(**changes)
    assert is_damping(bench.run(0.002))
    assert bench.runtime.supervisor.fault.name == name
    assert stay_damped(bench)


def test_the_reason_is_printed_once():
    bench = Bench()
    bench.run(1.0)
    bench.robot.state = make_state(quat=ROLLED)
    bench.run(0.1)
    bench.robot.state = make_state(**with_joint(temperature=99.0))
    bench.run(0.1)
    assert [line for line in bench.lines if "DAMPING" in line] == [
        "DAMPING (tilt): the base is tilted by 69 degrees (limit 57)"
    ]


def test_of_several_faults_in_one_state_the_first_is_the_reason():
    supervisor = Supervisor(make_contract(), Limits())
    supervisor.check_state(make_state(quat=ROLLED, **with_joint(temperature=99.0)))
    supervisor.check_age(0.0, 1.0)
    assert supervisor.fault is not None
    assert supervisor.fault.name == "tilt"


def test_a_joint_faster_than_its_motor_can_turn_for_three_states_is_a_fault():
    bench = Bench()
    bench.walk()
    bench.robot.state = make_state(**with_joint(dq=15.8))
    assert not is_damping(bench.run(0.004))
    assert is_damping(bench.run(0.002))
    assert bench.runtime.supervisor.fault.name == "joint speed"


def test_a_spike_of_joint_speed_is_none():
    bench = Bench()
    bench.walk()
    for _ in range(5):
        bench.robot.state = make_state(**with_joint(dq=15.8))
        bench.run(0.004)
        bench.robot.state = make_state()
        bench.run(0.002)
    assert bench.runtime.phase == RUN


def test_no_new_state_for_40_ms_is_a_fault_and_for_36_ms_is_none():
    bench = Bench()
    bench.walk()
    bench.robot.state = None
    assert not is_damping(bench.run(0.036))
    assert is_damping(bench.run(0.006))
    assert bench.runtime.supervisor.fault.name == "stale state"
    assert stay_damped(bench)


def test_a_lost_remote_is_a_fault_after_200_ms():
    bench = Bench()
    bench.walk()
    bench.robot.state = make_state(remote=bytes(40))
    assert not is_damping(bench.run(0.19))
    assert is_damping(bench.run(0.02))
    assert bench.runtime.supervisor.fault.name == "remote lost"


def test_without_a_remote_none_is_missed():
    bench = Bench(Options(command=(0.3, 0.0, 0.0), remote=False))
    bench.robot.state = make_state(remote=bytes(40))
    bench.run(1.0)
    assert bench.runtime.supervisor.fault is None


def test_a_policy_that_does_not_answer_for_40_ms_is_a_fault():
    bench = Bench()
    bench.walk()
    bench.link.silent = True
    asked = len(bench.link.asked)
    while len(bench.link.asked) == asked:  # the question that will not be answered
        bench.run(0.002)
    assert not is_damping(bench.run(0.038))
    assert is_damping(bench.run(0.006))
    assert bench.runtime.supervisor.fault.name == "policy late"
    assert len(bench.link.asked) == asked + 1  # a process that does not answer is not asked again
    assert stay_damped(bench)


@pytest.mark.parametrize("phase", ["stand up", "run"])
def test_a_policy_process_that_ended_is_answered_with_damping_at_the_next_tick(phase):
    bench = Bench()
    bench.run(1.0) if phase == "stand up" else bench.walk()
    bench.link.error = "the policy's process ended (exit code -9)"
    assert is_damping(bench.run(0.002))
    assert bench.runtime.supervisor.fault.reason == "the policy's process ended (exit code -9)"
    assert stay_damped(bench)


def test_targets_that_are_not_finite_are_never_sent():
    bench = Bench()
    bench.walk()
    bench.link.targets = np.full(12, np.nan)
    bench.run(0.03)
    assert bench.runtime.supervisor.fault.name == "bad targets"
    assert all(np.isfinite(command.q).all() for command in bench.robot.sent)
    assert stay_damped(bench)


def test_targets_are_kept_0_02_rad_inside_the_joint_limits():
    bench = Bench()
    bench.walk()
    bench.link.targets = np.full(12, 5.0)
    command = bench.run(0.04)
    # FR hip, thigh, calf: upper limits 1.0472, 3.4907 and -0.83776
    assert command.q[:3] == pytest.approx([1.0272, 3.4707, -0.85776])
    assert command.q[7] == pytest.approx(4.5179)  # RR thigh: 4.5379


def test_targets_beyond_the_limits_for_a_second_are_a_fault():
    bench = Bench()
    bench.walk()
    bench.link.targets = bench.link.targets.copy()
    bench.link.targets[JOINTS.index("RL_calf_joint")] = 0.0
    assert not is_damping(bench.run(0.96))
    assert is_damping(bench.run(0.08))
    fault = bench.runtime.supervisor.fault
    assert fault.name == "target limit"
    assert "RL_calf_joint" in fault.reason


def test_a_command_that_cannot_be_sent_is_a_fault_and_damping_is_tried_again_at_every_tick():
    bench = Bench()
    bench.walk()

    def refuse(command):
        raise OSError("network is unreachable")

    bench.robot.on_write = refuse
    bench.run(0.1)
    assert bench.runtime.supervisor.fault.reason == "network is unreachable"
    assert all(is_damping(command) for command in bench.robot.sent[-49:])
    assert stay_damped(bench)


def test_an_exception_while_reading_is_answered_with_damping_at_the_same_tick():
    bench = Bench()
    bench.walk()

    def fail():
        raise ValueError("a message of 3 bytes")

    bench.robot.read = fail
    assert is_damping(bench.run(0.002))
    assert "a message of 3 bytes" in bench.runtime.supervisor.fault.reason


def test_a_stop_from_this_computer_damps_at_the_next_tick():
    bench = Bench()
    bench.walk()
    bench.runtime.stop("operator", "Ctrl-C on this computer")
    assert is_damping(bench.run(0.002))
    assert stay_damped(bench)


def test_start_is_refused_after_a_fault():
    bench = Bench()
    bench.run(3.2)
    assert bench.runtime.phase == WAIT
    bench.runtime.stop("operator", "Enter")
    bench.runtime.request_start()
    bench.run(0.01)
    assert bench.runtime.phase == DAMP


def test_standing_up_starts_where_the_joints_are_without_stiffness():
    bench = Bench()
    start = DEFAULT_SDK + 0.4
    bench.runtime.__init__(bench.contract, bench.robot, bench.link, make_state(q=start), log=bench.lines.append)
    bench.robot.state = make_state(q=start)
    command = bench.run(0.002)
    assert command.q == pytest.approx(start, abs=1e-6)
    assert command.kp == pytest.approx(np.zeros(12), abs=1e-9)


def test_the_stand_up_pose_is_half_way_at_half_time_and_a_quarter_is_15_percent():
    start, goal = np.array([0.0, 1.0]), np.array([2.0, 1.0])
    assert stand_up_pose(start, goal, 0.5) == pytest.approx([1.0, 1.0])
    assert stand_up_pose(start, goal, 0.25) == pytest.approx([2 * 0.15625, 1.0])  # 3/16 - 2/64
    assert stand_up_pose(start, goal, 7.0) == pytest.approx(goal)


def test_no_joint_is_moved_faster_than_the_stand_up_speed():
    bench = Bench()
    start = DEFAULT_SDK.copy()
    start[1] += 2.4  # 1.5 * 2.4 / 0.8 = 4.5 s instead of 3
    bench.runtime.__init__(bench.contract, bench.robot, bench.link, make_state(q=start), log=bench.lines.append)
    bench.run(4.4)
    assert bench.runtime.phase == STAND
    steps = np.diff([command.q[1] for command in bench.robot.sent]) / 0.002
    assert np.abs(steps).max() == pytest.approx(0.8, rel=1e-3)
    bench.run(0.2)
    assert bench.runtime.phase == WAIT


def test_the_policy_waits_for_start_and_runs_with_its_own_gains():
    bench = Bench()
    bench.run(10.0)
    assert bench.runtime.phase == WAIT
    assert not any(run for _, _, run in bench.link.asked)
    assert bench.robot.sent[-1].q == pytest.approx(DEFAULT_SDK)
    bench.robot.state = make_state(remote=encode(Remote(keys=frozenset({"start"}), connected=True)))
    bench.run(0.002)
    bench.robot.state = make_state()
    command = bench.run(1.0)
    assert bench.runtime.phase == RUN
    assert command.kp == pytest.approx(np.full(12, 20.0))
    assert command.kd == pytest.approx(np.full(12, 0.5))


def test_the_policy_is_asked_50_times_and_commands_are_sent_500_times_a_second():
    bench = Bench()
    bench.walk()
    asked, sent = len(bench.link.asked), len(bench.robot.sent)
    bench.run(2.0)
    assert len(bench.link.asked) - asked == 100
    assert len(bench.robot.sent) - sent == 1000


def test_after_a_pause_steps_are_skipped_and_not_made_up_for():
    bench = Bench()
    bench.walk()
    bench.robot.now += 0.09
    asked = len(bench.link.asked)
    bench.run(0.02)
    assert len(bench.link.asked) - asked <= 2
    assert bench.runtime.timing.summary()["deadline_misses"] >= 3


def test_a_loop_that_stood_still_for_more_than_100_ms_does_not_go_on_driving():
    bench = Bench()
    bench.walk()
    bench.robot.now += 0.11
    assert is_damping(bench.run(0.002))
    assert bench.runtime.supervisor.fault.name == "loop late"


def test_while_damping_the_policy_process_is_kept_from_sending_damping_too():
    bench = Bench()
    bench.walk()
    bench.runtime.stop("operator", "test")
    bench.run(0.002)
    asked = len(bench.link.asked)
    bench.run(1.0)
    assert 45 <= len(bench.link.asked) - asked <= 50
    assert not any(run for _, _, run in bench.link.asked[asked:])


def test_a_policy_process_that_hangs_is_not_asked_again_while_damping():
    bench = Bench()
    bench.walk()
    bench.link.silent = True
    bench.run(0.1)
    asked = len(bench.link.asked)
    bench.run(1.0)
    assert len(bench.link.asked) == asked


def test_a_terminal_that_went_away_does_not_stop_damping():
    bench = Bench()
    bench.walk()

    def fail(line):
        raise BrokenPipeError

    bench.runtime.log = fail
    bench.runtime.stop("operator", "test")
    assert is_damping(bench.run(0.01))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_is_raised_beside_the_loop_is_answered_with_damping_for_its_time(error):
    bench = Bench(Options(damping_time=0.2))

    def clock():
        bench.robot.now += 0.001
        return bench.robot.now

    def fail(now):
        if now > 1.0:
            raise error("beside")

    loop(bench.runtime, 0.0, fail, clock)
    assert bench.runtime.supervisor.fault.name == "error"
    assert sum(is_damping(command) for command in bench.robot.sent[-40:]) == 40


def test_joints_are_matched_by_name_in_any_order():
    # Contract order a b c; the motors are c a b.
    contract = make_contract(
        joint_names=("a", "b", "c"),
        sdk_joint_order=("c", "a", "b"),
        **dict.fromkeys(("default_joint_pos", "stiffness", "damping", "torque_limits", "velocity_limits"), (0.0,) * 3),
        joint_pos_limits=((-1.0, 1.0),) * 3,
    )
    joints = JointMap(contract)
    state = make_state(q=np.array([30.0, 10.0, 20.0]), dq=np.array([3.0, 1.0, 2.0]))  # c a b
    assert joints.reading(state).dof_pos.tolist() == [10.0, 20.0, 30.0]  # a b c
    assert joints.reading(state).dof_vel.tolist() == [1.0, 2.0, 3.0]
    assert np.array([1.0, 2.0, 3.0])[joints.to_sdk].tolist() == [3.0, 1.0, 2.0]


def test_the_go2s_map_is_the_swap_of_left_and_right_legs():
    assert JointMap(make_contract()).to_sdk.tolist() == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]


def test_a_target_reaches_the_motor_of_its_joint():
    bench = Bench()
    bench.walk()
    bench.link.targets = bench.link.targets.copy()
    bench.link.targets[JOINTS.index("RL_thigh_joint")] = 1.37
    command = bench.run(0.06)
    assert command.q[10] == pytest.approx(1.37)  # FR 0-2, FL 3-5, RR 6-8, RL 9-11
    assert np.delete(command.q, 10) == pytest.approx(np.delete(DEFAULT_SDK, 10))


def test_the_policy_sees_the_sticks_as_a_rate_limited_command():
    bench = Bench()
    bench.walk()
    bench.robot.state = make_state(remote=encode(Remote(ly=1.0, rx=1.0, connected=True)))
    bench.run(0.5)
    command = bench.link.asked[-1][1]
    assert command[0] == pytest.approx(0.5, abs=0.03)  # 1 m/s^2
    assert command[2] == pytest.approx(-1.0, abs=0.05)  # 2 rad/s^2
    bench.run(2.0)
    assert bench.link.asked[-1][1] == pytest.approx([1.0, 0.0, -1.0])


def test_a_dry_run_sends_nothing_and_runs_the_policy_at_once():
    bench = Bench(Options(dry_run=True))
    bench.run(1.0)
    assert bench.robot.sent == []
    assert len(bench.link.asked) == 50
    assert all(run for _, _, run in bench.link.asked)
    bench.robot.state = make_state(quat=ROLLED)
    bench.run(0.1)
    assert bench.robot.sent == []
    assert bench.runtime.done(bench.robot.now)


def test_the_loop_ends_only_after_damping_was_sent_for_its_time():
    bench = Bench(Options(damping_time=0.5))

    def clock():
        bench.robot.now += 0.001
        return bench.robot.now

    loop(bench.runtime, 0.0, lambda now: bench.runtime.stop("operator", "test") if now > 1.0 else None, clock)
    damped = [command for command in bench.robot.sent if is_damping(command)]
    assert bench.robot.now - bench.runtime.damping_since == pytest.approx(0.5, abs=0.01)
    assert len(damped) > 100


def test_deadlines_jitter_and_latency_of_hand_made_times():
    timing = Timing(0.02)
    for due, now, latency in ((0.0, 0.0, 0.004), (0.02, 0.021, 0.002), (0.04, 0.04, 0.025)):
        timing.asked(due, now)
        timing.answered(latency)
    timing.skipped(2)
    figures = timing.summary()
    assert figures["control_steps"] == 3
    assert figures["deadline_misses"] == 3  # 0.04 + 0.025 is after 0.06, and two skipped
    assert figures["jitter_ms_max"] == pytest.approx(1.0)  # 0.021 and 0.019
    assert figures["policy_latency_ms_median"] == pytest.approx(4.0)
