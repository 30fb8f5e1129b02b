"""Likelihood ratios as plots and one HTML page, that needs nothing beside itself and no network, and runs no script."""

from pathlib import Path
from string import Template

from evaluation.page_parts import picture, png_of, table, terms, write_folder
from evaluation.plot_folders import generator
from evaluation.ratio_plots import plots_of
from evaluation.ratio_report import RatioReport, sources_of, tables_of
from runtime.html_text import html_text, policy_hash

_ALTERNATIVES = {  # of the plots, for those who don't see them
    "tippett": "Tippett plot: the shares of fakes and of real videos with a ratio above the axis's",
    "calibration": "Calibration: the best ratios in the same order over those that were given",
    "curve": "The likelihood ratio of each score, with its interval and the bounds",
}
_MEANINGS = {
    "Cllr": "What the ratios cost whoever decides by them, in bits: 0 is perfect, 1 is what ratios of 1 have, which "
    "say nothing. Beyond 1 they do harm.",
    "Cllr-min, Cllr-cal": "Cllr-min is what is left after the best calibration that keeps the order of the scores: how "
    "badly they tell fakes from real videos. Cllr-cal is the rest, which a better calibration would save. The best "
    "calibration is that of these very videos: with few of them Cllr-min is too low, and Cllr-cal too high.",
    "Misleading ratios": "Those of fakes below 1, and of real videos above 1. Some are no fault: where fakes and real "
    "videos are equally many, one ratio of 10 in eleven misleads.",
    "Bounds": "No ratio beyond the bounds is given, however far a score goes: these videos tell of no stronger one "
    "(empirical lower and upper bounds, Vergeer and others 2016).",
    "Tippett plot": "The further apart the curves are, the better the scores discriminate. At a ratio of 1 they show "
    "how many ratios mislead, and their tails how badly.",
    "Calibration plot": "Where the curve is above the diagonal the ratios are too low, below it too high. At its ends "
    "few videos tell, and it runs along the edge where they are of one class only.",
}


def write_ratio_page(folder: str, report: RatioReport) -> None:
    """Write <plot>.png and index.html to a folder. Raises OutputError."""
    pictures = {name: png_of(figure) for name, figure in plots_of(report).items()}
    here = Path(__file__).parent
    template, style = ((here / name).read_text(encoding="utf-8") for name in ("ratio_page.html", "page.css"))
    notes = "".join(f"<li>{html_text(note)}</li>\n" for note in report.notes)
    page = Template(template).substitute(
        style=style,
        style_hash=policy_hash(style),
        generator=generator("calibrate.py"),
        title=html_text(report.title),
        sources=terms(sources_of(report.calibration)),
        notes=f'<ul class="notes">\n{notes}</ul>\n' if notes else "",
        how=html_text(report.how),
        tables="\n".join(map(table, tables_of(report))),
        plots="".join(picture(png, _ALTERNATIVES[name]) for name, png in pictures.items()),
        meanings=terms(_MEANINGS),
    )
    write_folder(folder, page, pictures)
