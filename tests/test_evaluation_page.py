"""The page and its plots: they hold what they should, run nothing, and let no name be markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from evaluation.assessment import assess
from evaluation.labels import Truth
from evaluation.page import write_plots
from evaluation.plot_folders import OF_SCORES, written_to
from evaluation.plots import plots_of
from runtime.errors import OutputError

EVIL = "<script>alert(1)</script>\u202e\x1b"
PLOTS = ["roc", "roc_log", "det", "reliability", "histogram"]


def assessment(count=60, *, fakes=30, gap=1.0, names="v{}.mp4", groups=("a", "b"), compared=True):
    draw = np.random.default_rng(0)
    truth = {names.format(place): Truth(is_fake=place < fakes, original=None) for place in range(count)}
    scores = {
        name: float(1 / (1 + np.exp(-draw.normal(gap * (1 if each.is_fake else -1))))) for name, each in truth.items()
    }
    others = {name: 1 - score for name, score in scores.items()} if compared else None
    columns = {EVIL: [groups[place % len(groups)] for place in range(count)]}
    return assess(scores, truth, by="video", draws=100, seed=0, others=others, columns=columns)


class Reader(HTMLParser):
    """The tags, attributes and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots") / "new" / "plots"
    found = assessment(groups=(EVIL, "b"))
    write_plots(str(folder), found, {"Submission": f"{EVIL}.csv", "Labels": "labels.csv"})
    return folder, found


def test_files(written):
    folder, _ = written
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", *(f"{name}.png" for name in PLOTS)}
    assert names == set(written_to(folder, OF_SCORES)[1])  # all are looked at before the work begins
    for name in PLOTS:
        picture = Image.open(folder / f"{name}.png")
        assert picture.format == "PNG" and picture.width > 600 and len(picture.getcolors(1 << 24)) > 20


def test_the_page_holds_all_of_it(written):
    folder, found = written
    page = Reader((folder / "index.html").read_text(encoding="utf-8"))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(PLOTS) and all(each["alt"] for each in pictures)
    for name, each in zip(PLOTS, pictures, strict=True):
        assert (
            base64.b64decode(each["src"].removeprefix("data:image/png;base64,"))
            == (folder / f"{name}.png").read_bytes()
        )
    words = " ".join(page.words)
    assert f"{found.figures['roc_auc'].value:.4f}" in words and "TPR at 10 % FPR" in words
    assert f"{found.comparison.difference['roc_auc'].value:+.4f}" in words and "gap by" in words
    for note in found.notes:
        assert note in words
    assert sum(tag == "table" for tag, _ in page.tags) == 4


def test_nothing_runs_and_no_name_is_markup(written):
    folder, _ = written
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Reader(text)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "form", "a"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert "alert(1)" in "".join(page.words) and "\u202e" not in text and "\x1b" not in text
    policy = next(each["content"] for _, each in page.tags if each.get("http-equiv") == "Content-Security-Policy")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[\w/]*:", text)


@pytest.mark.parametrize(
    "make, plots",
    [
        (lambda: assessment(fakes=60, compared=False), PLOTS[3:]),
        (lambda: assessment(fakes=0, compared=False), PLOTS[3:]),
        (lambda: assessment(gap=90), PLOTS),
        (lambda: assessment(gap=-90), PLOTS),
        (lambda: assessment(2, fakes=1), PLOTS),
        (lambda: assessment(1, fakes=1, compared=False), PLOTS[3:]),
    ],
    ids=["fakes", "real", "perfect", "inverse", "two", "one"],
)
def test_odd_sets_are_drawn(make, plots):
    figures = plots_of(make())
    assert list(figures) == plots
    for figure in figures.values():
        figure.draw_without_rendering()


def test_the_roc_plot_shows_the_curve():
    """Its corners are scikit-learn's, and the marks are the figures."""
    found = assessment(400, fakes=200)
    axes = plots_of(found)["roc"].axes[0]
    curve = axes.lines[0].get_xydata()
    assert curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1]
    marks = next(line for line in axes.lines if line.get_label().startswith("at a fixed rate")).get_xydata()
    expected = [(rate, found.figures[f"tpr_at_fpr_{rate}"].value) for rate in (0.01, 0.05, 0.1)]
    assert marks.tolist() == [pytest.approx(each) for each in expected]
    for rate, value in expected:
        assert curve[curve[:, 0] <= rate][-1, 1] == pytest.approx(value)


def test_the_reliability_plot_shows_shares_of_fakes():
    found = assessment(400, fakes=200)
    above = plots_of(found)["reliability"].axes[0]
    means, shares = above.lines[-1].get_xydata().T
    scores, labels = found.sample.scores, found.sample.labels
    low = (scores > 0.1) & (scores <= 0.2)
    assert means[1] == pytest.approx(scores[low].mean()) and shares[1] == pytest.approx(labels[low].mean())


def test_a_folder_that_is_a_link_to_nowhere(tmp_path):
    (tmp_path / "plots").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="plots: can't be made"):
        write_plots(str(tmp_path / "plots"), assessment(2, fakes=2, compared=False), {})


def test_a_plot_that_cannot_be_written(tmp_path):
    (tmp_path / "reliability.png").mkdir()
    with pytest.raises(OutputError, match=r"reliability\.png: can't be written"):
        write_plots(str(tmp_path), assessment(2, fakes=2, compared=False), {})
