"""Settings of an API node: mistakes are told at start, secrets are not shown."""

from __future__ import annotations

import pytest

from api import settings
from api.__main__ import main
from schemas.errors import SettingsError


def test_addresses_of_neighbours_follow_from_ports() -> None:
    """Unless they are given."""
    found = settings.from_env({"REST_PORT": "7000", "REDIS_PORT": "7001", "KAFKA_PORT": "7002"})
    assert found.storage == "http://127.0.0.1:7000"
    assert found.redis == "redis://127.0.0.1:7001/0"
    assert found.bootstrap == "127.0.0.1:7002"
    found = settings.from_env(
        {
            "STORAGE_EVENTS_HOST": "0.0.0.0",
            "STORAGE_EVENTS_STORAGE_URL": "https://storage/",
            "REDIS_URL": "redis://r/3",
            "KAFKA_BOOTSTRAP": "k:1",
        }
    )
    assert (found.storage, found.redis, found.bootstrap) == (
        "https://storage",
        "redis://r/3",
        "k:1",
    )
    assert settings.ApiSettings(host="0.0.0.0").storage == "http://127.0.0.1:3881"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"STORAGE_EVENTS_API_BASEURL": "x"}, "did you mean STORAGE_EVENTS_API_BASE_URL"),
        ({"API_PORT": "many"}, "API_PORT"),
        ({"STORAGE_EVENTS_API_BODY_BYTES": "1k"}, "STORAGE_EVENTS_API_BODY_BYTES"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL: must begin with redis"),
        ({"STORAGE_EVENTS_STORAGE_URL": "ftp://x"}, "STORAGE_EVENTS_STORAGE_URL"),
        ({"STORAGE_EVENTS_API_BASE_URL": "events.example.org"}, "must begin with http"),
        ({"STORAGE_EVENTS_API_TLS_KEY": "k.pem"}, "go together"),
        ({"STORAGE_EVENTS_SERVER_KEY": "short"}, "at least 32"),
        ({"STORAGE_EVENTS_LOG_LEVEL": "chatty"}, "STORAGE_EVENTS_LOG_LEVEL"),
        ({"STORAGE_EVENTS_API_TRUSTED_PROXIES": "front"}, "STORAGE_EVENTS_API_TRUSTED_PROXIES: "),
        ({"STORAGE_EVENTS_API_METRICS_FOR": "x/9"}, "STORAGE_EVENTS_API_METRICS_FOR: "),
    ],
)
def test_a_mistake_is_told_with_the_variable(environ: dict[str, str], words: str) -> None:
    """At start, not in production."""
    with pytest.raises(SettingsError, match=words):
        settings.from_env(environ)


def test_keys_do_not_show_themselves() -> None:
    """Neither in a repr nor in the help."""
    environ = {"STORAGE_EVENTS_SERVICE_KEY": "hush", "STORAGE_EVENTS_SERVER_KEY": "hush" * 8}
    assert "hush" not in repr(settings.from_env(environ))


def test_the_command_says_what_is_wrong_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, no traceback."""
    monkeypatch.setenv("STORAGE_EVENTS_API_NOPE", "1")
    assert main(["serve"]) == 2
    assert capsys.readouterr().err.startswith("error: STORAGE_EVENTS_API_NOPE: no such setting")


def test_a_certificate_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, no traceback."""
    monkeypatch.setenv("STORAGE_EVENTS_API_TLS_CERTIFICATE", "/nope/cert.pem")
    monkeypatch.setenv("STORAGE_EVENTS_API_TLS_KEY", "/nope/key.pem")
    assert main(["serve"]) == 2
    assert "TLS certificate and key cannot be used" in capsys.readouterr().err


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """From the declarations alone."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "STORAGE_EVENTS_API_CHANNELS_PER_USER" in capsys.readouterr().out
