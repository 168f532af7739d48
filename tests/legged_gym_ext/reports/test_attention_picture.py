"""The picture of who attends to whom: as drawn by hand, and what it says about the transformer itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.reports.attention_picture import draw_mask, token_lines
from legged_gym_ext.scripts import describe
from rsl_rl_ult.modules import ActorCriticULT
from rsl_rl_ult.modules.transformer import Transformer
from rsl_rl_ult.policies.export_ult import CacheExport

LEGEND = "rows attend to columns: # yes, . no; lines: an episode ends; own E: the E of the row's own step"


def network(**options: Any) -> ActorCriticULT:
    """Three columns of o, two of p, one action."""
    return ActorCriticULT(3, 4, 1, 2, **{"width": 8, "num_heads": 2, "head_reads_frame": False, **options})


def attention(**options: Any) -> dict[str, Any]:
    found = describe.describe_attention(network(**options), 0.02)
    assert found is not None
    return found


def parse(lines: list[str]) -> tuple[dict[str, list[bool]], int]:
    """Row -> marks (the last one is the row's own E), and how many columns stand before the rule."""
    (heading,) = (line for line in lines if re.match(r" +H_", line))
    rows = {
        line.split()[0]: [cell == "#" for cell in line.split()[1:] if cell != "|"]
        for line in lines
        if re.match(r"[HE]_-?\d+ +[#.]", line)
    }
    return rows, heading.split("|")[0].count("H_")


def test_one_frame_of_context_two_steps_and_a_window_of_two():
    assert draw_mask([[True, False, False], [True, True, False], [False, True, True]], steps=2) == [
        LEGEND,
        "      H_-1  H_0  H_1  own E",
        "H_-1     #    .    .      .",
        "H_0      #    #    .      .",
        "H_1      .    #    #      .",
        "",
        "E_0      #    #    .      #",
        "E_1      .    #    #      #",
    ]


def test_an_episode_that_ends_draws_a_line_in_every_direction():
    # T = 2, no context; the second step is the last of its episode.
    seen = [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, True],
    ]
    assert draw_mask(seen, steps=4, starts=(2,)) == [
        LEGEND,
        "       H_0  H_1 |  H_2  H_3  own E",
        "H_0      #    . |    .    .      .",
        "H_1      #    # |    .    .      .",
        "----------------+-----------------",
        "H_2      .    . |    #    .      .",
        "H_3      .    . |    #    #      .",
        "",
        "E_0      #    . |    .    .      #",
        "E_1      #    # |    .    .      #",
        "----------------+-----------------",
        "E_2      .    . |    #    .      #",
        "E_3      .    . |    #    #      #",
    ]


def test_an_episode_that_ends_before_the_first_step_needs_no_rule_among_the_readers():
    lines = draw_mask([[True, False], [False, True]], steps=1, starts=(1,))
    assert lines[1:] == [
        "      H_-1 |  H_0  own E",
        "H_-1     # |    .      .",
        "-----------+------------",
        "H_0      . |    #      .",
        "",
        "E_0      . |    #      #",
    ]


def test_what_is_said_of_tokens_and_costs():
    # L = 3, T = 4: the reach is 3 x 3 = 9 frames, 0.18 s at 50 Hz; a cache holds 3 x 3 x 2 x 8 = 144 floats.
    numbers = attention(history_length=4, num_layers=3)
    assert token_lines(numbers) == [
        "sequence   [H_{t-T+1} ... H_t, E_t]: 4 frames H and one E",
        "H_k        frame o_k (3) and the action before it a_{k-1} (1): 4 -> 8",
        "E_t        privileged observations (2) -> 8; nothing else attends to it",
        "student    acts from the output of H_t",
        "teacher    acts from the output of E_t",
        "prediction of o_{k+1} (3) and a_k (1) from the output of each H_k",
        "layers     3, 2 heads each; reach L (T - 1) = 3 x 3 = 9 frames (0.18 s), the context of a pass",
        "cache      T - 1 frames x L x 2 x D = 3 x 3 x 2 x 8 = 144 floats per robot",
        "rollout    two tokens per robot and step (H_t, E_t), not T + 1 = 5",
    ]


def test_heads_that_are_shared_or_read_the_frame_say_so():
    lines = token_lines(attention(shared_action_head=True, head_reads_frame=True))
    assert lines[3:5] == [
        "student    acts from the output of H_t and from o_t",
        "teacher    acts from the output of E_t and from o_t, with the student's head",
    ]


def test_the_cache_has_the_size_of_the_one_that_is_deployed():
    options = {"history_length": 5, "num_layers": 3}
    # Beside keys and values: which of the 4 frames count, and the last action.
    assert CacheExport(network(**options)).cache_size == attention(**options)["cache_floats"] + 4 + 1


