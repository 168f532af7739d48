"""Names for the columns of a flat critic observation: what the critic reads, and what is privileged."""

from __future__ import annotations

from typing import Mapping, Sequence

import torch


class Columns:
    """Blocks of a host's critic observation (N, D), and the two observation sets that are cut from it.

    Attributes:
        slices: block -> its columns.
        critic_dim, privileged_dim: columns of the two sets.
    """

    def __init__(
        self,
        dim: int,
        terms: Mapping[str, int] | None = None,
        privileged: Sequence[str] | None = None,
        critic: Sequence[str] | None = None,
    ) -> None:
        """Check the table against the observation.

        Args:
            dim: D, columns of the host's critic observation.
            terms: block -> its columns, in order; None is one block, everything.
            privileged: blocks of the privileged vector; all by default.
            critic: blocks that the critic reads; all by default.

        Raises:
            ValueError: the table does not add up to D (shows it), or a name is not in it.
        """
        terms = {"critic_obs": dim} if terms is None else dict(terms)
        self.slices: dict = {}
        start = 0
        for name, count in terms.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"policy.critic_obs_terms: '{name}' has {count!r} columns, expected a number from 1")
            self.slices[name] = slice(start, start + count)
            start += count
        if start != dim:
            raise ValueError(
                f"policy.critic_obs_terms adds up to {start} columns, the critic observation has {dim} "
                f"(env.num_privileged_obs; where that is None, env.num_observations):\n{self.table()}"
            )
        chosen = {
            "privileged": self._columns("privileged_terms", privileged),
            "critic": self._columns("critic_terms", critic),
        }
        self.privileged_dim, self.critic_dim = len(chosen["privileged"]), len(chosen["critic"])
        # Adjacent columns are cut as a view, others by an index that is made once.
        self._index: dict = {}
        for name, columns in chosen.items():
            adjacent = columns == list(range(columns[0], columns[0] + len(columns)))
            self._index[name] = slice(columns[0], columns[-1] + 1) if adjacent else torch.tensor(columns)

    def table(self) -> str:
        """One line per block: name, columns, slice."""
        width = max(len(name) for name in self.slices)
        return "\n".join(
            f"  {name:<{width}}  {part.stop - part.start:>4}  [{part.start}:{part.stop}]"
            for name, part in self.slices.items()
        )

    def _columns(self, option: str, names: Sequence[str] | None) -> list:
        """Column numbers of the blocks `names`, in their order."""
        names = list(self.slices) if names is None else list(names)
        unknown = [name for name in names if name not in self.slices]
        if unknown or not names:
            what = f"names {unknown}" if unknown else "names no block"
            raise ValueError(f"policy.{option} {what}; the blocks of policy.critic_obs_terms are:\n{self.table()}")
        return [column for name in names for column in range(self.slices[name].start, self.slices[name].stop)]

    def cut(self, critic_obs: torch.Tensor, name: str) -> torch.Tensor:
        """The set "critic" or "privileged" (N, d) of a critic observation (N, D)."""
        index = self._index[name]
        if isinstance(index, torch.Tensor) and index.device != critic_obs.device:
            index = self._index[name] = index.to(critic_obs.device)
        return critic_obs[:, index]
