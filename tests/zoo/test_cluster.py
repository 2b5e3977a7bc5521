"""Beyond one machine, for real: a Dask scheduler and two workers, an S3 server."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.zoo import many, put

pytestmark = pytest.mark.slow
Start = Callable[..., "subprocess.Popen[bytes]"]


def need(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes; all of them end with the test."""
    with ExitStack() as stack:

        def run(*command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{time.monotonic_ns()}.log").open("wb"))
            process = subprocess.Popen(
                command, cwd=tmp_path, env={**os.environ, **(env or {})}, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield run


def until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def zoo_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "caffefold", "zoo", *arguments]


# ------------------------------------------------------------------------------------- Dask


@pytest.fixture
def cluster(start: Start, tmp_path: Path) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """A scheduler and two workers; its address and the workers."""
    file = tmp_path / "scheduler.json"
    python = (sys.executable, "-m")
    start(*python, "distributed.cli.dask_scheduler", "--scheduler-file", str(file),
          "--host", "127.0.0.1", "--port", "0", "--no-dashboard")  # fmt: skip
    until(lambda: file.exists() and file.stat().st_size > 0, "no scheduler")
    address = json.loads(file.read_text())["address"]
    workers = [
        start(*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
              "--no-dashboard", "--local-directory", str(tmp_path / f"w{number}"))
        for number in range(2)
    ]  # fmt: skip
    return address, workers


@need("distributed")
def test_a_cluster_converts_the_same(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], source: Path, target: Path
) -> None:
    many(source, 12)
    command = zoo_command(str(source), str(target), "--engine", "dask", "--scheduler", cluster[0])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "zoo       12 converted" in done.stdout.splitlines()
    other = target.with_name("plain")
    subprocess.run(zoo_command(str(source), str(other)), check=True, capture_output=True)
    for path in other.rglob("*.caffemodel"):
        assert (target / path.relative_to(other)).read_bytes() == path.read_bytes()
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "zoo       12 converted, all up to date" in again.stdout.splitlines()


@need("distributed")
def test_a_worker_that_is_killed_in_the_middle(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], start: Start, source: Path, target: Path
) -> None:
    many(source, 80)
    address, workers = cluster
    command = zoo_command(str(source), str(target), "--engine", "dask", "--scheduler", address)
    process = start(*command)
    until(lambda: len(list(target.glob("*/net.report.json"))) >= 5, "nothing happens")
    workers[0].send_signal(signal.SIGKILL)
    assert process.wait(120) == 0
    document = json.loads((target / "zoo.json").read_text())
    assert document["summary"]["converted"] == 80
    assert len(list(target.glob("*/net.caffemodel"))) == 80
    assert not list((target / ".caffefold-zoo").glob("work/*"))


@need("distributed")
def test_no_scheduler_answers(source: Path, target: Path) -> None:
    many(source, 1)
    command = zoo_command(
        str(source),
        str(target),
        "--engine",
        "dask",
        "--scheduler",
        f"tcp://127.0.0.1:{free_port()}",
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "no answer" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------------------------------- S3


@pytest.fixture
def s3(start: Start, tmp_path: Path) -> dict[str, str]:
    """An S3 server with a bucket; the environment its clients need."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))

    def answers() -> bool:
        try:
            with urlopen(url, timeout=1):
                return True
        except (URLError, OSError):
            return False

    until(answers, "no S3 server")
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FSSPEC_S3_ENDPOINT_URL": url,
    }
    talk(env, "fs.mkdir('box')")
    return env


def talk(env: Mapping[str, str], code: str, *arguments: str) -> str:
    """Run code with a file system of s3fs, in a process of its own."""
    code = f"import fsspec, json, sys\nfs = fsspec.filesystem('s3')\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@need("s3fs", "moto", "flask")
def test_from_bucket_to_bucket(s3: dict[str, str], start: Start, source: Path) -> None:
    many(source, 12)
    put(source / "broken.caffemodel", b"PK\x03\x04")
    talk(s3, "fs.put(sys.argv[1], 'box/in', recursive=True)", f"{source}/")
    command = zoo_command("s3://box/in", "s3://box/out", "--jobs", "2")
    killed = start(*command, env=s3)

    def there() -> list[str]:
        found = talk(s3, "print(json.dumps(fs.find('box/out')))")
        return [path.removeprefix("box/out/") for path in json.loads(found)]

    until(lambda: sum(path.endswith(".report.json") for path in there()) >= 2, "nothing happens")
    killed.kill()
    killed.wait()
    done = subprocess.run(command, env=s3, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1, done.stderr
    assert "12 converted, 1 refused" in done.stdout
    assert "s3://box/in/broken.caffemodel: this is a ZIP archive" in done.stdout
    names = {path for path in there() if not path.startswith(".")}
    wanted = {f"m{n:03d}/net{s}" for n in range(12) for s in (".prototxt", ".caffemodel")}
    assert wanted <= names
    assert {"zoo.json", "zoo.csv", "index.html", "m000/net.html", "broken.html"} <= names
    local = source.with_name("local")
    subprocess.run(zoo_command(str(source), str(local)), capture_output=True, check=False)
    content = talk(s3, "print(fs.cat('box/out/m003/net.caffemodel').hex())")
    assert bytes.fromhex(content.strip()) == (local / "m003/net.caffemodel").read_bytes()
    again = subprocess.run(command, env=s3, capture_output=True, text=True, check=False)
    assert "12 converted, 1 refused, all up to date" in again.stdout
    assert ".caffefold-zoo/lock" not in there()
