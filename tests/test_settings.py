"""Settings: what is read from where, what is refused with which words, and the file that lists them."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from sora_ws import peers
from sora_ws.settings import Secret, Settings, WrongSetting, setting_name, shown_default

ENV_FILE = Path(__file__).parents[1] / "conf" / "sora-ws.env"
HOME = {"HOME": "/home/somebody"}


def load(**environ: str) -> Settings:
    """The settings of such an environment alone."""
    return Settings.load(HOME | environ)[0]


def write(folder: Path, text: str) -> Path:
    """A settings file with the text."""
    path = folder / "sora-ws.env"
    path.write_text(text)
    return path


def test_defaults_need_no_configuration() -> None:
    """Without a word: localhost:3001, simulator, SQLite in the XDG state folder."""
    settings = load()
    assert (settings.host, settings.port) == ("localhost", 3001)
    assert settings.simulates
    assert settings.sqlite_path == Path("/home/somebody/.local/state/sora-ws/sora-ws.sqlite3")


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """The file is the base, a variable of the process changes it for this one start."""
    file = write(tmp_path, "PORT=4000\nHOST=0.0.0.0\n")
    settings, warnings = Settings.load(HOME | {"PORT": "5000"}, file)
    assert (settings.host, settings.port, warnings) == ("0.0.0.0", 5000, [])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("sora-2-pro", "sora-2-pro"),
        ("sora-2-pro # the good one", "sora-2-pro"),
        ("sora-2-pro\t# the good one", "sora-2-pro"),
        ("sora#2", "sora#2"),
        ('"sora # 2" # quoted', "sora # 2"),
        ("'sora # 2'", "sora # 2"),
        ("  sora-2-pro  ", "sora-2-pro"),
        ("# nothing but a comment", "sora-2"),
        ("", "sora-2"),
    ],
)
def test_comment_behind_a_value_is_no_part_of_it(tmp_path: Path, written: str, read: str) -> None:
    """The same text means the same in a file and in the environment; an empty one is the default."""
    assert load(SORA_MODEL=written).sora_model == read
    in_file, _ = Settings.load(HOME, write(tmp_path, f"SORA_MODEL={written}\n"))
    assert in_file.sora_model == read


def test_file_may_export_indent_and_comment(tmp_path: Path) -> None:
    """A file that a shell could source is a settings file too."""
    file = write(tmp_path, "# ours\n\n  export PORT = 4000\n\tHOST=::1\n")
    settings, _ = Settings.load(HOME, file)
    assert (settings.port, settings.host) == (4000, "::1")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "http", "PORT is 'http': write a whole number from 0 to 65535"),
        ("PORT", "65536", "PORT is '65536': write a whole number from 0 to 65535"),
        ("PORT", "-1", "PORT is '-1': write a whole number from 0 to 65535"),
        ("PORT", "٣٠٠١", "PORT is '٣٠٠١': write a whole number from 0 to 65535"),
        ("WS_AUTH_TIMEOUT", "10s", "WS_AUTH_TIMEOUT is '10s': write a whole number from 100 to 3600000"),
        ("WS_COMPRESSION", "yes", "WS_COMPRESSION is 'yes': write on or off"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is 'loud': write debug or info or warning or error"),
        ("MESSAGE_LANGUAGE", "fr", "MESSAGE_LANGUAGE is 'fr': write zh or en"),
        ("PUBLIC_URL", "example.com", "PUBLIC_URL is 'example.com': write an address like https://"),
        ("SORA_API_BASE_URL", "ftp://x/v1", "SORA_API_BASE_URL is 'ftp://x/v1': write an address like"),
        ("DATABASE_URL", "postgres://x/y", "DATABASE_URL is 'postgres://x/y': write mongodb://HOST/NAME or"),
        ("DATABASE_URL", "mongodb://host", "DATABASE_URL is 'mongodb://host': write mongodb://HOST/NAME or"),
        ("ALLOWED_ORIGINS", "*", "ALLOWED_ORIGINS is '*': write origins like https://app.example.com"),
        ("ALLOWED_ORIGINS", "https://a.de/x", "ALLOWED_ORIGINS is 'https://a.de/x': write origins like"),
        ("MEDIA_STORE", "s3", "MEDIA_STORE is 's3': write files or gridfs"),
        ("TRUSTED_PROXIES", "nginx", "TRUSTED_PROXIES is 'nginx': write addresses or networks like"),
    ],
)
def test_wrong_value_is_named_in_one_line(name: str, value: str, sentence: str) -> None:
    """The error says which setting, what it holds and what to write instead."""
    with pytest.raises(WrongSetting) as refused:
        load(**{name: value})
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("JWT_SECRET", "short-secret", "short-secret"),
        ("DATABASE_URL", "mongodb://me:pa55@host", "pa55"),
        ("SORA_API_KEY", "sk-two\nlines", "sk-two"),
        ("SORA_API_KEY", "sk-two\rlines", "sk-two"),
        ("SORA_API_KEY", "sk-schlüssel", "sk-schl"),
        ("SORA_API_KEY", "sk-\x00", "sk-"),
    ],
)
def test_secret_stays_out_of_the_error(name: str, value: str, secret: str) -> None:
    """An error that ends in a log names the setting, not the secret in it."""
    with pytest.raises(WrongSetting, match=f"^{name}: write ") as refused:
        load(**{name: value})
    assert secret not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_key_file_of_two_lines_is_refused(tmp_path: Path) -> None:
    """What can't go into a header ends the start, not the first task."""
    secret = tmp_path / "key"
    secret.write_text("sk-first\nsk-second\n")
    with pytest.raises(WrongSetting, match=r"^SORA_API_KEY: write one line of printable ASCII characters$"):
        load(SORA_API_KEY_FILE=str(secret))


