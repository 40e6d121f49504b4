"""A forked rank behaves as `python script.py` does, and so does one in a fresh interpreter."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.preloading import Bench

from opengrid.core.spec import Program, ProgramKind

IDENTITY = """
    import os, pickle, sys
    import helper
    from package import thing
    class P: pass
    assert __name__ == "__main__" and sys.modules["__main__"].P is P
    assert isinstance(pickle.loads(pickle.dumps(P())), P)
    assert __spec__ is None and __file__ == os.path.join(os.getcwd(), "script.py"), __file__
    assert sys.path[0] == os.path.realpath(os.getcwd()), sys.path
    assert sys.argv == ["script.py", "--gpus", "2", "a b"], sys.argv
    assert os.path.samefile(sys.executable, PYTHON) if (PYTHON := os.environ["EXPECTED_PYTHON"]) else 0
    assert not [m for m in sys.modules if m.split(".")[0] == "opengrid"]
    assert not [p for p in sys.path if p.endswith(".pyz")]
    assert sys.path.index(os.environ["PYTHONPATH"]) == 1
    import elsewhere
    assert os.environ["ONLY"] == "this" and "GRID_TEMPLATE" not in os.environ
    assert sys.stdin.read() == ""
    assert os.getpgid(0) == os.getpid()
    print("fine", helper.VALUE, thing.VALUE)
