"""Full disks and read-only folders, with real processes on a real file system."""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from extract.store import read_features
from tests.extract.numbered_clips import make_clip

TESTS = Path(__file__).parent
PROGRAM = TESTS / "run_extraction.py"
# A tmpfs in a separate mount namespace: it disappears with the process, even if that is killed.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=40k none "$out" || exit 77
if [ "$ballast" ]; then head -c 1M /dev/zero > "$out/ballast"; fi
"$python" "$program" "$videos" "$out"
echo "exit code $?"; ls "$out"; cp "$out"/*.h5 "$kept"
"""
AS_NOBODY = """
import os, run_extraction
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
run_extraction.main()
"""


def run_on_a_small_disk(tmp_path: Path, *, ballast: bool) -> subprocess.CompletedProcess[str]:
    for folder in ("videos", "out", "kept"):
        (tmp_path / folder).mkdir()
    make_clip(tmp_path / "videos/long.mp4", 900, size=(96, 96), options={"preset": "ultrafast"})
    make_clip(tmp_path / "videos/short.mp4", 20, size=(96, 96))
    variables = {name: str(tmp_path / name) for name in ("videos", "out", "kept")}
    variables |= {"python": sys.executable, "program": str(PROGRAM), "ballast": "1" if ballast else ""}
    run = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("mounting a file system is not permitted")
    return run


@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces exist on Linux only")
def test_on_a_full_disk_only_the_video_that_does_not_fit_fails(tmp_path: Path) -> None:
    run = run_on_a_small_disk(tmp_path, ballast=False)
    lines = run.stdout.splitlines()
    assert lines[0].startswith("long the features can't be written: [Errno 28] No space left on device")
    assert lines[1:] == ["exit code 0", "failures.csv", "short.h5"]
    assert len(read_features(tmp_path / "kept/short.h5").frame_index) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces exist on Linux only")
def test_a_disk_too_full_for_the_failure_list_is_a_clear_error(tmp_path: Path) -> None:
    run = run_on_a_small_disk(tmp_path, ballast=True)
    assert "InputError: the failure list can't be written to" in run.stderr
    assert re.search(
        r"No space left on device; 2 videos failed, (long|short) first: the features", run.stderr
    )
    assert run.stdout.splitlines() == ["exit code 1", "ballast"]


def test_a_read_only_folder_is_a_clear_error() -> None:
    """Run without root's rights, because root can write to read-only folders."""
    with TemporaryDirectory() as name:  # not tmp_path, which other users can't read
        folder = Path(name)
        make_clip(folder / "a.mp4", 20)
        folder.chmod(0o555)
        run = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder, folder], cwd=TESTS, capture_output=True, text=True
        )
        assert run.returncode == 1
        assert f"InputError: features can't be written to {folder}: Permission denied" in run.stderr
        assert [path.name for path in folder.iterdir()] == ["a.mp4"]
        folder.chmod(0o755)
