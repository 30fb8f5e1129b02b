"""The download of the training data against a server on this machine that behaves as servers do."""

import http.server
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_unpack_part import noise, write_zip

SCRIPT = Path(__file__).resolve().parents[1] / "download_data.sh"
PAGE = b"<!DOCTYPE html><html>Sign in</html>"
pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="no curl")


@dataclass(kw_only=True)
class Answer:
    data: bytes = PAGE
    code: int = 200
    type: str = "application/zip"
    ranges: bool = True
    breaks_at: int | None = None  # bytes after which the connection ends
    stalls: bool = False  # there, instead
    moved_to: str | None = None  # another name, as Kaggle sends one on to where the files are stored


LOGIN = Answer(type="text/html; charset=utf-8", ranges=False)


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the answers of `answers`; notes where each transfer began and the cookies that came."""

    answers: dict  # name: Answer
    starts: list
    cookies: set
    released: threading.Event

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.starts.append((name, start))
        self.cookies.add(self.headers.get("Cookie"))
        answer = self.answers.get(name, Answer(code=404, type="text/html"))
        if answer.moved_to:
            self.send_response(302)
            self.send_header("Location", answer.moved_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not answer.ranges:
            start = 0
        size = len(answer.data)
        body = answer.data[start:]
        if start and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
        elif start:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(answer.code)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: answer.breaks_at])
        if answer.stalls:
            self.wfile.flush()
            self.released.wait(30)

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def server():
    made = {"answers": {}, "starts": [], "cookies": set(), "released": threading.Event()}
    handler = type("Served", (Handler,), made)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        handler.url = f"http://127.0.0.1:{listening.server_address[1]}/data"
        yield handler
        handler.released.set()
        listening.shutdown()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "new" / "data root"


@pytest.fixture
def cookies(tmp_path):
    path = tmp_path / "cookies=1.txt"  # curl would take this for a cookie
    path.write_text("# Netscape HTTP Cookie File\n\n#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tsecret\n")
    return path


@pytest.fixture
def zips(tmp_path):
    """By number, each with videos of its own."""
    made = {}
    for number in range(12):
        metadata = {f"{number}_{name}.mp4": {"label": "REAL"} for name in "ab"}
        path = write_zip(tmp_path / "made.zip", part=f"dfdc_train_part_{number}", metadata=metadata)
        made[number] = path.read_bytes()
    return made


def name_of(number):
    return f"dfdc_train_part_{number}.zip"


def start(*arguments, url, **options):
    """Lines that were in the environment would change what is tested."""
    environment = {name: value for name, value in os.environ.items() if name not in ("KEEP_ZIPS", "RANK", "WORLD_SIZE")}
    environment |= {"BASE_URL": url, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1", **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([SCRIPT, *map(str, arguments)], env=environment, **pipes, **options)


def run(*arguments, url, **options):
    process = start(*arguments, url=url, **options)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def assert_unpacked(root, *numbers):
    for number in numbers:
        folder = root / f"dfdc_train_part_{number}"
        videos = [f"{number}_a.mp4", f"{number}_b.mp4"]
        assert sorted(os.listdir(folder)) == [*videos, "metadata.json"]
        assert all((folder / video).read_bytes() == noise(video) for video in videos)


def test_fetches_resumes_unpacks_and_says_what_is_missing(server, root, cookies, zips):
    root.mkdir(parents=True)
    (root / f"{name_of(1)}.part").write_bytes(zips[1][:4000])
    (root / f"{name_of(2)}.part").write_bytes(b"<html> of a run that was stopped")
    (root / f"{name_of(3)}.part").write_bytes(zips[3])  # stopped before it got its name
    server.answers.update({name_of(number): Answer(data=zips[number]) for number in (1, 2, 3)})
    server.answers["dfdc_train_part_04.zip"] = Answer(data=zips[4])
    server.answers[name_of(5)] = Answer(data=zips[5], breaks_at=6000)
    first = run(root, cookies, 1, 6, url=server.url)
    assert first.returncode == 1 and "error: 2 of 6 parts are missing; run " in first.stderr, first.stderr
    assert "  dfdc_train_part_5 (download failed, curl's code 18, HTTP 200)\n" in first.stderr
    assert "  dfdc_train_part_6 (download failed, curl's code 22, HTTP 404)\n" in first.stderr
    assert server.starts == [
        *((name_of(1), 4000), (name_of(2), 0), (name_of(3), len(zips[3]))),
        *((name_of(4), 0), ("dfdc_train_part_04.zip", 0)),
        *((name_of(5), 0), (name_of(6), 0), ("dfdc_train_part_06.zip", 0)),
    ]
    assert server.cookies == {"session=secret"} and "secret" not in first.stdout + first.stderr
    assert_unpacked(root, 1, 2, 3, 4)
    done = [f"dfdc_train_part_{number}" for number in (1, 2, 3, 4)]
    assert sorted(os.listdir(root)) == [*done, f"{name_of(5)}.part"]

    server.answers[name_of(5)] = Answer(data=zips[5])
    server.answers[name_of(6)] = Answer(data=zips[6])
    server.starts.clear()
    second = run(root, cookies, "01", "06", url=server.url)
    assert second.returncode == 0 and f"parts 1 to 6 are in {root}\n" in second.stdout, second.stderr
    assert server.starts == [(name_of(5), 6000), (name_of(6), 0)]
    assert_unpacked(root, *range(1, 7))
    assert sorted(os.listdir(root)) == [f"dfdc_train_part_{number}" for number in range(1, 7)]


def test_a_number_of_two_digits_is_asked_for_once(server, root, cookies, zips):
    server.answers[name_of(11)] = Answer(data=zips[11])
    finished = run(root, cookies, 10, 11, url=server.url)
    assert finished.returncode == 1 and "1 of 2 parts are missing" in finished.stderr
    assert server.starts == [(name_of(10), 0), (name_of(11), 0)]
    assert_unpacked(root, 11)


def test_is_sent_on(server, root, cookies, zips):
    server.answers.update({name_of(0): Answer(moved_to="stored"), "stored": Answer(data=zips[0], breaks_at=5000)})
    assert run(root, cookies, 0, 0, url=server.url).returncode == 1
    server.answers["stored"] = Answer(data=zips[0])
    assert run(root, cookies, 0, 0, url=server.url).returncode == 0
    assert server.starts == [(name_of(0), 0), ("stored", 0), (name_of(0), 5000), ("stored", 5000)]
    assert_unpacked(root, 0)
    server.answers.update({name_of(1): Answer(moved_to="login"), "login": LOGIN})
    assert "Log in to Kaggle" in run(root, cookies, 1, 2, url=server.url).stderr
    assert server.starts[4:] == [(name_of(1), 0), ("login", 0)]


def test_keeps_zips_and_uses_them(server, root, cookies, zips, tmp_path):
    server.answers[name_of(8)] = Answer(data=zips[8])
    command = [os.path.relpath(root, tmp_path), cookies.name, "08", "08"]
    for _ in range(2):
        finished = run(*command, url=server.url, env={"KEEP_ZIPS": "1"}, cwd=tmp_path)
        assert finished.returncode == 0, finished.stderr
        assert (root / name_of(8)).read_bytes() == zips[8]
        assert_unpacked(root, 8)
        shutil.rmtree(root / "dfdc_train_part_8")
    assert server.starts == [(name_of(8), 0)]


def test_a_web_page_instead_of_a_zip_stops(server, root, cookies, zips):
    server.answers.update({name_of(0): Answer(data=zips[0]), name_of(1): LOGIN})
    finished = run(root, cookies, 0, 3, url=server.url)
    assert finished.returncode == 1
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("error: Kaggle sent no zip for dfdc_train_part_1: the cookies have expired")
    assert f"accept the competition's rules (its Data tab asks for it), export the cookies again to {cookies}" in last
    assert server.starts == [(name_of(0), 0), (name_of(1), 0)]
    assert os.listdir(root) == ["dfdc_train_part_0"]


@pytest.mark.parametrize("answer", [LOGIN, Answer(code=401), Answer(code=403), Answer(type="text/html", ranges=False)])
def test_an_expired_login_leaves_what_was_fetched_before(server, root, cookies, zips, answer):
    root.mkdir(parents=True)
    (root / f"{name_of(0)}.part").write_bytes(zips[0][:4000])
    if answer.code != 200:
        answer.ranges = False
    server.answers[name_of(0)] = answer
    finished = run(root, cookies, url=server.url)
    assert finished.returncode == 1 and "Log in to Kaggle in a browser" in finished.stderr.splitlines()[-1]
    assert (root / f"{name_of(0)}.part").read_bytes() == zips[0][:4000]
    assert server.starts == [(name_of(0), 4000)]


def test_a_page_that_broke_off_stops_too(server, root, cookies):
    server.answers[name_of(0)] = Answer(type="text/html", breaks_at=20)
    finished = run(root, cookies, url=server.url)
    assert finished.returncode == 1 and "Kaggle sent no zip for dfdc_train_part_0" in finished.stderr
    assert len(server.starts) == 1 and os.listdir(root) == []


def test_a_server_that_cannot_resume(server, root, cookies, zips):
    root.mkdir(parents=True)
    (root / f"{name_of(0)}.part").write_bytes(zips[0][:4000])
    server.answers[name_of(0)] = Answer(data=zips[0], ranges=False)
    finished = run(root, cookies, 0, 0, url=server.url)
    assert finished.returncode == 1 and "curl's code 33, HTTP 200" in finished.stderr
    assert os.listdir(root) == []
    assert run(root, cookies, 0, 0, url=server.url).returncode == 0
    assert_unpacked(root, 0)


def test_zips_that_cannot_be_unpacked_are_kept(server, root, cookies, zips, tmp_path):
    server.answers[name_of(0)] = Answer(data=zips[0][:-50])
    other = write_zip(tmp_path / "x.zip", part="dfdc_train_part_1", metadata={"a.mp4": {}, "b.mp4": {}}).read_bytes()
    server.answers.update({name_of(1): Answer(data=other), name_of(2): Answer(data=zips[9])})
    for requests in (3, 0):
        server.starts.clear()
        finished = run(root, cookies, 0, 2, url=server.url)
        assert finished.returncode == 1 and "3 of 3 parts are missing" in finished.stderr
        assert f"{name_of(0)}: is no zip or is damaged" in finished.stderr
        assert f"{name_of(1)}: its videos are not those of its metadata.json (2 entries are wrong)" in finished.stderr
        assert f"not unpacked, see above; to have its zip fetched again, remove {root}/{name_of(1)})" in finished.stderr
        assert f"dfdc_train_part_2 (another part is in {root}/{name_of(2)}; remove it)" in finished.stderr
        assert len(server.starts) == requests
        assert sorted(os.listdir(root)) == [name_of(0), name_of(1), name_of(2), "dfdc_train_part_9"]


def test_a_folder_that_is_not_complete_is_left_alone(server, root, cookies, zips):
    server.answers[name_of(1)] = Answer(data=zips[1])
    (root / "dfdc_train_part_0").mkdir(parents=True)
    finished = run(root, cookies, 0, 1, url=server.url)
    assert finished.returncode == 1 and "1 of 2 parts are missing" in finished.stderr
    assert "dfdc_train_part_0 (what is there is not complete, see above; remove it)" in finished.stderr
    assert server.starts == [(name_of(1), 0)] and os.listdir(root / "dfdc_train_part_0") == []
    assert_unpacked(root, 1)


def test_without_internet(root, cookies):
    finished = run(root, cookies, url="http://no-such-host.invalid")
    assert finished.returncode == 1
    assert "error: no internet here?" in finished.stderr and "http://no-such-host.invalid" in finished.stderr
    assert os.listdir(root) == []


def test_a_full_disk(server, root, cookies, zips):
    """Here by a limit on the size of files."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    server.answers.update({name_of(number): Answer(data=zips[number]) for number in (0, 1)})
    finished = run(root, cookies, url=server.url, preexec_fn=limit, restore_signals=False)
    assert finished.returncode == 1
    assert f"error: {root}/{name_of(0)}.part can't be written: is the disk full?" in finished.stderr
    assert server.starts == [(name_of(0), 0)]
    assert run(root, cookies, 0, 1, url=server.url).returncode == 0
    assert server.starts[1][1] <= 4096
    assert_unpacked(root, 0, 1)


