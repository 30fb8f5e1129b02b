"""The page for people: what is on it, that nothing in it can run, and what a browser makes of it."""

import base64
import hashlib
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import predict_folder
from faces.video import iter_frames
from inference import report_pictures
from inference.pipeline import FAILED, NO_FACE, OK, UNREADABLE, VideoResult, apply_verdict
from inference.report import write_report
from inference.report_pictures import choose_faces, read_pictures
from inference.video_people import people_of
from runtime.errors import OutputError
from runtime.files import file_identity
from systems.sample import ScoredFace
from systems.seferbekov.strategy import STRATEGIES, verdict_by
from systems.seferbekov.system import SeferbekovPredictor
from tests import media, processes
from tests.test_predict_folder import arguments, command, fails

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
MODELS = ["first", "</script><script>alert(2)</script>"]
BOX = (230, 90, 410, 270)


def scored(video, scores, *, path="nowhere", box=BOX, models=2, step=1, **kwargs):
    """A result with a face for each score, in every `step`th frame."""
    faces = [
        ScoredFace(frame=step * i, face=0, bbox=box, detector_score=0.99, probabilities=[float(score)] * models)
        for i, score in enumerate(scores)
    ]
    result = VideoResult(video=video, status=OK, frames=len(faces), faces=faces, identity=file_identity(path), **kwargs)
    apply_verdict(result, verdict_by(STRATEGIES["mean"]))
    return result


def people_in(result):
    return people_of(result, verdict_by(STRATEGIES["mean"]), followed=False, threshold=0.5)


def write(path, results, *, paths=None, models=MODELS, frames=4, **kwargs):
    paths = paths or {result.video: "nowhere" for result in results}
    settings = {
        "models": [[name, "0123456789abcdef"] for name in models],
        "frames_per_video": frames,
        "device": "cpu",
        "precision": "fp32",
        "engine": "torch",
    }
    predictor = SeferbekovPredictor(strategy="mean", frames_per_video=frames)
    people = {result.video: people_in(result) for result in results}
    write_report(path, results, paths, people, settings=settings, how=predictor.how, **kwargs)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.html"


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, the text of each row of the table, the text of it all."""

    VOID = ("meta", "img", "br")

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.rows, self.text = [], [], [], ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "summary" and "tbody" in self.open:
            self.rows.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
        if self.rows:
            self.rows[-1] += data

    def named(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def videos_of(source):
    return [row.split("mp4")[0] + "mp4" for row in Page(source).rows]


def without_date(source):
    return re.sub(r"<dt>Date.*", "", source)


# what is on it


def test_scored_videos_come_first_and_highest_on_top(path):
    results = [
        VideoResult(video="u.mp4", status=UNREADABLE, error="is empty"),
        VideoResult(video="n.mp4", status=NO_FACE, frames=4),
        scored("low.mp4", [0.1]),
        VideoResult(video="f.mp4", status=FAILED, error="Traceback\n  a line\nValueError: <b>"),
        scored("high.mp4", [0.9]),
        scored("half.mp4", [0.5]),
    ]
    source = write(path, results)
    assert videos_of(source) == ["high.mp4", "half.mp4", "low.mp4", "n.mp4", "u.mp4", "f.mp4"]
    page = Page(source)
    keys = [attributes["data-key"] for attributes in page.named("td") if "data-key" in attributes]
    assert keys[0::3] == ["0.8999999761581421", "0.5", "0.10000000149011612", "", "", ""]  # of scores, as in the CSV
    assert keys[1::3] == ["0", "0", "0", "1", "2", "3"] and keys[2::3] == ["1", "1", "1", "0", "0", "0"]
    assert "0.9000" in page.rows[0] and "scored" in page.rows[0]
    assert "0.5 unknown" in page.rows[3] and "no face was found" in page.rows[3]
    assert "unreadable" in page.rows[4] and "is empty" in page.rows[4]
    assert "Traceback\n  a line\nValueError: <b>" in page.rows[5]
    assert all(f"{count} {word}" in page.text for count, word in [(3, "scored"), (1, "no face"), (1, "failed")])
    assert [header.get("aria-sort") for header in page.named("th")][:4] == [None, "descending", None, None]


def test_how_the_scores_were_made(path):
    text = Page(write(path, [scored("a.mp4", [0.1])], frames=17)).text
    assert "Deepfake scores of 1 video\n" in text and "not a proof" in text and "nothing is known" in text
    for each in (*MODELS, "0123456789abcdef", "mean, from a model's", "fp32 (torch on cpu)", "17 of each video"):
        assert each in text
    assert re.search(r"Date\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}", text)


def test_account_of_a_video(path):
    results = [scored("a.mp4", [0.1] * 4), scored("b.mp4", [0.2]), scored("c.mp4", [0.3], at_face_limit=True)]
    rows = Page(write(path, results)).rows[::-1]
    assert "4 of 4 frames read; 4 faces found, on 4 of them.\n" in rows[0]
    assert "1 of 4 frames read; 1 face found, on 1 of them. The video is short, cut or damaged." in rows[1]
    assert "Later frames were not looked at" in rows[2] and "damaged" not in rows[2]


def test_plot(path):
    """A line for each model through the means of a frame's faces, a dot for each face, a line across for the video."""
    result = scored("a.mp4", [0, 1, 0.25, 0.5], step=10)
    result.faces[1] = ScoredFace(frame=0, face=1, bbox=BOX, detector_score=0.9, probabilities=[1, 0.5])
    source = write(path, [result])
    assert re.findall(r'polyline class="(line\d)" points="(.*)"', source) == [
        ("line0", "0,500 667,750 1000,500"),
        ("line1", "0,750 667,750 1000,500"),
    ]
    assert 'class="dots" d="M0 1000h0M0 250h0M667 750h0M1000 500h0"' in source
    assert f'class="score" d="M0 {round(1000 * (1 - result.score))}h1000"' in source
    rows = Page(source).rows[0]
    assert "frame 0" in rows and "frame 30" in rows and "frame 0, face 2" in rows
    assert "all models, mean0.43750.000 – 0.750" in rows and "first0.43750.000 – 1.000" in rows


