"""The library on SQLite and on a real PostgreSQL: videos by content, label history, inbox, migrations."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from extract.manifest import VideoRecord
from flows.demo.footage import ClipPlan, write_clip
from flows.library import pages
from flows.library.database import URL_VARIABLE, database_url, open_database
from flows.library.from_manifest import import_manifest
from flows.library.inbox import scan
from flows.library.labels import clear_labels, import_labels, label_queue, set_labels
from flows.library.library import Library
from flows.library.records import Features, FileRecord, Score, Video, VideoIndex, find_video
from flows.library.tables import Base
from flows.retraining.model_versions import newly_labelled
from tests.postgres import PostgresServer

KNOWN = ("normal", "fire", "riot")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four short videos with different contents."""
    folder = tmp_path_factory.mktemp("clips")
    paths = {name: folder / f"{name}.mp4" for name in ("calm", "burns", "later", "exam")}
    for seed, (name, path) in enumerate(paths.items()):
        write_clip(path, ClipPlan(name, "train", "normal", 8, None, seed))
    return paths


@pytest.fixture(params=["sqlite", "postgresql"])
def library(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Library]:
    """An empty library, in SQLite and in PostgreSQL."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        monkeypatch.setenv(URL_VARIABLE, server.new_database())
    with Library.open(tmp_path / "ws") as opened:
        yield opened


def import_first_manifest(library: Library, clips: dict[str, Path]) -> None:
    """Import a manifest with two training videos and a test video."""
    records = [
        VideoRecord("calm", clips["calm"], ("normal",), "train"),
        VideoRecord("burns", clips["burns"], ("fire",), "train"),
        VideoRecord("exam", clips["exam"], ("fire",), "test"),
    ]
    import_manifest(library, records, Path("no-features"))


def test_the_migrations_create_the_tables_of_the_code(library: Library) -> None:
    options = {"compare_type": True, "compare_server_default": True}
    with library._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        more = sa.MetaData(naming_convention=Base.metadata.naming_convention)
        for table in Base.metadata.tables.values():
            table.to_metadata(more)
        more.tables["videos"].append_column(sa.Column("forgotten", sa.Integer))
        assert len(compare_metadata(context, more)) == 1  # the comparison does find a difference


def test_importing_a_manifest_twice_changes_nothing(library: Library, clips: dict[str, Path]) -> None:
    import_first_manifest(library, clips)
    import_first_manifest(library, clips)
    videos = {video.name: video for video in library.videos()}
    assert {name: (v.split, v.labels) for name, v in videos.items()} == {
        "calm": ("train", ("normal",)),
        "burns": ("train", ("fire",)),
        "exam": ("test", ("fire",)),
    }
    assert videos["calm"].path == clips["calm"]
    assert [entry.source for entry in library.label_history(videos["calm"].digest)] == ["manifest"]


def test_a_test_video_stays_one_under_another_name_split_or_label(
    library: Library, clips: dict[str, Path], tmp_path: Path
) -> None:
    import_first_manifest(library, clips)
    again = shutil.copy(clips["exam"], tmp_path / "again.mp4")
    records = [VideoRecord("again", Path(again), ("normal",), "train")]
    result = import_manifest(library, records, tmp_path)
    assert result.kept_in_test == ["again"]
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(clips["exam"], inbox / "camera.mp4")
    assert scan(library, [inbox], 0).known == [inbox / "camera.mp4"]
    exam = find_video(library.videos(), "exam")
    assert (exam.split, exam.labels) == ("test", ("fire",))
    assert {path.name for path in exam.paths} == {"exam.mp4", "again.mp4", "camera.mp4"}
    library.set_split(exam.digest, "train")
    with pytest.raises(ValueError, match="exam is a test video"):
        set_labels(library, "camera.mp4", "normal", allowed=KNOWN)
    (tmp_path / "labels.csv").write_text("video,labels\nagain.mp4,normal\n")
    assert import_labels(library, tmp_path / "labels.csv", allowed=KNOWN).test == ["exam"]
    exam = find_video(library.videos(), "exam")
    assert (exam.split, exam.labels) == ("test", ("fire",))


def test_a_scan_records_each_content_once_and_lists_the_other_files(
    library: Library, clips: dict[str, Path], tmp_path: Path
) -> None:
    import_first_manifest(library, clips)
    inbox = tmp_path / "inbox"
    (inbox / "camera-2").mkdir(parents=True)
    for target in ("calm.mp4", "other-name.mp4", "camera-2/later.mp4", ".hidden.mp4", "notes.txt"):
        source = {"calm.mp4": "later", "notes.txt": "calm"}.get(target, "later")
        shutil.copy(clips[source], inbox / target)
    (inbox / "broken.mp4").write_bytes(b"no video at all" * 50)
    (inbox / "empty.mp4").touch()
    first = scan(library, [inbox], 0)
    digest = find_video(library.videos(), str(inbox / "calm.mp4")).digest
    # Three files with one content; the name `calm` is taken by another video.
    assert first.new == [f"calm-{digest[:8]}"]
    assert len(first.known) == 2
    assert list(first.unreadable) == [inbox / "broken.mp4"]
    assert first.deferred == [inbox / "empty.mp4"]
    second = scan(library, [inbox], 0)
    assert (second.new, len(second.known), second.unreadable) == ([], 4, {})
    assert len(library.videos()) == 5
    assert find_video(library.videos(), "broken.mp4").problem
    with pytest.raises(ValueError, match="broken is not a usable video"):
        set_labels(library, "broken.mp4", "fire", allowed=KNOWN)
    with pytest.raises(FileNotFoundError, match="no inbox folder"):
        scan(library, [tmp_path / "nowhere"], 0)


def test_a_file_that_is_still_being_written_is_deferred(clips: dict[str, Path], tmp_path: Path) -> None:
    slowly = """
