"""A plot for each group, as PNG. Needs matplotlib (dependency group ``bench``)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from benchmarks import browsing, growth, memory, profiling, report, rewrapping, serving, tokenizing, transfer

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
_LABELLED: Final = 0.04
"""Share of the whole from which a part has room for its figure."""


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw every group of the run; the files."""
    drawings: dict[str, tuple[str, Callable[[Sequence[Section]], Sheet]]] = {
        "core": ("core", _core),
        "core-parts": ("core", _parts),
        "profile": ("profile", _profile),
        "http": ("http", _http),
        "growth": ("growth", _growth),
        "workers": ("workers", _workers),
        "transfer": ("transfer", _transfer),
        "memory": ("memory.values", _memory),
        "rewrap": ("rewrap", _rewrap),
        "browser": ("browser", _browser),
    }
    drawn = []
    with plt.rc_context(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
    ):
        for name, (wanted, drawing) in drawings.items():
            sections = [one for one in run.sections if wanted in (one.name, one.name.partition(".")[0])]
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


def _parts(sections: Sequence[Section]) -> Sheet:
    """What the time of one call goes to: the parts that are measured by themselves, and what is left."""
    (section,) = sections
    sheet, axes = plt.subplots(figsize=(11, 3.6))
    for place, (whole, names) in enumerate(tokenizing.PARTS.items()):
        parts = {name: _median(section, name, section.quantities[0]) for name in names}
        parts["the rest: the calls between them"] = max(
            0.0, _median(section, whole, section.quantities[0]) - sum(parts.values())
        )
        begin = 0.0
        for name, amount in parts.items():
            bars = axes.barh(place, amount, left=begin, height=0.6, color=_part_colour(name), edgecolor="white")
            if amount > sum(parts.values()) * _LABELLED:
                axes.bar_label(bars, labels=[report.amount(amount)], label_type="center", fontsize=8)
            begin += amount
    axes.set_yticks(range(len(tokenizing.PARTS)), list(tokenizing.PARTS))
    axes.invert_yaxis()
    axes.set_title("What the time of a call goes to, µs", loc="left")
    drawn = dict.fromkeys([name for names in tokenizing.PARTS.values() for name in names])
    drawn["the rest: the calls between them"] = None
    handles = [Patch(color=_part_colour(name), label=name) for name in drawn]
    axes.legend(handles=handles, fontsize=8, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return sheet


def _part_colour(name: str) -> Any:  # noqa: ANN401 - matplotlib's colours
    names = list(dict.fromkeys(one for names in tokenizing.PARTS.values() for one in names))
    return mpl.colormaps["tab20"](names.index(name)) if name in names else GREY


def _profile(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, axes = plt.subplots(figsize=(9, 1.8 + 0.3 * len(section.subjects)))
    _bars(axes, section, profiling.TIME, section.subjects, f"{section.title}: µs, less is better")
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


def _growth(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, axes = plt.subplots(figsize=(9, 4.6))
    lines: dict[str, list[tuple[int, Figure]]] = {}
    for subject in section.subjects:
        stores, count = growth.named(subject)
        lines.setdefault(stores, []).append((count, _figure(section, subject, serving.RATE)))
    for colour, (stores, points) in zip((BLUE, ORANGE, GREEN), lines.items(), strict=False):
        counts = [count for count, _ in points]
        medians = [figure.median for _, figure in points]
        lowest = [figure.median - min(figure.rounds) for _, figure in points]
        highest = [max(figure.rounds) - figure.median for _, figure in points]
        axes.errorbar(counts, medians, yerr=(lowest, highest), label=stores, color=colour, marker="o", capsize=3)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.15 * max(max(figure.rounds) for points in lines.values() for _, figure in points))
    axes.grid(visible=True, axis="y", color="#DDDDDD")
    axes.set_title("/detokenize, requests/s of one worker; median, and lowest to highest", loc="left", fontsize=10)
    axes.set_xlabel("records in the store")
    axes.legend(fontsize=8, frameon=False)
    return sheet


def _workers(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, (rate, processor) = plt.subplots(1, 2, figsize=(12, 1.8 + 0.4 * len(section.subjects)))
    _bars(rate, section, serving.RATE, section.subjects, "/detokenize: requests/s, more is better")
    _bars(processor, section, serving.PROCESSOR, section.subjects, "CPU µs a request, less is better")
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


def _rewrap(sections: Sequence[Section]) -> Sheet:
    (section,) = sections
    sheet, (rate, peak) = plt.subplots(1, 2, figsize=(12, 1.8 + 0.4 * len(section.subjects)))
    _bars(rate, section, rewrapping.RATE, section.subjects, "records/s, more is better")
    _bars(peak, section, rewrapping.PEAK, section.subjects, "MB resident at most, less is better")
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
        ("Fernet", GREEN),
        ("PostgreSQL", ORANGE),
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
