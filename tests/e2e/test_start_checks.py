"""What `up` looks at before it begins: a Redis that keeps what it takes, that has not been emptied, and data of a
version it knows. Real servers, real commands: the exit code and the sentence that a user gets."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from installation import ENRICH, REPOSITORY, Installation, until
from own_server import DURABLE, OwnServer
from revops_lite.errors import ServerError
from revops_lite.queue import names
from revops_lite.server.program import NAMES, Binary, candidates, inspect
from revops_lite.store import keys
from revops_lite.store.store import Store
from revops_lite.store.version import CURRENT
from revops_lite.store.version import program as this_program

pytestmark = pytest.mark.real
slow = pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="takes long; REVOPS_LONG=1 runs it")


@pytest.fixture
def made(site: Installation) -> Installation:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    return site


@pytest.fixture
def own(made: Installation, program: Path, tmp_path: Path) -> Iterator[Callable[..., OwnServer]]:
    """A server of the user's own that the installation is configured for."""
    with contextlib.ExitStack() as stack:

        def start(*lines: str, allow_weak: bool = False, port: int = 0) -> OwnServer:
            server = stack.enter_context(OwnServer(tmp_path / "own", program, *lines, port=port))
            server.serve(made, allow_weak=allow_weak)
            return server

        yield start


def refused(site: Installation, code: int, *commands: Sequence[str]) -> list[str]:
    """What each of these commands says on stderr: all of them end with that code, and none with a traceback."""
    ended = site.many(commands)
    assert [(done.words, done.code) for done in ended] == [(tuple(words), code) for words in commands]
    assert not any("Traceback" in done.err + done.out for done in ended)
    return [done.err for done in ended]


# ---- weak durability ---------------------------------------------------------------------------------------------

WEAK = {
    "no file": (("appendonly no",), "it keeps no append-only file (appendonly yes)"),
    "no fsync": (
        ("appendonly yes", "appendfsync no"),
        "it never forces its file to disk (appendfsync always or everysec)",
    ),
    "eviction": (
        ("appendonly yes", "maxmemory-policy allkeys-lru"),
        "it throws keys away when memory is short (maxmemory-policy noeviction, not allkeys-lru)",
    ),
}


@pytest.mark.parametrize("weak", ["no file", *(pytest.param(weak, marks=slow) for weak in list(WEAK)[1:])])
def test_a_weak_server_is_refused_or_allowed_and_then_told_of_each_time(
    made: Installation, own: Callable[..., OwnServer], weak: str
) -> None:
    lines, sentence = WEAK[weak]
    server = own(*lines)
    decide = ["review", "reject", "--all", "--note", "no"]
    for told in refused(made, 4, ["up", "--until-idle"], ["emit", "lead.created", "lead:1"], decide):
        assert f"the server may lose what it has accepted: {sentence}. Mend: CONFIG SET" in told
        assert "or set [redis] allow_weak = true" in told
    assert server.client.dbsize() == 0  # nothing was begun there
    server.serve(made, allow_weak=True)
    assert f"warning: {sentence}" in made.revops("up", "--until-idle").err
    plain, as_json = made.many([["status"], ["status", "--json"]])
    assert f"warning: {sentence}" in plain.out
    assert as_json.json()["weak"] == [sentence]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("replicaof 127.0.0.1 1", "the server is a read-only replica. Mend: give the address of its primary"),
        (
            "cluster-enabled yes",
            "the server is a cluster, which cannot commit several keys at once. Mend: use a single",
        ),
    ],
)
def test_what_cannot_be_worked_with_is_refused_whatever_is_allowed(
    made: Installation, own: Callable[..., OwnServer], line: str, sentence: str
) -> None:
    own(*DURABLE, line, allow_weak=True)
    for told in refused(made, 4, ["up"], ["emit", "lead.created", "lead:1"], ["status"], ["run", "list"]):
        assert sentence in told


class Older(socketserver.ThreadingUnixStreamServer):
    """Stands before a real server and lets it say that it is Redis 5."""

    daemon_threads = True
    server_address: str

    def __init__(self, path: Path, behind: Path) -> None:
        super().__init__(str(path), Passing)
        self.behind = behind