"""


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_a_script_finds_itself_and_its_neighbours_as_under_python(
    plain_bench: Bench, tmp_path: Path, preloaded: bool
) -> None:
    bench = plain_bench
    bench.write("helper.py", "VALUE = 1")
    bench.write("package/__init__.py", "")
    bench.write("package/thing.py", "from . import other\nVALUE = other.VALUE")
    bench.write("package/other.py", "VALUE = 2")
    bench.write("lib/elsewhere.py", "")
    code = bench.script(
        IDENTITY,
        "--gpus",
        "2",
        "a b",
        preloaded=preloaded,
        ONLY="this",
        PYTHONPATH=str(tmp_path / "lib"),
        EXPECTED_PYTHON=sys.executable,
    )
    assert code == 0, bench.err()
    assert bench.out() == "fine 1 2\n"
    assert bench.started[0].launch == ("fork" if preloaded else "exec")


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_a_module_runs_as_under_python_m(plain_bench: Bench, preloaded: bool) -> None:
    bench = plain_bench
    bench.write("pkg/__init__.py", "")
    bench.write("pkg/near.py", "VALUE = 3")
    bench.write(
        "pkg/mod.py",
        """
        import sys, os
        from .near import VALUE
        assert __spec__.name == "pkg.mod" and __package__ == "pkg" and __name__ == "__main__"
        assert sys.argv == [os.path.abspath("pkg/mod.py"), "x"], sys.argv
        assert sys.path[0] == os.getcwd()
        print(VALUE)
        """,
    )
    program = Program(kind=ProgramKind.MODULE, target="pkg.mod", arguments=("x",))
    assert bench.finish(bench.rank(program, preloaded=preloaded)) == 0, bench.err()
    assert bench.out() == "3\n"


def test_a_module_that_does_not_exist_is_reported_in_pythons_words(plain_bench: Bench) -> None:
    assert plain_bench.finish(plain_bench.rank(Program(kind=ProgramKind.MODULE, target="no.such"))) == 1
    assert "Error while finding module specification for 'no.such'" in plain_bench.err()


def test_a_script_that_does_not_exist_exits_with_2_as_under_python(plain_bench: Bench) -> None:
    assert plain_bench.finish(plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="gone.py"))) == 2
    assert "can't open file" in plain_bench.err()
    assert "[Errno 2] No such file or directory" in plain_bench.err()


@pytest.mark.parametrize(
    ("last_line", "code", "said"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(256 + 7)", 7, ""),
        ("sys.exit('too bad')", 1, "too bad\n"),
        ("os._exit(9)", 9, ""),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("os.execv('/bin/sh', ['/bin/sh', '-c', 'exit 5'])", 5, ""),
        ("os.fork() or sys.exit(4)", 0, ""),
    ],
)
def test_exit_codes_are_pythons(plain_bench: Bench, last_line: str, code: int, said: str) -> None:
    assert plain_bench.script(f"import os, signal, sys\n{last_line}") == code
    assert plain_bench.err().endswith(said)


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_an_uncaught_exception_leaves_pythons_traceback_and_torchs_error_file(
    plain_bench: Bench, preloaded: bool
) -> None:
    bench = plain_bench
    text = """
        import json
        def read():
            return json.loads("{")
        try:
            read()
        except ValueError as error:
            raise RuntimeError("no config") from error
    """
    assert bench.script(text, preloaded=preloaded) == 1
    lines = bench.err().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "RuntimeError: no config"
    assert "opengrid" not in bench.err()
    assert "runpy" not in bench.err()
    message = json.loads((bench.directory / "0.error.json").read_text())["message"]
    assert message["message"] == "RuntimeError: no config"
    extra = message["extraInfo"]
    assert extra["py_callstack"] == bench.err()
    assert extra["frame"] == {"file": str(bench.directory / "script.py"), "line": 8, "function": "<module>"}
    assert (extra["exception_type"], extra["exception_message"], extra["rank"]) == ("RuntimeError", "no config", 0)
    assert extra["timestamp"] == str(extra["timestamp_ns"] // 10**9)
    assert extra["pid"] == bench.started[0].pid


def test_the_frame_of_an_error_is_the_users_innermost_one(plain_bench: Bench) -> None:
    plain_bench.write("helper.py", "import json\ndef load(text):\n    return json.loads(text)\n")
    assert plain_bench.script("import helper\nhelper.load('{')") == 1
    extra = json.loads((plain_bench.directory / "0.error.json").read_text())["message"]["extraInfo"]
    assert extra["frame"] == {"file": str(plain_bench.directory / "helper.py"), "line": 3, "function": "load"}


def test_a_syntax_error_is_shown_as_python_shows_it(plain_bench: Bench) -> None:
    assert plain_bench.script("x = 1\nif:\n") == 1
    assert plain_bench.err().startswith(f'  File "{plain_bench.directory}/script.py", line 2\n')
    extra = json.loads((plain_bench.directory / "0.error.json").read_text())["message"]["extraInfo"]
    assert extra["frame"]["line"] == 2


def test_a_script_may_replace_the_excepthook(plain_bench: Bench) -> None:
    text = "import sys\nsys.excepthook = lambda t, v, tb: print('mine', v, tb.tb_lineno)\n1 / 0"
    assert plain_bench.script(text) == 1
    assert plain_bench.out() == "mine division by zero 3\n"
    assert plain_bench.err() == ""


def test_the_end_is_pythons_threads_then_atexit_then_open_files(plain_bench: Bench) -> None:
    text = """
        import atexit, threading, time, multiprocessing
        file = open("left_open.txt", "w"); file.write("kept")
        class Last:
            def __del__(self): print("finalized")
        last = Last()
        atexit.register(print, "atexit")
        def late():
            go.wait(); print("thread")
        go = threading.Event()
        threading.Thread(target=late).start()
        process = multiprocessing.get_context("fork").Process(target=print, args=("child",)); process.start()
        go.set()
        print("end of script")
    """
    assert plain_bench.script(text) == 0, plain_bench.err()
    lines = plain_bench.out().splitlines()
    assert lines.index("end of script") < lines.index("atexit") < lines.index("finalized")
    assert lines.index("thread") < lines.index("atexit")
    assert "child" in lines
    assert (plain_bench.directory / "left_open.txt").read_text() == "kept"


def test_output_is_prompt_and_appended(plain_bench: Bench) -> None:
    (plain_bench.directory / "0.out").write_text("before\n")
    plain_bench.write(
        "script.py", "import sys\nprint('prompt')\nsys.stdout.write('50%\\r')\nimport time\ntime.sleep(600)"
    )
    plain_bench.start(plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py")))
    plain_bench.until(lambda: plain_bench.out() == "before\nprompt\n50%\r")


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_the_command_line_shows_experiment_rank_and_script(plain_bench: Bench, preloaded: bool) -> None:
    plain_bench.write("script.py", "print('up')\nimport time\ntime.sleep(600)")
    plain_bench.start(plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py"), 3, preloaded=preloaded))
    plain_bench.until(lambda: "up" in plain_bench.out(3))
    proc = Path(f"/proc/{plain_bench.started[3].pid}")
    assert proc.joinpath("cmdline").read_bytes().rstrip(b"\0") == b"grid brave-otter rank 3: script.py"
    assert proc.joinpath("comm").read_text() == "rank3 script.py\n"


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_stacks_of_a_hanging_rank_can_be_had(plain_bench: Bench, preloaded: bool) -> None:
    plain_bench.write("script.py", "import time\ndef hang():\n    print('up')\n    time.sleep(600)\nhang()")
    plain_bench.start(plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py"), preloaded=preloaded))
    plain_bench.launcher.dump_stacks()  # before the interpreter is up, too: it must not die of it
    plain_bench.until(lambda: "up" in plain_bench.out())
    plain_bench.launcher.dump_stacks()
    stacks = plain_bench.directory / "0.stacks"
    plain_bench.until(lambda: f'"{plain_bench.directory}/script.py", line 4 in hang' in stacks.read_text())


def test_a_program_that_has_become_another_by_exec_does_not_die_of_being_asked_for_stacks(plain_bench: Bench) -> None:
    shell = "trap 'exit 3' USR1; echo up; sleep 600 & wait"
    plain_bench.write("script.py", f"import os\nos.execv('/bin/sh', ['sh', '-c', {shell!r}])")
    plain_bench.start(plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py")))
    plain_bench.until(lambda: "up" in plain_bench.out())
    plain_bench.launcher.dump_stacks()
    plain_bench.launcher.signal(signal.SIGUSR1)  # arrives after the other, which would have been its end
    plain_bench.until(lambda: 0 in plain_bench.exited)
    assert plain_bench.exited[0].exit_code == 3


def test_a_crash_leaves_the_stacks_on_stderr(plain_bench: Bench) -> None:
    assert plain_bench.script("import ctypes\nctypes.string_at(0)") == -11
    assert "Fatal Python error: Segmentation fault" in plain_bench.err()
    assert "script.py" in plain_bench.err()


def test_an_executable_runs_with_default_signals_and_the_given_environment_only(plain_bench: Bench) -> None:
    program = Program(
        kind=ProgramKind.EXECUTABLE,
        target="/bin/sh",
        arguments=("-c", "env; grep -E 'Sig(Ign|Blk)' /proc/self/status; exit 6"),
    )
    assert plain_bench.finish(plain_bench.rank(program, ONLY="this")) == 6
    assert "ONLY=this" in plain_bench.out()
    assert "GRID_TEMPLATE" not in plain_bench.out()
    masks = [int(line.split()[1], 16) for line in plain_bench.out().splitlines() if line.startswith("Sig")]
    reserved = 0b11 << 31  # signals 32 and 33 are the C library's own; make ignores them for its children
    assert [mask & ~reserved for mask in masks] == [0, 0]
    assert (plain_bench.started[0].launch, plain_bench.started[0].reason) == ("exec", "not a Python program")


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("./gone", 127, "grid: ./gone: No such file or directory\n"),
        ("./readable", 126, "grid: ./readable: Permission denied\n"),
        ("no-such-command", 127, "No such file or directory\n"),
    ],
)
def test_a_program_that_cannot_be_executed_fails_as_in_a_shell(
    plain_bench: Bench, target: str, code: int, said: str
) -> None:
    plain_bench.write("readable", "x").chmod(0o644)
    assert plain_bench.finish(plain_bench.rank(Program(kind=ProgramKind.EXECUTABLE, target=target))) == code
    assert plain_bench.err().endswith(said)


def test_a_shell_script_without_interpreter_line_runs(plain_bench: Bench) -> None:
    plain_bench.write("run.sh", "echo $1").chmod(0o755)
    assert (
        plain_bench.finish(plain_bench.rank(Program(kind=ProgramKind.EXECUTABLE, target="./run.sh", arguments=("hi",))))
        == 0
    )
    assert plain_bench.out() == "hi\n"


def test_a_folder_that_is_missing_is_said_on_stderr(plain_bench: Bench) -> None:
    plain_bench.write("script.py", "")
    rank = plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py"))
    gone = replace(rank, directory="/no/such/folder")
    assert plain_bench.finish(gone) == 125
    assert "cannot start rank 0: /no/such/folder: No such file or directory" in plain_bench.err()


def test_a_rank_is_a_fresh_process_when_a_neighbour_takes_the_place_of_a_loaded_module(plain_bench: Bench) -> None:
    plain_bench.write("argparse.py", "MINE = True")
    assert plain_bench.script("import argparse\nassert argparse.MINE") == 0, plain_bench.err()
    assert plain_bench.started[0].launch == "exec"
    assert plain_bench.started[0].reason.endswith("argparse takes the place of the preloaded argparse")


def test_a_rank_is_a_fresh_process_when_a_variable_is_read_while_loading(plain_bench: Bench) -> None:
    assert plain_bench.script("import sys\nassert sys.flags.hash_randomization == 0", PYTHONHASHSEED="0") == 0, (
        plain_bench.err()
    )
    assert plain_bench.started[0].reason == "PYTHONHASHSEED is read while libraries load"


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_an_overlay_folder_is_importable_with_its_path_files(plain_bench: Bench, preloaded: bool) -> None:
    plain_bench.write("overlay/extra_package.py", "VALUE = 1")
    plain_bench.write("overlay/more.pth", str(plain_bench.directory / "further"))
    plain_bench.write("further/further_package.py", "VALUE = 2")
    plain_bench.write(
        "script.py", "import extra_package, further_package\nprint(extra_package.VALUE, further_package.VALUE)"
    )
    rank = plain_bench.rank(
        Program(kind=ProgramKind.SCRIPT, target="script.py"),
        preloaded=preloaded,
        overlay=plain_bench.directory / "overlay",
    )
    assert plain_bench.finish(rank) == 0, plain_bench.err()
    assert plain_bench.out() == "1 2\n"


@pytest.mark.parametrize("preloaded", [True, False], ids=["fork", "exec"])
def test_an_overlay_comes_behind_the_standard_library_and_before_installed_packages(
    plain_bench: Bench, preloaded: bool
) -> None:
    overlay = plain_bench.directory / "overlay"
    plain_bench.write("overlay/wave.py", "MINE = True")
    plain_bench.write("overlay/pytest/__init__.py", "MINE = True")
    plain_bench.write("script.py", "import pytest, wave\nprint(hasattr(pytest, 'MINE'), hasattr(wave, 'MINE'))")
    rank = plain_bench.rank(Program(kind=ProgramKind.SCRIPT, target="script.py"), preloaded=preloaded, overlay=overlay)
    environment = {**rank.environment, "PYTHONPATH": str(overlay)}

    assert plain_bench.finish(replace(rank, environment=environment)) == 0, plain_bench.err()
    assert plain_bench.out() == "True False\n"