def test_plot_of_one_frame(path):
    assert 'd="M0 700h0"' in write(path, [scored("a.mp4", [0.3])])


# that nothing in it can run


def test_names_and_errors_are_text(path):
    names = [
        HOSTILE,
        '"><script>alert(3)</script>.mp4',
        "\udcff\x1b[31m\u202egpj.mp4",
        "&lt;b&gt; $rows <!-- rows -->.mp4",
    ]
    results = [scored(name, [0.9 - 0.1 * i]) for i, name in enumerate(names)]
    results.append(VideoResult(video="z.mp4", status=FAILED, error="</pre><script>alert(4)</script>\u2066"))
    source = write(path, results)
    page = Page(source)
    assert HOSTILE in page.rows[0] and names[1] in page.rows[1] and names[3] in page.rows[3]
    assert r"\udcff\x1b[31m\u202egpj.mp4" in page.rows[2]
    assert MODELS[1] in page.text and "</pre><script>alert(4)</script>\\u2066" in page.rows[4]
    assert len(page.named("script")) == 1 and page.named("img") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]


def test_everything_is_in_the_file_and_the_policy_knows_it(path, face_video):
    paths = {"a.mp4": str(face_video)}
    source = write(path, [scored("a.mp4", [0.5] * 4, path=face_video)], paths=paths)
    page = Page(source)
    assert all(attributes["src"].startswith("data:image/webp;base64,") for attributes in page.named("img"))
    assert all(attributes["loading"] == "lazy" and attributes["alt"] for attributes in page.named("img"))
    assert not page.named("link", "iframe", "object", "base", "a") and "src" not in page.named("script")[0]
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub('src="data.*?"', "", source).replace("// Sorts", ""))
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert any(meta.get("name") == "viewport" for meta in page.named("meta"))
    assert "prefers-color-scheme: dark" in source
    assert not [attributes for attributes in page.named("details") if "open" in attributes and not attributes["class"]]


# pictures


def test_faces_that_are_shown():
    assert choose_faces(VideoResult(video="a.mp4", status=NO_FACE), []) == []
    assert choose_faces(scored("a.mp4", [0.5] * 3), []) == [0, 1, 2]
    scores = np.full(127, 0.2)
    scores[[5, 77]] = 0.9
    result = scored("a.mp4", scores)
    shown = choose_faces(result, people_in(result))
    assert shown == sorted(shown) and {0, 5, 77, 126} < set(shown) and len(shown) == 12