@pytest.mark.parametrize("window", [1, 2, 3, 4, 16])
def test_the_picture_is_what_a_layer_of_the_transformer_does(window):
    """An output moves with an input exactly where the picture has a mark."""
    rows, before = parse(attention(history_length=window)["lines"])
    drawn, steps = min(window, 4), 5
    total = len(rows["E_0"]) - 1
    assert total == drawn - 1 + steps and before == drawn - 1 + 2 and len(rows) == total + steps
    torch.manual_seed(0)
    trunk = Transformer(8, 1, 2, drawn, zero_init=False, kernel="softmax")
    age = torch.tensor([[*range(10, 10 + before), *range(1, total - before + 1)]])
    frames, readers = torch.randn(1, total, 8, requires_grad=True), torch.randn(1, steps, 8, requires_grad=True)
    padded = torch.cat((torch.zeros(1, total - steps, 8), readers), dim=1)
    outputs = trunk(frames, None, age, total)[0], trunk(frames, padded[:, -steps:], age, steps)[1]
    for name, output, shift in (("H", outputs[0], total - steps), ("E", outputs[1], 0)):
        assert output is not None
        for index in range(output.shape[1]):
            marks = rows[f"{name}_{index - shift}"]
            # Not a plain sum, which the last normalisation makes constant.
            loss = (output[0, index] * torch.arange(8.0)).sum()
            by_frame, by_reader = torch.autograd.grad(loss, (frames, readers), retain_graph=True, allow_unused=True)
            assert by_frame[0].abs().sum(-1).gt(0).tolist() == marks[:-1]
            own = [False] * steps
            if name == "E":
                own[index] = marks[-1]
            reached = torch.zeros(steps) if by_reader is None else by_reader[0].abs().sum(-1)
            assert reached.gt(0).tolist() == own


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return describe.describe("go2_ult_flat", *task_registry.get_cfgs("go2_ult_flat"))


def test_in_go2_ult_no_frame_attends_to_a_reader(described):
    rows, _ = parse(described["attention"]["lines"])
    frames = [marks for name, marks in rows.items() if name.startswith("H")]
    assert len(frames) == 8 and not any(marks[-1] for marks in frames)


def test_in_go2_ult_a_reader_attends_to_what_its_frame_does_and_to_itself(described):
    rows, _ = parse(described["attention"]["lines"])
    for step in range(5):
        assert rows[f"E_{step}"] == [*rows[f"H_{step}"][:-1], True]


def test_in_go2_ult_no_mark_crosses_the_end_of_the_episode(described):
    rows, before = parse(described["attention"]["lines"])
    assert before == 5  # three frames of context and two steps
    for name, marks in rows.items():
        first = int(name[2:]) < 2
        assert not any(marks[before:-1] if first else marks[:before])
        assert any(marks[:before] if first else marks[before:-1])


def test_the_numbers_of_go2_ult(described):
    _, train_cfg = task_registry.get_cfgs("go2_ult_flat")
    found, actor = described["attention"], train_cfg.actor
    assert [found[name] for name in ("window", "layers", "heads", "width")] == [
        actor.history_length,
        actor.num_layers,
        actor.num_heads,
        actor.width,
    ]
    reach = actor.num_layers * (actor.history_length - 1)
    assert found["context_frames"] == reach and found["reach_s"] == pytest.approx(reach * 0.02)  # 50 Hz
    assert found["cache_floats"] == reach * 2 * actor.width
    assert (found["frame_dim"], found["action_dim"], found["privileged_dim"]) == (45, 12, 174)
    assert json.loads(json.dumps(found)) == found


def test_describe_shows_networks_and_picture(described, capsys):
    describe._show(described, fields=False)
    networks, picture = capsys.readouterr().out.split("\nnetworks\n")[1].split("\nattention\n")
    reads = dict(re.findall(r"  (\w+): reads ([^;]+);", networks))
    assert reads == {
        "actor": "output of H_t, policy",
        "critic": "critic",
        "transformer": "tokens H and E",
        "frame_tokenizer": "policy, last action",
        "privilege_tokenizer": "privileged",
        "teacher_head": "output of E_t, policy",
        "prediction_head": "outputs of H",
    }
    lines = picture.splitlines()
    assert [line.strip() for line in lines] == [line.strip() for line in described["attention"]["lines"]]
    assert all(len(line) <= 100 and line.isascii() and line == line.rstrip() for line in lines)
    assert f"this task has T = {described['attention']['window']}" in lines[0]


@pytest.mark.parametrize(
    ("options", "actor", "teacher_head", "critic"),
    [
        ({"shared_action_head": True}, "outputs of H_t and E_t", None, "critic"),
        ({"head_reads_frame": True}, "output of H_t, policy", "output of E_t, policy", "critic"),
        ({"critic_input": "privilege_token"}, "output of H_t", "output of E_t", "output of E_t"),
    ],
)
def test_what_networks_read_follows_the_options(options, actor, teacher_head, critic):
    net = network(**options)
    description = {
        "attention": describe.describe_attention(net, 0.02),
        "obs_groups": {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]},
        "fields": {},
    }
    assert describe._reads("actor", description) == actor
    assert describe._reads("critic", description) == critic
    assert (net.teacher_head is None) == (teacher_head is None)
    if teacher_head is not None:
        assert describe._reads("teacher_head", description) == teacher_head


def test_fields_are_those_of_a_training_not_of_the_one_robot_that_is_looked_at(described):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_ult_flat")
    fields = described["fields"]
    assert fields["env.env.num_envs"] == env_cfg.env.num_envs > 1
    assert fields["train.algorithm.num_mini_batches"] == train_cfg.algorithm.num_mini_batches > 1
    assert fields["train.runner.logger"] == train_cfg.runner.logger


@pytest.mark.parametrize("task", ["go2_flat", "go2_ts_flat"])
def test_a_task_without_a_transformer_has_nothing_of_it(task, capsys):
    description = describe.describe(task, *task_registry.get_cfgs(task))
    assert description["attention"] is None
    describe._show(description, fields=False)
    printed = capsys.readouterr().out
    assert "attention" not in printed and "H_" not in printed
    assert "actor: reads policy;" in printed
    assert ("history_encoder: reads 20 frames of policy;" in printed) == (task == "go2_ts_flat")
