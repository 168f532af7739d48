"""Progress of a training: a live panel in a terminal, one line per iteration elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.panel import Panel

COLUMNS = 3  # of metrics in the panel


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Shows iterations, speed, remaining time and a few key metrics.

    In a terminal the panel is redrawn in place with `rich` (plain lines when it is not installed); when the output is
    piped or redirected, every iteration is one line that tools like grep can read.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        """Write to `stream` (standard output by default)."""
        self._stream = stream or sys.stdout
        self._title, self._live = title, None
        if self._stream.isatty():
            try:
                from rich.console import Console
                from rich.live import Live
            except ModuleNotFoundError:
                return
            self._live = Live(console=Console(file=self._stream), refresh_per_second=4, transient=False)
            self._live.start()

    def update(self, done: int, total: int, elapsed: float, eta: float, metrics: dict[str, str]) -> None:
        """Show the state after iteration `done` of `total`; times in seconds; `metrics` are label -> text."""
        if self._live is not None:
            self._live.update(self._panel(done, total, elapsed, eta, metrics))
            return
        values = "  ".join(f"{name} {value}" for name, value in metrics.items())
        print(f"it {done}/{total}  {values}  elapsed {clock(elapsed)}  eta {clock(eta)}", file=self._stream, flush=True)

    def _panel(self, done: int, total: int, elapsed: float, eta: float, metrics: dict[str, str]) -> Panel:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        head = Table.grid(padding=(0, 2))
        head.add_row(f"iteration {done}/{total}", f"elapsed {clock(elapsed)}", f"eta {clock(eta)}")
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=60))  # alone it would not end its line
        body = Table.grid(padding=(0, 2))
        cells = [f"[dim]{name}[/] [bold]{value}[/]" for name, value in metrics.items()]
        for start in range(0, len(cells), COLUMNS):
            body.add_row(*cells[start : start + COLUMNS])
        return Panel(Group(head, bar, body), title=self._title, expand=False)

    def close(self) -> None:
        """Leave the last panel on the screen and give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None
