"""The attention mask over frames H and privilege tokens E, drawn with letters; plain data in, lines out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

OWN = "own E"  # heading of the last column
CELL = 5  # width of a column


def draw_mask(seen: Sequence[Sequence[bool]], steps: int, starts: Collection[int] = ()) -> list[str]:
    """The attention mask of a segment: one row per query, one column per key.

    Frames are called H_k, where H_0 is the first step of the rollout and what comes before is context. Every step of
    the rollout also has a privilege token E_k, which attends to what H_k attends to, and to itself.

    Args:
        seen: F x F, whether frame i (rows) attends to frame j (columns), oldest first.
        steps: S, frames at the end that have a privilege token.
        starts: indices of the frames that begin an episode within the segment.

    Returns:
        Legend, heading, F rows of frames, and S rows of privilege tokens; rules mark the ends of episodes.
    """
    context = len(seen) - steps
    columns = range(len(seen))
    heading = _row("", [f"H_{index - context}" for index in columns], OWN, starts)
    rule = "".join("+" if mark == "|" else "-" for mark in heading)
    legend = f"rows attend to columns: # yes, . no; lines: an episode ends; {OWN}: the E of the row's own step"
    lines = [legend, heading]
    for name, first, own in (("H", 0, "."), ("E", context, "#")):
        if name == "E":
            lines.append("")
        for index in columns[first:]:
            if index in starts and index > first:
                lines.append(rule)
            cells = ["#" if seen[index][key] else "." for key in columns]
            lines.append(_row(f"{name}_{index - context}", cells, own, starts))
    return lines


def _row(label: str, cells: Sequence[str], own: str, starts: Collection[int]) -> str:
    marked = (f"{' |' if index in starts else ''}{cell:>{CELL}}" for index, cell in enumerate(cells))
    return f"{label:<{CELL}}{''.join(marked)} {own:>{len(OWN) + 1}}"


def token_lines(numbers: dict[str, Any]) -> list[str]:
    """What the tokens are made of, what is read from them, and what the past costs.

    Args:
        numbers: `window` (T), `layers` (L), `heads`, `width` (D), `context_frames`, `reach_s`, `cache_floats`, the
            columns `frame_dim`, `action_dim` and `privileged_dim`, and whether `shared_action_head` and
            `head_reads_frame`.
    """
    window, layers, width = numbers["window"], numbers["layers"], numbers["width"]
    frame, action, past = numbers["frame_dim"], numbers["action_dim"], numbers["window"] - 1
    beside = " and from o_t" if numbers["head_reads_frame"] else ""
    shared = ", with the student's head" if numbers["shared_action_head"] else ""
    rows = {
        "sequence": f"[H_{{t-T+1}} ... H_t, E_t]: {window} frames H and one E",
        "H_k": f"frame o_k ({frame}) and the action before it a_{{k-1}} ({action}): {frame + action} -> {width}",
        "E_t": f"privileged observations ({numbers['privileged_dim']}) -> {width}; nothing else attends to it",
        "student": f"acts from the output of H_t{beside}",
        "teacher": f"acts from the output of E_t{beside}{shared}",
        "prediction": f"of o_{{k+1}} ({frame}) and a_k ({action}) from the output of each H_k",
        "layers": f"{layers}, {numbers['heads']} heads each; reach L (T - 1) = {layers} x {past} = "
        f"{numbers['context_frames']} frames "
        f"({numbers['reach_s']:g} s), the context of a pass",
        "cache": f"T - 1 frames x L x 2 x D = {past} x {layers} x 2 x {width} = "
        f"{numbers['cache_floats']} floats per robot",
        "rollout": f"two tokens per robot and step (H_t, E_t), not T + 1 = {window + 1}",
    }
    return [f"{name:<11}{text}" for name, text in rows.items()]