import os, sys, time
content = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as out:
    for start in range(0, len(content), len(content) // 20):
        out.write(content[start : start + len(content) // 20]); out.flush(); time.sleep(0.1)
os.utime(sys.argv[2], (0, 0))  # old times, as `cp -p` sets them
"""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with (
        Library.open(tmp_path / "ws") as library,
        subprocess.Popen(
            [sys.executable, "-c", slowly, str(clips["later"]), str(inbox / "later.mp4")]
        ) as writer,
    ):
        while not (inbox / "later.mp4").exists():
            time.sleep(0.02)
        seen = []
        while writer.poll() is None:
            seen.append(scan(library, [inbox], 1.0))
            time.sleep(0.2)
        assert seen
        assert all(one.deferred == [inbox / "later.mp4"] and not one.new for one in seen)
        assert scan(library, [inbox], 1.0).deferred == [inbox / "later.mp4"]
        time.sleep(1.1)
        assert scan(library, [inbox], 1.0).new == ["later"]
        assert (
            find_video(library.videos(), "later").digest
            == find_video(library.videos(), str(inbox / "later.mp4")).digest
        )


def test_a_file_replaced_in_place_is_a_new_video(
    library: Library, clips: dict[str, Path], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    shutil.copy(clips["later"], inbox / "a.mp4")
    scan(library, [inbox], 0)
    set_labels(library, "a", "fire", allowed=KNOWN)
    shutil.copy(clips["calm"], inbox / "a.mp4")
    (new,) = scan(library, [inbox], 0).new
    assert new.startswith("a-")
    assert {video.name: video.labels for video in library.videos()} == {"a": ("fire",), new: None}
    assert find_video(library.videos(), str(inbox / "a.mp4")).name == new


def test_the_label_history_keeps_person_time_and_source(
    library: Library, clips: dict[str, Path], tmp_path: Path
) -> None:
    import_first_manifest(library, clips)
    video, changed = set_labels(library, "calm", "fire", allowed=KNOWN, by="ada")
    assert changed
    assert not set_labels(library, "calm", "fire", allowed=KNOWN, by="bob")[1]
    path = tmp_path / "labels.csv"
    path.write_text(f"video,labels\n{video.digest[:10]},normal\n{clips['burns']},fire|riot\n")
    result = import_labels(library, path, allowed=KNOWN, by="eve")
    assert (result.changed, result.unchanged) == (["calm", "burns"], [])
    history = library.label_history(video.digest)
    assert [(said.labels, said.by, said.source) for said in history] == [
        (("normal",), "manifest", "manifest"),
        (("fire",), "ada", "command line"),
        (("normal",), "eve", "labels.csv"),
    ]
    assert all(said.at.endswith("+00:00") for said in history)
    import_first_manifest(library, clips)  # the manifest's labels have not changed: the person's labels stay
    assert find_video(library.videos(), "burns").labels == ("fire", "riot")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("video,labels\ncalm,normal\nnowhere,fire\n", r"line 3: no video 'nowhere' in the library"),
        ("video,labels\ncalm,fire\nburns,fier\n", r"line 3: no video has the label fier yet"),
        ("video,labels\ncalm,normal|fire\n", r"line 2: .*`normal` excludes"),
        ("video,label\ncalm,normal\n", r"no column labels"),
        ("video,labels\nburns,riot,fire\n", r"line 2: expected 2 values .*join several labels by `|`"),
        ('video,labels\nburns,"riot,fire"\n', r"line 2: .*join several labels by `|`"),
        ("video,labels\nburns,riot;fire\n", r"line 2: .*join several labels by `|`"),
        ("video;labels\nburns;riot;fire\n", r"line 2: expected 2 values .*join several labels by `|`"),
        (
            "video,labels\nburns,riot\ncalm,normal\nburns.mp4,fire\n",
            r"line 4: burns has the labels 'fire' here and 'riot' in line 2",
        ),
        ("video,labels\nburns,\n", r"line 2: labels are ''"),
        (b"video,labels\ncalm,normal\nburns,\xe9\n", r"labels.csv, line 3: not UTF-8"),
    ],
)
def test_an_invalid_label_file_changes_nothing(
    rows: str | bytes, complaint: str, clips: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    with Library.open(tmp_path / "ws") as library:
        import_first_manifest(library, clips)
        with pytest.raises(ValueError, match=complaint):
            import_labels(library, tmp_path / "labels.csv", allowed=KNOWN)
        assert all(len(library.label_history(video.digest)) == 1 for video in library.videos())


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Video;Labels\r\ncalm;fire\r\n\r\nburns; riot|fire\r\nburns.mp4;fire|riot\r\n", "utf-16"),
        ("video\tlabels\ncalm\tfire\nburns\tRiot|fire\n\t\n", "utf-8-sig"),
    ],
)
def test_a_label_file_is_read_as_spreadsheets_write_it(
    text: str, encoding: str, clips: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    with Library.open(tmp_path / "ws") as library:
        import_first_manifest(library, clips)
        result = import_labels(library, tmp_path / "labels.csv", allowed=KNOWN)
        assert (result.changed, result.unchanged) == (["calm", "burns"], [])
        assert find_video(library.videos(), "burns").labels == ("riot", "fire")


def test_cleared_labels_are_gone_and_stay_in_the_history(library: Library, clips: dict[str, Path]) -> None:
    import_first_manifest(library, clips)
    set_labels(library, "burns", "riot", allowed=KNOWN, by="ada")
    assert [video.name for video in clear_labels(library, ["burns", "calm", "burns"], by="bob")] == [
        "burns",
        "calm",
    ]
    assert clear_labels(library, ["burns"]) == []
    burns = find_video(library.videos(), "burns")
    assert burns.labels is None
    assert [item.video.name for item in label_queue(library, None)] == ["burns", "calm"]
    history = [(entry.labels, entry.by) for entry in library.label_history(burns.digest)]
    assert history == [(("fire",), "manifest"), (("riot",), "ada"), ((), "bob")]
    import_first_manifest(library, clips)  # the manifest has not changed: the labels stay cleared
    assert find_video(library.videos(), "burns").labels is None
    with pytest.raises(ValueError, match="exam is a test video"):
        clear_labels(library, ["calm", "exam"])
    with pytest.raises(ValueError, match="no video 'nowhere'"):
        clear_labels(library, ["calm", "nowhere"])
    assert set_labels(library, "burns", "fire", allowed=KNOWN)[1]


def test_an_audit_video_is_never_trained_on(library: Library, clips: dict[str, Path], tmp_path: Path) -> None:
    rows = [("exam", "test"), ("later", "audit"), ("calm", "train")]
    records = [VideoRecord(name, clips[name], ("fire",), split) for name, split in rows]
    import_manifest(library, records, tmp_path)
    later = find_video(library.videos(), "later")
    assert (later.split, later.held_out) == ("audit", True)
    moved = [VideoRecord("later", clips["later"], ("fire",), "train"), records[0]]
    assert import_manifest(library, moved, tmp_path).kept_in_audit == ["later"]
    with pytest.raises(ValueError, match="later is an audit video"):
        set_labels(library, "later", "normal", allowed=KNOWN)
    assert newly_labelled(library.videos(), []) == [find_video(library.videos(), "calm")]


def test_the_queue_lists_unscored_videos_first_and_then_by_decreasing_entropy(
    library: Library, clips: dict[str, Path], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in ("calm", "burns", "later"):
        shutil.copy(clips[name], inbox)
    scan(library, [inbox], 0)
    digest = {video.name: video.digest for video in library.videos()}
    scores = {digest["calm"]: Score(0.1, "normal", 0.4), digest["burns"]: Score(0.6, "fire", 1.5)}
    library.write_scores("model", scores)
    library.write_scores("model", scores)
    assert [one.video.name for one in label_queue(library, "model")] == ["later", "burns", "calm"]
    assert library.scores("model") == scores
    set_labels(library, "burns", "fire", allowed=KNOWN)
    assert [one.video.name for one in label_queue(library, "model")] == ["later", "calm"]
    assert [one.video.name for one in label_queue(library, "model", 1)] == ["later"]
    assert library.count_unlabelled() == 2


def without_mean(library: Library) -> set[str]:
    """Videos with recorded features that lack the mean."""
    return {one.video for one in library.recorded_features() if one.digest and not one.has_mean}


def test_the_mean_of_features_is_kept_to_the_last_bit(library: Library, clips: dict[str, Path]) -> None:
    import_first_manifest(library, clips)
    calm, burns = (find_video(library.videos(), name).digest for name in ("calm", "burns"))
    features = Features("f" * 64, "e" * 16, 3, 1.5)
    library.write_features({calm: features, burns: features})
    assert library.features() == {calm: features, burns: features}
    assert without_mean(library) == {calm, burns}
    means = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    library.write_features({burns: replace(features, mean=means[1])})
    library.write_features({calm: replace(features, mean=means[0])})
    assert without_mean(library) == set()
    assert np.array_equal(library.mean_features([burns, calm]), means[::-1])
    assert library.mean_features([]).shape == (0, 512)


def test_reading_in_pages_gives_the_same_videos(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"v{number:02}" for number in range(23)]
    for number, name in enumerate(reversed(names)):
        file = FileRecord(tmp_path / f"{name}.mp4", f"{number:064}", 1, 2)
        library.add_file(file, name=name, split="train", problem="crashed" if number % 5 == 0 else "")
        library.add_file(replace(file, path=tmp_path / f"copy-{name}.mp4"), name=name, split="train")
    labels = {f"{number:064}": ("fire", "riot") for number in range(0, 23, 2)}
    library.add_labels(labels, by="ada", source="test")
    videos, problems = library.videos(), library.problems()
    assert [video.name for video in videos] == names
    assert videos[0].paths == (tmp_path / "copy-v00.mp4", tmp_path / "v00.mp4")
    assert [problem.video for problem in problems] == [video for video in videos if video.problem]
    assert len(problems) == 5
    for function in (pages.video_page, pages.in_pages):
        monkeypatch.setattr(function, "__defaults__", (4,) if function is pages.in_pages else None)
    monkeypatch.setattr(pages.video_page, "__kwdefaults__", {"size": 4})
    assert library.videos() == videos
    assert library.problems() == problems
    assert library.labels_in_use() == {"fire", "riot"}
    assert library.usable_names(names) == {video.name for video in videos if not video.problem}
    assert len(library.recorded_files(path for video in videos for path in video.paths)) == 46
    unlabelled = [video for video in videos if not video.labels and not video.problem]
    assert [item.video for item in label_queue(library, None)] == unlabelled
    assert library.add_labels(labels, by="ada", source="test") == set()


def statements(library: Library) -> list[str]:
    """The SQL statements that the library executes from now on."""
    executed: list[str] = []
    sa.event.listen(
        library._engine, "before_cursor_execute", lambda *arguments: executed.append(arguments[2])
    )
    return executed


def test_a_rerun_needs_a_few_queries_however_many_videos_there_are(tmp_path: Path) -> None:
    records, inbox = [], tmp_path / "inbox"
    inbox.mkdir()
    for number in range(40):
        path = tmp_path / f"v{number}.mp4"
        path.write_bytes(b"%d" % number)
        records.append(VideoRecord(path.stem, path, ("normal",), "train"))
        shutil.copy(path, inbox)
    with Library.open(tmp_path / "ws") as library:
        assert import_manifest(library, records, tmp_path).added == 40
        assert len(scan(library, [inbox], 0).known) == 40
        executed = statements(library)
        assert import_manifest(library, records, tmp_path).added == 0
        assert len(scan(library, [inbox], 0).known) == 40
        assert len(library.videos()) == 40
        assert len([one for one in executed if one.startswith("SELECT")]) < 12


def test_a_transaction_is_applied_completely_or_not_at_all(library: Library, clips: dict[str, Path]) -> None:
    import_first_manifest(library, clips)
    digest = find_video(library.videos(), "calm").digest

    def fail_in_the_middle() -> None:
        with library.transaction():
            library.add_labels({digest: ("riot",)}, by="ada", source="test")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    assert find_video(library.videos(), "calm").labels == ("normal",)


def test_several_processes_may_create_the_library_at_the_same_time(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from flows.library.library import Library\n"
    script += "with Library.open(Path(sys.argv[1])) as library: library.videos()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in running] == [(b"", 0)] * 4


def test_an_error_about_the_database_hides_the_password(postgres: PostgresServer, tmp_path: Path) -> None:
    url = database_url(tmp_path, postgres.new_database()).set(password="wrong-secret")
    with pytest.raises(
        ValueError, match=r"postgres:\*\*\*@127.0.0.1.*password authentication failed"
    ) as told:
        open_database(url)
    assert "wrong-secret" not in str(told.value)
    in_option = url.set(password=None, query={"password": "other-secret"})
    with pytest.raises(ValueError, match="password authentication failed") as told:
        open_database(in_option)
    assert "secret" not in str(told.value)
    with pytest.raises(ValueError, match=r"cannot be opened: .*no_such_option"):
        open_database(url.set(query={"no_such_option": "x"}))
    assert database_url(tmp_path, "postgresql+asyncpg://me@host/db").drivername == "postgresql+psycopg"
    with pytest.raises(ValueError, match="sqlite or postgresql, not mysql"):
        database_url(tmp_path, "mysql://me:secret@host/db")
    with pytest.raises(ValueError, match="not a database URL") as told:
        database_url(tmp_path, "secret nonsense")
    assert "secret" not in str(told.value)


def test_a_library_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with Library.open(tmp_path):
        pass
    engine = open_database(database_url(tmp_path))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ValueError, match="made by a later version of dsanet"), Library.open(tmp_path):
        pass
    assert URL_VARIABLE not in os.environ


def test_an_index_finds_by_name_path_file_name_and_digest() -> None:
    videos = [
        Video(f"v{n}", f"{n:064x}", "train", None, "", (Path(f"/a/v{n}.mp4"), Path(f"/b{n}/cam.mp4")))
        for n in range(3)
    ]
    index = VideoIndex(videos)
    for reference in ("v1", "v1.mp4", "/a/v1.mp4", "/b1/cam.mp4", f"{1:064x}", f"{1:064X}"):
        assert index.find(reference) == videos[1]
    for reference in ("cam.mp4", "0" * 8):
        with pytest.raises(ValueError, match="matches v0, v1, v2; give a full name"):
            index.find(reference)
    for reference in ("v", "0" * 7, "f" * 8, ""):
        with pytest.raises(ValueError, match="no video"):
            index.find(reference)


def test_many_videos_are_looked_up_without_searching_all() -> None:
    """10,000 look-ups among 10,000 videos took minutes when each compared every path."""
    videos = [
        Video(f"v{n}", f"{n * 7919:064x}", "train", None, "", (Path(f"/footage/v{n}.mp4"),))
        for n in range(10_000)
    ]
    index, began = VideoIndex(videos), time.perf_counter()
    assert [index.find(video.name) for video in videos] == videos
    assert time.perf_counter() - began < 10