class Passing(socketserver.BaseRequestHandler):
    server: Older

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(self.server.behind))
            back = threading.Thread(target=self._pass, args=(behind, self.request), daemon=True)
            back.start()
            self._pass(self.request, behind)

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(
                    data.replace(b"redis_version:7", b"redis_version:5").replace(b"redis_version:8", b"redis_version:5")
                )
            target.shutdown(socket.SHUT_WR)


def test_a_server_that_is_too_old_is_refused(made: Installation, own: Callable[..., OwnServer], tmp_path: Path) -> None:
    real = own(allow_weak=True)
    with Older(tmp_path / "old", real.socket) as old:
        thread = threading.Thread(target=old.serve_forever, daemon=True)
        thread.start()
        path = made.root / "config.toml"
        path.write_text(path.read_text().replace(real.url, f"unix://{tmp_path}/old"))
        for told in refused(made, 4, ["up"], ["emit", "lead.created", "lead:1"]):
            assert "the server is version 5." in told
            assert "Mend: Redis 6.2 or newer, or Valkey" in told
        old.shutdown()
        thread.join()


@slow
def test_a_server_that_becomes_weak_while_up_runs_is_told_of(made: Installation, own: Callable[..., OwnServer]) -> None:
    server = own()
    with made.up("--no-web", ready=False) as up:
        until(lambda: server.client.hget(keys.CONTROLLER, "owner"))
        assert made.revops("status", "--json").json()["weak"] == []
        server.client.config_set("appendonly", "no")
        assert made.revops("status", "--json").json()["weak"] == [WEAK["no file"][1]]
        assert "keeps no append-only file" in made.revops("emit", "lead.created", "lead:1", code=4).err
        assert up.alive()
        server.client.config_set("appendonly", "yes")
        made.revops("emit", "lead.created", "lead:1")
        assert made.revops("status", "--json").json()["weak"] == []


# ---- a Redis that holds less than it did -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in which one lead has been worked on from beginning to end, and which was stopped."""
    del program
    site = Installation(tmp_path_factory.mktemp("kept") / "site")
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"l1": {"email": "a@b.example"}})
    site.revops("up", "--until-idle")
    site.end()
    return site.root