def test_pictures_are_the_faces(face_video):
    result = scored("a.mp4", [0.5] * 40, path=face_video)
    pictures = read_pictures(str(face_video), result, [])
    assert pictures.problem is None and set(pictures.images) == set(pictures.shown)
    frames = dict(iter_frames(face_video, lambda count: pictures.shown))
    for place, data in pictures.images.items():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        crop = cv2.resize(frames[place][30:330, 170:470], (96, 96), interpolation=cv2.INTER_AREA)
        assert image.shape == (96, 96, 3) and np.abs(image.astype(int) - crop).mean() < 6


def test_video_that_is_not_what_it_was(face_video, path, tmp_path):
    video = tmp_path / "a.mp4"
    shutil.copy(face_video, video)
    result = scored("a.mp4", [0.5] * 4, path=video)
    damaged = tmp_path / "b.mp4"
    damaged.write_bytes(b"no video")
    for file in (video, damaged):
        os.utime(file, ns=(0, 10**18))
    assert "was changed" in read_pictures(str(video), result, []).problem
    assert "or removed" in read_pictures(str(tmp_path / "c.mp4"), result, []).problem
    result.identity = file_identity(damaged)
    assert "can't be read (Invalid data" in read_pictures(str(damaged), result, []).problem
    row = Page(write(path, [result], paths={"a.mp4": str(damaged)})).rows[0]
    assert "No pictures: can't be read (Invalid data" in row and row.count("no picture") == 4 and "0.500" in row


def test_frame_and_box_that_are_not_there(face_video, path):
    result = scored("a.mp4", [0.5] * 3, path=face_video, step=30)  # of 40 frames
    result.faces[1] = ScoredFace(frame=30, face=0, bbox=(9000, 0, 9100, 90), detector_score=0.9, probabilities=[0, 0])
    pictures = read_pictures(str(face_video), result, [])
    assert list(pictures.images) == [0] and pictures.shown == [0, 1, 2] and pictures.problem is None
    assert Page(write(path, [result], paths={"a.mp4": str(face_video)})).rows[0].count("no picture") == 2


def test_a_clip_is_a_strip_of_its_frames(face_video, path):
    result = scored("a.mp4", [0.5], path=face_video)
    clip = replace(result.faces[0], frames=tuple(range(8)))
    result.faces[:] = [clip]
    assert report_pictures.frames_shown(clip) == [0, 1, 3, 5, 7]
    (data,) = read_pictures(str(face_video), result, []).images.values()
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (96, 5 * 96, 3)
    row = Page(write(path, [result], paths={"a.mp4": str(face_video)})).rows[0]
    assert "frames 0 to 7" in row


def test_pictures_have_a_limit(face_video, path, monkeypatch):
    monkeypatch.setattr(report_pictures, "_VIDEOS", 2)
    results = [scored(f"{i}.mp4", [0.1 * i], path=face_video) for i in range(4)]
    source = write(path, results, paths={result.video: str(face_video) for result in results}, workers=2)
    rows = Page(source).rows
    assert ["No pictures: only the first 2 videos" in row for row in rows] == [False, False, True, True]
    assert source.count("<img") == 2


def test_200_videos_are_a_small_page(tmp_path, path):
    draw = np.random.default_rng(0)
    frames = [frame + draw.integers(0, 20, frame.shape, dtype=np.uint8) for frame in media.face_frames(32, 320, 240)]
    video = media.write_video(tmp_path / "noisy.mp4", frames, options={"crf": "18"})
    results = [
        scored(f"{i}.mp4", draw.uniform(size=32), path=video, box=(80, 60, 240, 180), models=7) for i in range(200)
    ]
    paths = {result.video: str(video) for result in results}
    models = [f"final_{seed}_DeepFakeClassifier_tf_efficientnet_b7_ns_0_{seed}" for seed in range(7)]
    source = write(path, results, paths=paths, models=models, frames=32, workers=2)
    assert source.count("<img") > 200 * 10 and path.stat().st_size < 20e6