def test_only_headers_that_are_read_are_said_to_be() -> None:
    """Each header of a proxy that an operator is told of is one that the server looks at."""
    [about] = [f.metadata["about"] for f in fields(Settings) if f.name == "trusted_proxies"]
    told = set(re.findall(r"X-[\w*-]+", ENV_FILE.read_text() + about))
    assert told == set(re.findall(r'"(X-[\w-]+)"', inspect.getsource(peers)))


def test_secrets_do_not_show_themselves() -> None:
    """The settings can be printed without a secret in the output."""
    settings = load(SORA_API_KEY="sk-hidden", JWT_SECRET="x" * 32)
    assert settings.sora_api_key == Secret("sk-hidden")
    assert "sk-hidden" not in repr(settings)
    assert "x" * 32 not in f"{settings}"


def test_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    """NAME_FILE names the file; the line end that editors leave is no part of the secret."""
    secret = tmp_path / "key"
    secret.write_text("sk-from-file\n")
    key = load(SORA_API_KEY_FILE=str(secret)).sora_api_key
    assert key is not None
    assert key.reveal() == "sk-from-file"


def test_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The start ends with the setting's name and the path."""
    with pytest.raises(WrongSetting, match=r"^SORA_API_KEY_FILE names .*/absent, which can't be read"):
        load(SORA_API_KEY_FILE=str(tmp_path / "absent"))


def test_secret_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    """Two sources of one value are a mistake, not a precedence to know by heart."""
    with pytest.raises(WrongSetting, match=r"^SORA_API_KEY and SORA_API_KEY_FILE are both set: keep one$"):
        load(SORA_API_KEY="a", SORA_API_KEY_FILE=str(tmp_path / "b"))


def test_unknown_name_in_the_file_is_warned_of(tmp_path: Path) -> None:
    """A misspelt setting doesn't stop the start, and the warning has the name that was meant."""
    file = write(tmp_path, "SORA_POLL_INTERVALL=1000\nENTIRELY_ELSE=1\n")
    _, warnings = Settings.load(HOME, file)
    assert warnings == [
        f"{file}: there is no setting SORA_POLL_INTERVALL; did you mean SORA_POLL_INTERVAL?",
        f"{file}: there is no setting ENTIRELY_ELSE",
    ]


def test_unknown_name_in_the_environment_is_none_of_ours() -> None:
    """The environment is shared with everything else on the machine."""
    assert Settings.load(HOME | {"PATH": "/usr/bin"})[1] == []


