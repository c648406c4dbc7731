"""A plot for each group, as PNG. Needs matplotlib (dependency group ``bench``)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from benchmarks import browsing, memory, report, serving, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

    from benchmarks.figures import Figure, Section
    from benchmarks.report import Run

# Okabe and Ito's colours, which people tell apart whatever colours they see.
BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
ORANGE: Final = "#E69F00"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#8C8C8C"
BLACK: Final = "#000000"

_DPI: Final = 150
_LETTERS: Final = 18
"""Of the small print, in an inch."""

_MEGABYTE: Final = 1_000_000


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw every group of the run; the files."""
    drawings: dict[str, Callable[[Sequence[Section]], Sheet]] = {
        "core": _core,
        "http": _http,
        "transfer": _transfer,
        "memory": _memory,
        "browser": _browser,
    }
    drawn = []
    with plt.rc_context(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
    ):
        for name, drawing in drawings.items():
            sections = [one for one in run.sections if one.name.partition(".")[0] == name]
            if sections:
                drawn.append(_save(drawing(sections), run, folder / f"{name}.png"))
    return drawn


def _save(sheet: Sheet, run: Run, path: Path) -> Path:
    """Write under the drawing what it was made on."""
    width, height = sheet.get_size_inches()
    lines = [line for told in report.provenance(run) for line in textwrap.wrap(told, int(width * _LETTERS))]
    sheet.text(0.01, 0.1 / height, "\n".join(lines), fontsize=7, color="#444444", va="bottom", ha="left")
    sheet.tight_layout(rect=(0, (0.13 * len(lines) + 0.25) / height, 1, 1))
    sheet.savefig(path, dpi=_DPI)
    plt.close(sheet)
    return path


def _core(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, axes = plt.subplots(figsize=(9, 1.8 + 0.3 * len(section.subjects)))
    title = "Operations in one process: mean time of a call in µs, logarithmic"
    _bars(axes, section, section.quantities[0], section.subjects, title, logarithmic=True)
    axes.set_xlabel("Bars: median of the rounds; lines: lowest to highest")
    return sheet


def _http(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    batches = [one for one in section.subjects if one.endswith(serving.IN_BATCHES)]
    singles = [one for one in section.subjects if one not in batches]
    sheet, ((rate, tokens), (tail, processor)) = plt.subplots(2, 2, figsize=(12, 6.2))
    _bars(rate, section, serving.RATE, singles, "singles: requests/s, more is better")
    _bars(
        tokens, section, serving.TOKENS, batches, f"batches of {serving.BATCH}: tokens/s, logarithmic", logarithmic=True
    )
    _bars(tail, section, serving.TAIL, singles, "singles: p99 in ms under full load, less is better")
    _bars(processor, section, serving.PROCESSOR, singles, "singles: CPU µs a request, less is better")
    sheet.suptitle(
        "Each server on one core, the load on another. Bars: median of the rounds; lines: lowest to highest",
        fontsize=10,
    )
    return sheet


def _transfer(sections: Sequence[Section]) -> Sheet:
    sheet, all_axes = plt.subplots(1, len(sections), figsize=(13, 6.2), sharey=True)
    for axes, section in zip(all_axes, sections, strict=True):
        sizes = _sizes(section)
        for subject in section.subjects:
            figures = [section.find(subject, transfer.quantity(size)) for size in sizes]
            times = [_milliseconds(size, one.median) for size, one in zip(sizes, figures, strict=True) if one]
            axes.plot(sizes, times, label=subject, marker="o", markersize=3.5, linewidth=1.6, **_line(subject))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(sizes, [transfer.label(size) for size in sizes])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(visible=True, which="major", color="#DDDDDD")
        axes.set_title(section.title, loc="left", fontsize=10)
        axes.set_xlabel("size of the value")
    all_axes[0].set_ylabel("milliseconds, median of the rounds (less is better)")
    all_axes[0].legend(fontsize=8, frameon=False)
    return sheet


def _memory(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, axes = plt.subplots(figsize=(9, 1.9 + 0.55 * len(section.subjects)))
    quantities = ((memory.BEFORE, GREY), (memory.UP, BLUE), (memory.DOWN, SKY))
    for at, (quantity, colour) in enumerate(quantities):
        values = [_median(section, subject, quantity) for subject in section.subjects]
        places = [place + (at - 1) * 0.27 for place in range(len(values))]
        bars = axes.barh(places, values, height=0.25, color=colour, label=quantity.removesuffix(" MB"))
        axes.bar_label(bars, labels=[report.amount(one) for one in values], padding=4, fontsize=8)
    axes.set_yticks(range(len(section.subjects)), section.subjects)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title("Memory while large values pass", loc="left")
    axes.set_xlabel("MB resident")
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return sheet


def _browser(sections: Sequence[Section]) -> Sheet:
    times, sizes = sections
    sheet, (time, size) = plt.subplots(1, 2, figsize=(12, 2.6))
    _bars(time, times, browsing.TIME, times.subjects, "until the text is on the screen: ms, less is better")
    _bars(size, sizes, browsing.SIZE, sizes.subjects, "fetched: kB, gzipped")
    return sheet


def _bars(
    axes: Axes, section: Section, quantity: str, subjects: Sequence[str], title: str, *, logarithmic: bool = False
) -> None:
    figures = [_figure(section, subject, quantity) for subject in subjects]
    labels = [subject.removesuffix(serving.IN_BATCHES) for subject in subjects]
    spread: Any = [
        [one.median - min(one.rounds) for one in figures],
        [max(one.rounds) - one.median for one in figures],
    ]
    colours = [_colour(one) for one in subjects]
    axes.barh(labels, [one.median for one in figures], xerr=spread, color=colours, ecolor=BLACK, capsize=2, height=0.7)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(visible=True, axis="x", color="#DDDDDD")
    furthest = max(max(one.rounds) for one in figures)
    axes.set_xlim(right=furthest * (3 if logarithmic else 1.18))
    axes.set_title(title, loc="left", fontsize=10)
    for place, one in enumerate(figures):
        beside = (max(one.rounds), place)
        told = report.amount(one.median)
        axes.annotate(told, beside, xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)


def _colour(subject: str) -> str:
    """One colour for LunaCore, and one for each that it is compared with."""
    others = (
        ("bare Falcon", GREY),
        ("OpenBao", ORANGE),
        ("botocore", VERMILION),
        ("minio-py", ORANGE),
        ("plain", GREY),
        ("limit", GREY),
    )
    return next((colour for name, colour in others if name in subject), BLUE)


def _line(subject: str) -> dict[str, Any]:
    """The colour says where the value goes, the line how."""
    places = (("file copy", BLACK), ("library", GREEN), ("gateway", BLUE), ("SeaweedFS", ORANGE), ("MinIO", VERMILION))
    colour = next((colour for name, colour in places if name in subject), GREY)
    ways = (("sealed", "--"), ("botocore", ":"), ("file copy", ":"))
    return {"color": colour, "linestyle": next((style for name, style in ways if name in subject), "-")}


def _sizes(section: Section) -> list[int]:
    sizes = section.settings["sizes"]
    if not isinstance(sizes, list):
        raise TypeError(sizes)
    return sizes


def _milliseconds(size: int, value: float) -> float:
    return size / _MEGABYTE / value * 1e3 if size >= _MEGABYTE else value


def _figure(section: Section, subject: str, quantity: str) -> Figure:
    figure = section.find(subject, quantity)
    if figure is None:
        raise KeyError((subject, quantity))
    return figure


def _median(section: Section, subject: str, quantity: str) -> float:
    return _figure(section, subject, quantity).median