def test_whole_or_not_at_all(path, monkeypatch):
    before = write(path, [scored("a.mp4", [0.1])])
    monkeypatch.setattr(report_pictures, "read_pictures", lambda *args, **kwargs: {}["a defect"])
    with pytest.raises(KeyError):
        write(path, [scored("b.mp4", [0.1])])
    assert path.read_text() == before and os.listdir(path.parent) == ["report.html"]
    with pytest.raises(OutputError, match=r"/proc/r\.html: can't be written .*; the scores are kept in the journal"):
        write(Path("/proc/r.html"), [])


# the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory, face_video, noise_video):
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(face_video, folder / HOSTILE)
    media.write_video(folder / "b.mp4", media.face_frames(8))
    shutil.copy(noise_video, folder / "noise.mp4")
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def finished(folder, weights_dir, tmp_path_factory):
    """The report of a run."""
    path = tmp_path_factory.mktemp("finished") / "report.html"
    args = arguments(weights_dir, folder, path.with_name("s.csv"), "--report", str(path))
    assert predict_folder.main(args) == 0
    return path


def test_report_of_a_run(finished):
    page = Page(finished.read_text())
    assert {name + "mp4" for name in (HOSTILE[:-3], "b.", "noise.", "bad.")} == set(videos_of(finished.read_text()))
    labels = dict(line.rsplit(",", 1) for line in finished.with_name("s.csv").read_text().splitlines()[1:])
    for row in page.rows[:2]:
        name = row.split("mp4")[0] + "mp4"
        assert f"{float(labels[name]):.4f}" in row
    assert len(page.named("img")) == 8  # 4 frames of two videos


def test_report_after_a_resume(finished, folder, weights_dir, tmp_path, monkeypatch, capsys):
    """Videos that an earlier run scored are on it like those of this run."""
    part = tmp_path / "videos"
    shutil.copytree(folder, part, ignore=shutil.ignore_patterns("b.mp4", "bad.mp4"))
    args = arguments(weights_dir, part, tmp_path / "s.csv")
    assert predict_folder.main(args) == 0
    for name in ("b.mp4", "bad.mp4"):
        shutil.copy2(folder / name, part)
    report = tmp_path / "report.html"
    assert predict_folder.main([*args, "--report", str(report)]) == 0
    captured = capsys.readouterr()
    assert "4 videos, 2 of them done before" in captured.out.replace("Predicting ", "") and "Report" in captured.err
    assert without_date(report.read_text()) == without_date(finished.read_text())
    (part / "bad.mp4").unlink()
    monkeypatch.setattr(predict_folder, "build_pipeline", lambda *args: pytest.fail("nothing is left to do"))
    assert predict_folder.main([*args, "--report", str(report), "--strategy", "mean"]) == 0
    page = Page(report.read_text())
    assert len(page.rows) == 3 and len(page.named("img")) == 8 and "mean, from a model's" in page.text


