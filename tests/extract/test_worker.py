"""The start of a decoder process."""

import subprocess
import sys


def test_a_decoder_process_imports_no_heavy_libraries() -> None:
    """One is started per core and after each crash, so a start must be fast."""
    code = "import sys, extract.decode.worker; print({'torch', 'pydantic', 'h5py', 'PIL'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
