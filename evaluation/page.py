"""An assessment as plots and one HTML page, that needs nothing beside itself and no network, and runs no script."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from evaluation.assessment import Assessment
from evaluation.page_parts import picture, png_of, table, terms, write_folder
from evaluation.plot_folders import generator
from evaluation.plots import plots_of
from evaluation.text import MEANINGS, TITLES, how, tables_of
from runtime.html_text import html_text, policy_hash

_ALTERNATIVES = {  # of the plots, for those who don't see them: the tables have their numbers
    "roc": "ROC curve: fakes found against real videos accused",
    "roc_log": "ROC curve by the logarithm of the false positive rate",
    "det": "Detection error trade-off: fakes missed against real videos accused",
    "reliability": "Reliability: the share of fakes over the score",
    "histogram": "Histogram of the scores of fakes and of real videos",
}


def write_plots(folder: str, assessment: Assessment, sources: Mapping[str, str]) -> None:
    """Write <plot>.png and index.html to a folder. `sources` says by a word each what was evaluated. Raises
    OutputError."""
    pictures = {name: png_of(figure) for name, figure in plots_of(assessment).items()}
    here = Path(__file__).parent
    template, style = ((here / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css"))
    figures, *others = tables_of(assessment)
    notes = "".join(f"<li>{html_text(note)}</li>\n" for note in assessment.notes)
    page = Template(template).substitute(
        style=style,
        style_hash=policy_hash(style),
        generator=generator("evaluate.py"),
        videos=len(assessment.sample),
        sources=terms(sources),
        notes=f'<ul class="notes">\n{notes}</ul>\n' if notes else "",
        how=html_text(how(assessment)),
        figures=table(figures),
        plots="".join(picture(png, _ALTERNATIVES[name]) for name, png in pictures.items()),
        others=f"<h2>Comparisons</h2>\n{''.join(map(table, others))}" if others else "",
        meanings=terms({TITLES[name]: said for name, said in MEANINGS.items()}),
    )
    write_folder(folder, page, pictures)
