"""A robustness test as one HTML page, that needs nothing beside itself and no network, and runs no script."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from evaluation.page_parts import picture, png_of, table, terms
from evaluation.robustness import Table
from evaluation.robustness_plots import plots_of
from evaluation.robustness_text import SHOWN, failures, how, tables_of
from evaluation.text import MEANINGS, TITLES
from runtime.files import whole_file
from runtime.html_text import html_text, policy_hash

_OF_FIGURES = {
    **MEANINGS,
    "tpr_at_fpr_0.05": "The share of fakes found by a threshold that accuses at most 5 % of the real videos, chosen "
    "for each variant anew. Where there are fewer than 20 real videos, that can't be told.",
}
_OF_VIDEOS = {
    "not encoded": "Videos of which the variant could not be made, as they are damaged or an encoder refuses them.",
    "not read": "Videos that the prediction could not read or failed at; they have a score of 0.5.",
    "lost all faces": "Videos in which a face was found before, and none in the variant; they have a score of 0.5.",
    "faces": "The number of faces that were found, in per cent of those in the same videos before.",
    "other verdict": "Videos whose score went from one side of 0.5 to the other, either way.",
    "mean change": "The mean distance of a video's score to that of the file itself. It can be large though no figure "
    "falls, and says how far a single score can be trusted.",
}


def write_page(path: Path, told: Table, sources: Mapping[str, str], remedy: str) -> None:
    """Write the page, whole or not at all. `sources` says by a word each what was tested. Raises OutputError."""
    content = page(told, sources)
    with whole_file(path, remedy) as temporary:
        temporary.write_text(content, encoding="utf-8")


def page(told: Table, sources: Mapping[str, str]) -> str:
    here = Path(__file__).parent
    template, style = ((here / name).read_text(encoding="utf-8") for name in ("robustness.html", "page.css"))
    notes = "".join(f"<li>{html_text(note)}</li>\n" for note in [*told.notes, *failures(told)])
    pictures = plots_of(told)
    said = {**{name: f"{TITLES[name]} of each variant" for name in SHOWN}, "videos": "Faces found, verdicts changed"}
    return Template(template).substitute(
        style=style,
        style_hash=policy_hash(style),
        videos=told.rows[0].videos,
        sources=terms(sources),
        notes=f'<ul class="notes">\n{notes}</ul>\n' if notes else "",
        how=html_text(how(told)),
        tables="".join(map(table, tables_of(told))),
        plots="".join(picture(png_of(figure), said[name]) for name, figure in pictures.items()),
        variants=terms({row.variant: row.about for row in told.rows}),
        meanings=terms({**{TITLES[name]: _OF_FIGURES[name] for name in SHOWN}, **_OF_VIDEOS}),
    )
