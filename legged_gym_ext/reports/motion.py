"""Pictures of roll-outs: how commands are followed, gaits, motors at their limits, predictions, attention."""

from __future__ import annotations

import warnings
from typing import Dict, List

import numpy as np

from legged_gym_ext.reports import style
from legged_gym_ext.reports.rollout import GAIT_SECONDS, SECONDS, SETTLED, Rollout
from legged_gym_ext.reports.style import Picture

DRAWN_POINTS = 4000  # per joint kind
SHOWN_TERMS = {
    "base_ang_vel": "angular velocity",
    "projected_gravity": "gravity direction",
    "dof_pos": "joint angles",
    "dof_vel": "joint speeds",
    "last_action": "actions",
}
MEASURED = (
    f"Measured by letting the newest checkpoint walk for {SECONDS:g} s on flat ground: {{count}} robots, one per "
    "command, without noise, pushes and "
    f"randomisation; the first {SETTLED:g} s are left out."
)
Rollouts = Dict[str, List[Rollout]]  # label of the method -> one per run


def tracking(label: str, rollouts: list[Rollout]) -> Picture:
    """Velocity errors over the grids of commands; cells where a robot fell in any run are crossed."""
    first = rollouts[0]
    rows_yaw, rows_vy = first.rows["yaw"], first.rows["vy"]
    maps = (
        ("linear velocity error [m/s]", "yaw rate [rad/s]", 2, rows_yaw, [r.linear for r in rollouts]),
        ("yaw rate error [rad/s]", "yaw rate [rad/s]", 2, rows_yaw, [r.yaw for r in rollouts]),
        ("linear velocity error [m/s]", "sideways speed [m/s]", 1, rows_vy, [r.linear for r in rollouts]),
    )
    fell = np.any([rollout.fell for rollout in rollouts], axis=0)
    figure, axes = style.panels(3, 3, 3.3)
    for panel, (title, across, column, rows, errors) in zip(axes, maps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all runs fell: nan, and a cross
            values = np.nanmean(errors, axis=0)[rows]
        ticks = (
            [f"{value:.2g}" for value in first.commands[rows[0], 0]],
            [f"{v:.2g}" for v in first.commands[rows[:, 0], column]],
        )
        image = style.heat(
            panel, values, ticks[1], ticks[0], ".2f", cmap="cividis_r", vmin=0.0, vmax=0.5, origin="lower"
        )
        for row, place in np.argwhere(fell[rows]):
            panel.plot(place, row, "x", color=style.COLOURS[1], markersize=14, markeredgewidth=2.5)
        panel.set(title=title.partition(" [")[0], xlabel="forward speed [m/s]", ylabel=across)
        figure.colorbar(image, ax=panel, label=title, shrink=0.85, extend="max", location="bottom")
    figure.suptitle(f"{label}: how commands are followed")
    seeds = f"mean over {len(rollouts)} seeds" if len(rollouts) > 1 else "one seed"
    return Picture(
        f"tracking_{_file(label)}",
        f"{label}: how commands are followed",
        f"Heat maps of the velocity errors of {label} over commanded forward speed against yaw rate and sideways "
        "speed.",
        f"Root mean square errors, {seeds}, {first.policy}; a cross marks commands under which a robot fell. "
        + MEASURED.format(count=len(first.commands)),
        figure,
    )


def gait(rollouts: Rollouts) -> Picture:
    """Foot contacts over time of one robot per method that walks forward."""
    figure, axes = style.panels(len(rollouts), 1, 1.5, sharex=True)
    duties = []
    for panel, (label, (first, *_)) in zip(axes, rollouts.items()):
        shares = ", ".join(f"{foot} {share:.0%}" for foot, share in zip(first.feet, first.gait.mean(axis=0)))
        duties.append(f"{label} {shares}")
        time = np.arange(len(first.gait)) * first.dt
        for row, contact in enumerate(first.gait.T):
            spans = [(start, first.dt) for start in time[contact]]
            panel.broken_barh(spans, (row - 0.38, 0.76), color=style.COLOURS[row], linewidth=0)
        panel.set_yticks(range(len(first.feet)), first.feet)
        panel.invert_yaxis()
        panel.set_xlim(0.0, time[-1] + first.dt)
        speed = first.commands[first.gait_robot]
        fallen = ", fell" if first.fell[first.gait_robot] else ""
        panel.set_title(f"{label}, told to walk forward at {speed[0]:.2f} m/s{fallen}", loc="left")
        panel.set_ylabel("foot")
    axes[-1].set_xlabel("time [s]")
    figure.suptitle("Gait: when feet touch the ground")
    return Picture(
        "gait",
        "Gait",
        f"Bars over time that show when each foot is on the ground, for {', '.join(rollouts)}.",
        f"Contacts of one robot (more than 1 N on the foot) in the last {GAIT_SECONDS:g} s of a roll-out on flat "
        "ground, first seed of each method. Share of "
        f"the time on the ground: {'; '.join(duties)}.",
        figure,
    )


def motors(label: str, rollout: Rollout) -> Picture | None:
    """Torque against speed of every joint kind, with what its motor can do; None when all robots fell."""
    if not len(rollout.torques):
        return None
    figure, axes = style.panels(len(rollout.limits), len(rollout.limits), 3.4)
    rng = np.random.default_rng(0)
    shares = []
    for panel, (kind, (columns, torque, speed)) in zip(axes, rollout.limits.items()):
        speeds, torques = rollout.speeds[:, columns].ravel(), rollout.torques[:, columns].ravel()
        drawn = rng.permutation(len(speeds))[:DRAWN_POINTS]
        panel.plot(
            speeds[drawn],
            torques[drawn],
            ".",
            color=style.COLOURS[0],
            markersize=2.5,
            alpha=0.35,
            markeredgewidth=0,
            rasterized=True,
        )
        high = motor_line(np.linspace(-speed, speed, 201), torque, speed, rollout.motor)
        places = np.linspace(-speed, speed, 201)
        for values in (high, -high[::-1]):
            panel.plot(places, values, color=style.COLOURS[1])
        for side in (-speed, speed):
            panel.axvline(side, color=style.GREY, linestyle=":")
        at_limit = np.abs(torques) >= 0.98 * motor_line(np.sign(torques) * speeds, torque, speed, rollout.motor)
        shares.append(f"{kind} {at_limit.mean():.1%}")
        panel.set(title=kind, xlabel="joint speed [rad/s]", ylabel="torque [N m]", xlim=(-1.1 * speed, 1.1 * speed))
        panel.set_ylim(-1.15 * torque, 1.15 * torque)
    handles = [
        style.line(style.COLOURS[0], "", "joint at a control step", marker="."),
        style.line(style.COLOURS[1], "-", "what the motor can do"),
        style.line(style.GREY, ":", "no-load speed"),
    ]
    style.legend(figure, handles)
    figure.suptitle(f"{label}: motors against their limits")
    line = (
        "the torque-speed line of its DC motor, tau_max (1 - v / v_max), cut at tau_max"
        if rollout.motor == "dc"
        else "its torque limit"
    )
    return Picture(
        f"motors_{_file(label)}",
        f"{label}: motors against their limits",
        f"Scatter of joint torque over joint speed of {label} for {', '.join(rollout.limits)}, with the limits of the "
        "motors.",
        f"All joints of a kind, {DRAWN_POINTS} points drawn at random, first seed; lines are {line}. Share of control "
        "steps at the limit (98 % of it or more): "
        f"{', '.join(shares)}. " + MEASURED.format(count=len(rollout.commands)),
        figure,
    )


def motor_line(speed: np.ndarray, torque_limit: float, speed_limit: float, motor: str) -> np.ndarray:
    """Largest torque [N m] of a motor at joint speeds [rad/s].

    DC: tau_max (1 - v / v_max), at most tau_max while braking; ideal: tau_max.
    """
    if motor != "dc":
        return np.full_like(speed, torque_limit, dtype=float)
    return torque_limit * np.minimum(1.0, 1.0 - speed / speed_limit)


def prediction(rollouts: Rollouts) -> Picture | None:
    """Error of the predicted next frame over time, and by part of the frame; None where no method predicts."""
    shown = {label: many[0] for label, many in rollouts.items() if many[0].prediction}
    if not shown:
        return None
    figure, axes = style.panels(2 * len(shown), 2, 3.0)
    for index, (label, rollout) in enumerate(shown.items()):
        over_time, by_part = axes[2 * index : 2 * index + 2]
        errors = rollout.prediction or {}
        missed, changed = errors["whole frame"]
        time = np.arange(1, len(missed) + 1) * rollout.dt
        over_time.plot(time, changed, color=style.COLOURS[4], linestyle="--", label="taking this frame for the next")
        over_time.plot(time, missed, color=style.COLOURS[0], label="prediction")
        over_time.set(xlabel="time [s]", ylabel="error [standard deviations]", title=f"{label}: whole frame")
        over_time.set_xlim(0.0, time[-1])
        over_time.set_ylim(bottom=0.0)
        terms = [name for name in SHOWN_TERMS if name in errors]
        start = round(min(SETTLED, 0.5 * time[-1]) / rollout.dt)
        places = np.arange(len(terms))
        for offset, which, colour in ((-0.2, 0, style.COLOURS[0]), (0.2, 1, style.COLOURS[4])):
            by_part.barh(places + offset, [errors[name][which][start:].mean() for name in terms], 0.38, color=colour)
        by_part.set_yticks(places, [SHOWN_TERMS[name] for name in terms])
        by_part.invert_yaxis()
        by_part.set(xlabel="mean error [standard deviations]", title=f"{label}: parts of the frame")
    handles = [
        style.line(style.COLOURS[0], "-", "prediction of the next frame"),
        style.line(style.COLOURS[4], "--", "taking this frame for the next"),
    ]
    style.legend(figure, handles)
    figure.suptitle("Prediction of the next observation")
    return Picture(
        "prediction",
        "Prediction of the next observation",
        f"Error of the predicted next frame over time and by part of the frame for {', '.join(shown)}.",
        "Root mean square error over the columns of a frame in standard deviations of the observations in training, "
        "mean over the watched robots, first seed; the "
        "frame is what the robot's sensors tell, here without noise. The second line is what one gets without "
        "predicting anything.",
        figure,
    )


def attention(label: str, rollout: Rollout, lines: list[str]) -> Picture | None:
    """How much each head looks at which frame; None without a transformer. `lines` explain the tokens."""
    if rollout.attention is None:
        return None
    figure, axes = style.panels(2, 2, 1.2 + 0.3 * rollout.attention[0].shape[0] * rollout.attention[0].shape[1])
    titles = ("student: from the newest frame H", "teacher: from the privilege token E")
    highest = max(float(part.max()) for part in rollout.attention)
    for index, (panel, weights, title) in enumerate(zip(axes, rollout.attention, titles)):
        layers, heads, columns = weights.shape
        own = index == 1
        past = columns - own
        # Oldest left, as one reads time; a reader's weight for itself stands at the end.
        drawn = np.concatenate((weights[..., :past][..., ::-1], weights[..., past:]), axis=-1).reshape(
            layers * heads, columns
        )
        image = panel.imshow(drawn, aspect="auto", cmap="viridis", vmin=0.0, vmax=highest)
        ticks = list(range(past - 1, -1, -max(1, past // 5)))[::-1]
        panel.set_xticks(
            ticks + [past] * own, [f"{1e3 * rollout.dt * (tick - past + 1):.0f}" for tick in ticks] + ["E"] * own
        )
        names = [f"layer {layer + 1} head {head + 1}" for layer in range(layers) for head in range(heads)]
        panel.set_yticks(range(layers * heads), names if index == 0 else [""] * len(names))
        panel.grid(False)
        for layer in range(1, layers):
            panel.axhline(layer * heads - 0.5, color="white", linewidth=2.0)
        panel.set(title=title, xlabel="time of the frame looked at [ms]" + (", and itself" if own else ""))
    figure.colorbar(image, ax=axes, label="mean attention weight", shrink=0.9)
    figure.suptitle(f"{label}: what the transformer looks at")
    return Picture(
        f"attention_{_file(label)}",
        f"{label}: attention",
        f"Heat maps of the attention weights of every head of {label} over the age of the frame, for student and "
        "teacher.",
        "Softmax weights, mean over the watched robots and all steps with a complete window, first seed; each row "
        "adds up to 1. Below: which token may look at "
        "which, and what tokens are.",
        figure,
        text="\n".join(lines),
    )


def _file(label: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in label).strip("_").replace("__", "_")