def test_stopped_by_the_keyboard(server, root, cookies, zips):
    server.answers.update({name_of(0): Answer(data=zips[0], breaks_at=6000, stalls=True), name_of(1): LOGIN})
    process = start(root, cookies, url=server.url, start_new_session=True)
    part = root / f"{name_of(0)}.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0 and server.starts == [(name_of(0), 0)]
    assert part.stat().st_size and zips[0].startswith(part.read_bytes())


@pytest.mark.parametrize(
    "numbers, message",
    [
        (("x", "3"), "x is not a whole number from 0 to 49"),
        (("-1", "3"), "-1 is not a whole number from 0 to 49"),
        (("0", "50"), "50 is not a whole number from 0 to 49"),
        (("0", ""), " is not a whole number from 0 to 49"),
        (("4", "3"), "4 comes after 3"),
    ],
)
def test_bad_numbers(server, root, cookies, numbers, message):
    finished = run(root, cookies, *numbers, url=server.url)
    assert (finished.returncode, finished.stderr) == (1, f"error: FIRST and LAST: {message}\n")
    assert not server.starts and not root.exists()


def test_bad_files(server, root, cookies, tmp_path):
    finished = run(root, tmp_path / "nowhere", url=server.url)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: COOKIES {tmp_path}/nowhere: there is no such file; ")
    (tmp_path / "cookies.json").write_text('[{"name": "session"}]\n')
    finished = run(root, tmp_path / "cookies.json", url=server.url)
    assert finished.returncode == 1 and "cookies.json: no cookie in it" in finished.stderr
    finished = run(cookies / "below", cookies, url=server.url)
    assert finished.returncode == 1
    assert finished.stderr == f"error: DATA_ROOT {cookies}/below: can't be made; name a folder that can be written\n"
    assert not server.starts and not root.exists()


@pytest.mark.parametrize("arguments", [(), ("data",), ("data", "cookies", "1"), ("data", "cookies", "1", "2", "3")])
def test_usage(arguments, tmp_path):
    finished = run(*arguments, url="http://no-such-host.invalid", cwd=tmp_path)
    assert finished.returncode == 2 and finished.stderr.startswith("usage: ") and os.listdir(tmp_path) == []
