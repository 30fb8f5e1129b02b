"""An assessment as lines for a terminal, and the words for its figures."""

from collections.abc import Iterator, Sequence

from evaluation.assessment import Assessment
from evaluation.comparison import Comparison
from evaluation.estimates import Estimate
from evaluation.figures import NAMES
from evaluation.groups import Grouping
from runtime.errors import printable

TITLES = {
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy at 0.5",
    "true_positive_rate": "fakes above 0.5",
    "false_positive_rate": "real ones above 0.5",
    "eer": "equal error rate",
    "tpr_at_fpr_0.001": "TPR at 0.1 % FPR",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.05": "TPR at 5 % FPR",
    "tpr_at_fpr_0.1": "TPR at 10 % FPR",
    "partial_auc": "partial AUC to 10 % FPR",
    "brier": "Brier score",
    "ece": "calibration error",
    "coverage": "coverage",
}
MEANINGS = {
    "log_loss": "How much the scores cost a gambler who believes them: 0 is perfect, 0.69315 is what 0.5 for every "
    "video gets. One confident mistake weighs as much as many good scores.",
    "roc_auc": "The probability that a fake scores higher than a real video: 0.5 is chance, 1 is perfect. It says "
    "nothing of any one threshold.",
    "average_precision": "The mean share of fakes among the videos above a threshold. It depends on how many of the "
    "videos are fakes.",
    "accuracy": "The share of videos on the right side of 0.5. It depends on how many of the videos are fakes.",
    "true_positive_rate": "The share of fakes that score above 0.5.",
    "false_positive_rate": "The share of real videos that score above 0.5: the rate of false accusations.",
    "eer": "The rate of errors at the threshold where the share of fakes that are missed equals that of real videos "
    "that are accused.",
    "tpr_at_fpr_0.001": "The share of fakes found by a threshold that accuses at most one in a thousand real videos; "
    "so for 1, 5 and 10 %. Where real videos are few, such rates can't be told.",
    "partial_auc": "The area under the ROC curve where few real videos are accused, scaled so that 0.5 is chance and 1 "
    "is perfect.",
    "brier": "The mean square of the scores' errors: 0 is perfect, 0.25 is what 0.5 for every video gets.",
    "ece": "How far scores are from the share of fakes among videos of such scores, on average. Few videos make it "
    "look worse than it is.",
    "coverage": "The share of videos that have a score at all: 0.5 stands for no face, and for a file that can't be "
    "read.",
}
OF_GROUPS = ("roc_auc", "true_positive_rate", "false_positive_rate")  # all others are in the JSON
Table = list[list[str]]  # its head, and rows of a name and cells


def text_of(assessment: Assessment) -> str:
    """The tables, one below another, and the notes."""
    lines = []
    for table in tables_of(assessment):
        lines += [*aligned(table), ""]
    lines += [how(assessment), *(printable(f"  note: {note}") for note in assessment.notes)]
    return "\n".join(lines)


def tables_of(assessment: Assessment) -> list[Table]:
    """All that there is to be shown, in its order."""
    tables = [figures_table(assessment)]
    if assessment.comparison:
        tables.append(comparison_table(assessment.comparison))
    for column, grouping in assessment.groupings.items():
        tables += [groups_table(column, grouping), gaps_table(column, grouping)]
    return tables


def how(assessment: Assessment) -> str:
    """Where the intervals come from, in a sentence."""
    what = {"original": "by original", "identity": "by person", "video": "one for each video"}[assessment.by]
    drawn = f"{assessment.draws} draws of {assessment.clusters} clusters of {len(assessment.sample)} videos, {what}"
    return f"95 % intervals: {drawn}; exact ones where no draws are needed"


def figures_table(assessment: Assessment) -> Table:
    """The figures, and where not all videos are covered, those of the covered ones."""
    covered = assessment.covered
    head = ["figure", "value", "95 % interval"]
    if covered:
        head += [f"without {len(assessment.sample) - covered.videos} at 0.5", "95 % interval"]
    rows = []
    for name in NAMES:
        row = [TITLES[name], number(assessment.figures[name].value), interval(assessment.figures[name])]
        if covered:
            also = covered.figures.get(name)
            row += [number(also.value), interval(also)] if also else ["", ""]
        rows.append(row)
    return [head, *rows]


def comparison_table(comparison: Comparison) -> Table:
    head = [f"{comparison.videos} videos", "first", "second", "second - first", "95 % interval"]
    return [
        head,
        *(
            [
                TITLES[name],
                number(comparison.first[name]),
                number(comparison.second[name]),
                signed(comparison.difference[name].value),
                interval(comparison.difference[name], signed),
            ]
            for name in NAMES
        ),
    ]


def groups_table(column: str, grouping: Grouping) -> Table:
    head = [column, "videos", "fake", "real"]
    head += [f"{TITLES[name]} (95 % interval)" for name in OF_GROUPS]
    rows = []
    for value, group in grouping.groups.items():
        row = [
            value,
            str(group.videos),
            str(group.fake),
            f"all {group.real}" if group.with_all_real else str(group.real),
        ]
        row += [f"{number(each.value)} ({interval(each)})" for each in (group.figures[name] for name in OF_GROUPS)]
        rows.append(row)
    return [head, *rows]


def gaps_table(column: str, grouping: Grouping) -> Table:
    head = [f"gap by {column}", "value", "95 % interval", "best", "worst"]
    return [
        head,
        *(
            [
                TITLES[name],
                number(gap.value),
                interval(Estimate(value=gap.value, low=gap.low, high=gap.high), signed),
                gap.best,
                gap.worst,
            ]
            for name, gap in grouping.gaps.items()
        ),
    ]


def number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.4f}"


def interval(each: Estimate, form=number) -> str:
    return "n/a" if each.low is None or each.high is None else f"{form(each.low)} to {form(each.high)}"


def aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table: its first column to the left, the others to the right."""
    rows = [[printable(cell) for cell in row] for row in table]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells]).rstrip()
