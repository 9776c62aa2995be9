"""The decoder process itself."""

import subprocess
import sys


def test_a_decoder_process_loads_no_more_than_it_needs() -> None:
    """One is started for every core, and again after each crash: it is to be there at once."""
    code = "import sys, extract.decode.worker; print({'torch', 'pydantic', 'h5py', 'PIL'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