@pytest.fixture
def worked(site: Installation, kept: Path) -> Installation:
    shutil.copytree(kept, site.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    return site


@pytest.fixture
def moved(worked: Installation, program: Path, tmp_path: Path) -> Iterator[OwnServer]:
    """The same with its data taken along to a server of the user's own."""
    server = OwnServer(tmp_path / "own", program, *DURABLE)
    server.folder.mkdir()
    for path in (worked.root / "var" / "redis").glob("appendonly*"):
        path.rename(server.folder / path.name)
    server.serve(worked)
    with server:
        yield server


EMPTY = "Redis is empty, but"


def refused_as_emptied(site: Installation) -> None:
    """By everything that would accept something, and told how to go on."""
    sends = ["emit", "lead.created", "lead:l1"], ["hold", "add", "lead:l1", "--reason", "x"]
    for told in refused(site, 1, ["up", "--until-idle"], *sends):
        assert EMPTY in told
        assert "its data are lost. Restore var/redis from a backup; or, to begin anew, move var/audit away" in told


def test_an_emptied_data_folder_is_refused_until_it_is_restored(worked: Installation) -> None:
    redis, backup = worked.root / "var" / "redis", worked.root / "backup"
    redis.rename(backup)
    before = {path: path.read_bytes() for path in (worked.root / "var" / "audit").glob("2*.jsonl")}
    refused_as_emptied(worked)
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(redis)
    backup.rename(redis)
    worked.revops("emit", "lead.created", "lead:l1", "--id", "again")
    worked.revops("up", "--until-idle")
    runs, verified = worked.many([["run", "list", "--json"], ["audit", "verify", "--json"]])
    assert [run["state"] for run in runs.items()] == ["finished", "finished"]
    assert verified.json()["findings"] == []


@slow
def test_a_server_emptied_by_hand_is_refused(worked: Installation, moved: OwnServer) -> None:
    assert moved.client.hget(keys.CONTROLLER, "epoch") == b"1"  # the data have come along
    moved.client.flushall()
    refused_as_emptied(worked)
    assert moved.client.dbsize() == 0


def test_a_server_emptied_under_a_running_up_ends_it_and_nothing_is_begun_anew(
    worked: Installation, moved: OwnServer
) -> None:
    with worked.up(ready=False) as up:
        until(lambda: moved.client.hget(keys.CONTROLLER, "owner") and moved.client.scard(names.WORKERS))
        moved.client.flushall()
        assert up.wait() == 1
        assert "Redis has been emptied while `up` was running" in up.err
    assert not moved.client.exists(keys.CONTROLLER)
    refused_as_emptied(worked)


def test_a_server_that_comes_back_empty_ends_a_running_up(worked: Installation, moved: OwnServer) -> None:
    with worked.up(ready=False) as up:
        until(lambda: moved.client.hget(keys.CONTROLLER, "owner") and moved.client.scard(names.WORKERS))
        moved.kill()
        until(lambda: "does not answer" in up.err)
        for path in moved.folder.glob("appendonly*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        moved.start()
        assert up.wait() == 1
        assert EMPTY in up.err
    assert not moved.client.exists(keys.CONTROLLER)


@slow
def test_a_server_rolled_back_to_an_older_copy_goes_on_and_the_loss_is_told(worked: Installation) -> None:
    redis, older = worked.root / "var" / "redis", worked.root / "older"
    shutil.copytree(redis, older, ignore=shutil.ignore_patterns("*.sock"))
    worked.crm("lead", {"l1": {"email": "a@b.example"}, "l2": {"email": "c@d.example"}})
    worked.revops("up", "--until-idle")
    changes = worked.changes("lead:l2")
    assert changes
    shutil.rmtree(redis)
    older.rename(redis)
    with worked.up():
        until(lambda: worked.states().get("lead:l2") == "finished")
        until(lambda: [note for note in worked.notices() if "Redis has lost the entries after" in note["body"]])
        assert worked.states() == {"lead:l1": "finished", "lead:l2": "finished"}
        verified = worked.revops("audit", "verify", "--json").json()
    assert verified["findings"] == []
    assert any("Redis lost entries after" in note for note in verified["notes"])
    assert worked.changes("lead:l2") == changes  # what had been written stood there: found, and not written again


# ---- the version of the data -------------------------------------------------------------------------------------


@slow
def test_up_writes_the_version_also_into_data_from_before_there_was_one(worked: Installation) -> None:
    found = {b"data": str(CURRENT).encode(), b"program": this_program().encode()}
    with worked.up() as up:
        with worked.redis() as client:
            assert client.hgetall(keys.VERSION) == found  # the first start wrote it, this one has left it
            client.delete(keys.VERSION)
        up.stop()
    with worked.up(), worked.redis() as client:
        assert client.hgetall(keys.VERSION) == found
        assert worked.states() == {"lead:l1": "finished"}


def test_data_of_a_newer_program_are_refused_by_every_command(worked: Installation) -> None:
    with worked.up() as up:
        with worked.redis() as client:
            client.hset(keys.VERSION, mapping={"data": CURRENT + 1, "program": "9.8.7"})
        up.stop()
    files = {path: path.read_bytes() for path in (worked.root / "var" / "redis").rglob("*.aof")}
    assert files
    for told in refused(
        worked, 1,
        ["up", "--until-idle"], ["run", "list"], ["status"], ["emit", "lead.created", "lead:l1"], ["review", "list"],
        ["record", "view", "lead:l1"], ["metrics"], ["audit", "list"], ["rollback", "--agent", "enrichment", "--yes"],
    ):  # fmt: skip
        assert f"the data in Redis have version {CURRENT + 1} (revops-lite 9.8.7)" in told
        assert f"knows versions up to {CURRENT}. Nothing was changed" in told
        assert "Mend: install revops-lite 9.8.7 or newer, or restore the backup from before the upgrade" in told
    assert {path: path.read_bytes() for path in files} == files


# A program of tomorrow, whose data have the next version: its step marks each run, one transaction each, and the
# process is killed behind the first where the file `kill` is there.
TOMORROW = """
import os, signal, sys
from pathlib import Path
from revops_lite.store import version

def step(redis):
    for name in sorted(redis.scan_iter("revops:run:*")):
        if redis.exists(b"moved:" + name):
            continue
        yield [("SET", b"moved:" + name, "1", "EX", 600), ("INCR", "moves"), ("EXPIRE", "moves", 600)]
        if Path("kill").exists():
            Path("kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

version.CURRENT += 1
version.STEPS[version.CURRENT - 1] = step
version.program = lambda: "9.9.9"
from revops_lite.cli import main
sys.argv[0] = "revops"
main()
"""


class Tomorrow(Installation):
    """The same installation, with the program of tomorrow."""

    def command(self, *words: str) -> list[str]:
        return [super().command()[0], "-c", TOMORROW, *words]


@slow
def test_older_data_are_upgraded_at_the_start_also_after_a_kill_half_way(worked: Installation) -> None:
    worked.many([["emit", "lead.created", "lead:l1", "--id", f"more-{number}"] for number in range(2)])
    worked.revops("up", "--until-idle")
    later = Tomorrow(worked.root)
    assert "Mend: start `revops up` of this program, which upgrades them" in later.revops("run", "list", code=1).err
    worked.file("kill", "")
    later.revops("up", "--until-idle", code=-9)
    worked.end()
    assert len(worked.run_list()) == 3  # half-way it is still of the older version, and read by the older program
    with later.up() as up:
        with later.redis() as client:
            assert client.get("moves") == b"3"  # each run once, whoever was killed
            assert client.hgetall(keys.VERSION) == {b"data": str(CURRENT + 1).encode(), b"program": b"9.9.9"}
            upgrades = [entry for entry in Store(client).audit(1000) if entry.what == "data.upgraded"]
        assert later.run_states() == {"finished": 3}
        up.stop()
    assert [(entry.before, entry.after) for entry in upgrades] == [(CURRENT, CURRENT + 1)]
    assert "install revops-lite 9.9.9 or newer" in worked.revops("run", "list", code=1).err


# ---- a server program that is older than the data ----------------------------------------------------------------


def programs() -> dict[str, Binary]:
    """Name and version -> every server program of this machine."""
    found = {}
    for path in candidates(None):
        with contextlib.suppress(ServerError):
            binary = inspect(path)
            found[f"{binary.name} {binary.version}"] = binary
    return found


@slow
def test_data_of_another_server_program_are_refused_untouched(made: Installation, tmp_path: Path) -> None:
    there = programs()
    newer = next((each for each in there.values() if each.version >= (9, 0, 0)), None)
    older = next((each for each in there.values() if each.version < (9, 0, 0)), None)
    if newer is None or older is None:
        pytest.skip("needs two server programs, one of them Valkey 9")
    place = tmp_path / "bin"
    place.mkdir()
    link = place / NAMES[0]
    link.symlink_to(newer.path)
    made.env["PATH"] = f"{place}:/usr/bin:/bin"
    made.revops("emit", "lead.created", "lead:l1")
    server = made.root / "var" / "redis"
    assert str(link) in (server / "server.json").read_text()
    link.unlink()
    link.symlink_to(older.path)
    before = {path: path.read_bytes() for path in server.rglob("*") if "aof" in path.name and path.is_file()}
    for told in refused(made, 1, ["up", "--until-idle"], ["run", "list"]):
        assert f"were last written by {newer.name} {'.'.join(map(str, newer.version))}" in told
        assert "Nothing was changed. Mend: " in told
    assert {path: path.read_bytes() for path in before} == before
    link.unlink()
    link.symlink_to(newer.path)
    with made.up():
        until(lambda: made.states() == {"lead:l1": "failed"})  # what was accepted is there; the CRM has no such lead


def test_the_page_on_upgrades_names_the_number_of_the_data() -> None:
    page = (REPOSITORY / "docs" / "upgrades.md").read_text("utf-8")
    assert f"writes version {CURRENT} of the data" in page.replace("\n", " ")