def test_line_that_is_no_setting_is_named(tmp_path: Path) -> None:
    """The error has file and line number."""
    file = write(tmp_path, "PORT=3001\nHOST localhost\n")
    with pytest.raises(WrongSetting, match=r"line 2: write KEY=value$"):
        Settings.load(HOME, file)


def test_settings_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    """A mistyped --config doesn't start a server with other settings than meant."""
    with pytest.raises(WrongSetting, match=r"absent\.env can't be read"):
        Settings.load(HOME, tmp_path / "absent.env")


def test_shortest_wait_may_not_be_longer_than_the_longest() -> None:
    """Two settings that contradict each other are refused together."""
    with pytest.raises(WrongSetting, match=r"^SORA_POLL_MIN_INTERVAL is 2000, more than SORA_POLL_INTERVAL"):
        load(SORA_POLL_INTERVAL="1000")


@pytest.mark.parametrize("environ", [{}, {"DATABASE_URL": "sqlite:///srv/x.db"}])
def test_videos_in_mongodb_take_a_mongodb(environ: dict[str, str]) -> None:
    """Where tasks are in SQLite the start ends with one line that says what to set."""
    with pytest.raises(
        WrongSetting, match=r"^MEDIA_STORE is gridfs, .* set DATABASE_URL to mongodb://HOST/NAME$"
    ):
        load(MEDIA_STORE="gridfs", **environ)
    assert load(MEDIA_STORE="GridFS", DATABASE_URL="mongodb://localhost/sora").media_store == "gridfs"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIR": "/srv/videos", "STATE_DIRECTORY": "/var/lib/sora-ws"}, "/srv/videos"),
        ({"STATE_DIRECTORY": "/var/lib/sora-ws:/var/lib/second"}, "/var/lib/sora-ws"),
        ({"XDG_STATE_HOME": "/data/state"}, "/data/state/sora-ws"),
        ({}, "/home/somebody/.local/state/sora-ws"),
    ],
)
def test_state_folder(environ: dict[str, str], folder: str) -> None:
    """What is set wins, then systemd's folder, then the XDG state folder."""
    assert load(**environ).state_dir == Path(folder)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("mongodb://localhost/sora", None),
    ],
)
def test_database_is_a_file_or_mongodb(url: str, path: str | None) -> None:
    """An SQLite address names its file by an absolute path, with three slashes or the four of others."""
    assert load(DATABASE_URL=url).sqlite_path == (Path(path) if path else None)


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "C", "MESSAGE_LANGUAGE": "ZH"}, "zh"),
    ],
)
def test_language_follows_the_locale(environ: dict[str, str], language: str) -> None:
    """LC_ALL stands over LANG, and the setting over both."""
    assert load(**environ).message_language == language


def test_lists_are_read_item_by_item() -> None:
    """Blanks and the slash behind an origin don't matter; an address is a network of one."""
    settings = load(
        ALLOWED_ORIGINS=" https://A.example.com/ ,http://localhost:5173",
        TRUSTED_PROXIES="10.0.0.0/8, ::1",
    )
    assert settings.allowed_origins == ("https://a.example.com", "http://localhost:5173")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))


def test_conf_file_holds_every_setting_once_commented() -> None:
    """conf/sora-ws.env is the whole list, and as it comes it changes nothing."""
    listed = re.findall(r"^#([A-Z_]+)=", ENV_FILE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(setting_name(f) for f in fields(Settings))
    assert Settings.load(HOME, ENV_FILE) == Settings.load(HOME)


def test_conf_file_shows_the_defaults(tmp_path: Path) -> None:
    """Each line shows the default; where that depends on the machine, what it is under systemd."""
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", ENV_FILE.read_text(), re.MULTILINE))
    literal = {setting_name(f): shown_default(f) for f in fields(Settings) if not f.metadata["shown"]}
    assert literal.items() <= shown.items()

    uncommented = re.sub(r"^#(?=[A-Z_]+=)", "", ENV_FILE.read_text(), flags=re.MULTILINE)
    environ = {"LANG": "C", "STATE_DIRECTORY": "/var/lib/sora-ws"}
    environ |= {"LOG_FORMAT": "json", "PUBLIC_URL": "http://localhost:3001", "WS_TRANSPORT": "fast"}
    assert Settings.load(environ, write(tmp_path, uncommented)) == Settings.load(environ)