def test_two_processes_write_the_same_report(finished, folder, weights_dir, tmp_path):
    report = tmp_path / "report.html"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    args = command(*arguments(weights_dir, folder, tmp_path / "s.csv", "--report", str(report)))[1:]
    process = processes.run([*torchrun, *args], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("Report: 100%") == 1  # rank 0 alone
    assert without_date(report.read_text()) == without_date(finished.read_text())


def test_path_is_checked_before_anything_is_loaded(folder, weights_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict_folder, "build_pipeline", lambda *args: pytest.fail("models were loaded"))
    for report, message in [
        ("/proc/r.html", "--report /proc/r.html: can't be written"),
        (tmp_path, "is a folder"),
        (tmp_path / "s.csv", "is written by --output too"),
        (tmp_path / "f.csv", "is written by --faces-csv too"),
        (weights_dir / "first", "is an input"),
    ]:
        more = ["--faces-csv", str(tmp_path / "f.csv"), "--report", str(report)]
        assert message in fails(capsys, arguments(weights_dir, folder, tmp_path / "s.csv", *more))


# a browser


NAMES = "[...document.querySelectorAll('#videos summary')].map(each => each.textContent)"
PRESS = "document.querySelectorAll('#videos thead button')[{}].click()"


@pytest.fixture
def opened(browser, tmp_path, face_video):
    """A page with hostile names in a browser, at the width of a phone."""
    results = [
        scored("v10.mp4", [0.1, 0.3], path=face_video),
        scored(HOSTILE, [0.9], path=face_video),
        scored("v9.mp4", [0.5] * 3, path=face_video),
        VideoResult(video="noise.mp4", status=NO_FACE, frames=4),
        VideoResult(video="bad.mp4", status=UNREADABLE, error=HOSTILE),
    ]
    write(tmp_path / "r.html", results, paths={result.video: str(face_video) for result in results})
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    browser.open(tmp_path / "r.html")
    return browser


def test_browser_sorts(opened):
    high, low = [HOSTILE, "v9.mp4", "v10.mp4"], ["v10.mp4", "v9.mp4", HOSTILE]
    assert opened.evaluate(NAMES) == [*high, "noise.mp4", "bad.mp4"]
    orders = {
        (0, "ascending"): [HOSTILE, "bad.mp4", "noise.mp4", "v9.mp4", "v10.mp4"],
        (0, "descending"): ["v10.mp4", "v9.mp4", "noise.mp4", "bad.mp4", HOSTILE],
        (1, "descending"): [*high, "noise.mp4", "bad.mp4"],
        (1, "ascending"): [*low, "noise.mp4", "bad.mp4"],
        (2, "ascending"): [*low, "noise.mp4", "bad.mp4"],
        (2, "descending"): ["bad.mp4", "noise.mp4", *low],
        (3, "descending"): ["v9.mp4", "v10.mp4", HOSTILE, "bad.mp4", "noise.mp4"],
    }
    for (column, order), names in orders.items():
        opened.evaluate(PRESS.format(column))
        sorts = opened.evaluate("[...document.querySelectorAll('#videos > thead th')].map(each => each.ariaSort)")
        assert sorts == [order if place == column else None for place in range(4)]
        shown = opened.evaluate(NAMES)
        if column == 1:  # those without a score stay last, in the order in which they were
            assert shown[:3] == names[:3] and set(shown[3:]) == set(names[3:])
        else:
            assert shown == names


def test_browser_runs_nothing_else_and_asks_for_nothing(opened):
    for column in range(4):
        opened.evaluate(PRESS.format(column))
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    load = "[...document.images].map(each => { each.loading = 'eager'; return each.decode() })"  # out of sight, too
    opened.evaluate(f"Promise.all({load}).then(() => 0)")
    assert opened.evaluate("document.scripts.length") == 1
    assert opened.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
    methods = [event["method"] for event in opened.events]
    assert "Page.javascriptDialogOpening" not in methods
    for bad in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
        assert bad not in methods, opened.events
    urls = [
        event["params"]["request"]["url"] for event in opened.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url.split(":")[0] for url in urls} == {"file", "data"} and sum(url.startswith("file") for url in urls) == 1


def test_browser_opens_a_video_and_fits_a_phone(opened):
    shown = "[...document.querySelectorAll('.more')].map(each => each.offsetHeight > 0)"
    assert not any(opened.evaluate(shown))
    opened.evaluate("document.querySelectorAll('#videos summary')[2].click()")
    assert opened.evaluate(shown) == [False, False, True, False, False]
    opened.evaluate("document.querySelectorAll('#videos details').forEach(each => { each.open = true })")
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_browser_without_scripts(browser, finished):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(finished)
    browser.evaluate("document.querySelector('#videos summary').click()")
    assert browser.evaluate("document.querySelector('.more').offsetHeight") > 100
    assert browser.evaluate("document.querySelector('#videos thead button').disabled")


def test_a_face_that_each_model_saw_by_itself_is_one(path):
    """Models that see other pictures of a face each have a sample of it: two faces, and two models."""
    result = scored("a.mp4", [0.5])
    seen = [(0, 0, 0.2), (0, 1, 0.4), (1, 0, 0.6), (1, 1, 1.0)]  # face, model, probability
    result.faces = [
        ScoredFace(frame=3, face=face, bbox=BOX, detector_score=0.9, probabilities=[score], model=model)
        for face, model, score in seen
    ]
    assert report_pictures.scores_of_faces(result) == {0: pytest.approx(0.3), 2: pytest.approx(0.8)}
    source = write(path, [result])
    assert "2 faces found, on 1 of them" in source
    assert re.findall(r"0\.300|0\.800", Page(source).text)[:2] == ["0.300", "0.800"]
    assert re.findall(r'class="dots" d="(.*)"', source) == ["M0 700h0M0 200h0"]
