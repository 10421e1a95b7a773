import re
from pathlib import Path

import pytest

from shared.settings import Settings, SettingsError, table, unknown_names

ROOT = Path(__file__).parent.parent.parent


def test_defaults_are_the_originals_where_it_has_one() -> None:
    settings = Settings.from_environ({})
    assert (settings.input_batch, settings.queue_size, settings.server_port) == (32, 128, 8001)
    assert (str(settings.model), settings.preprocess, settings.minimum_threshold) == (
        "/model.h5",
        "inception_v3",
        0.5,
    )


def test_variables_are_read_once_typed() -> None:
    environ = {
        "INPUT_BATCH": "64",
        "SCHEDULER_FLUSH_INTERVAL": "0.5",
        "INPUT_COLOR": "BGR",
        "INPUT_WIDTH": " 224 ",
    }
    settings = Settings.from_environ(environ)
    assert (settings.input_batch, settings.flush_interval, settings.input_color) == (64, 0.5, "bgr")
    assert settings.input_width == 224 and settings.input_height is None


def test_an_empty_variable_is_unset() -> None:
    assert Settings.from_environ({"INPUT_BATCH": ""}).input_batch == 32


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("INPUT_BATCH", "0", "from 1 to 1024"),
        ("INPUT_BATCH", "many", "a whole number"),
        ("INPUT_CHANNELS", "2", "1 .* or 3"),
        ("INFERENCE_MINIMUM_THRESHOLD", "nan", "from 0 to 1"),
        ("INFERENCE_PREPROCESS", "inception", "did you mean inception_v3"),
        ("SERVER_PORT", "70000", "65535"),
    ],
)
def test_a_wrong_value_names_variable_value_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{value}' is not allowed: .*{allowed}"):
        Settings.from_environ({name: value})


@pytest.mark.parametrize(
    "url",
    [
        "s3cret@localhost:6379",
        "http://:s3cret@localhost",
        pytest.param("redis://:s3cret/x@localhost:6379", id="a slash in the password"),
        pytest.param("redis://:s3cret@localhost:s3cret", id="a port that is no number"),
        pytest.param("redis://:s3cret@localhost/0?ssl_ca_cert=s3cret", id="an unknown option"),
        pytest.param("rediss://:s3cret@localhost/0?ssl_cert_reqs=s3cret", id="an unknown value"),
        pytest.param("redis://:s3cret@[localhost", id="half an address"),
        pytest.param("redis+sentinel://:s3cret@a:26379,b:26379", id="Sentinels without a service"),
        pytest.param("redis+sentinel://:s3cret@a:26379,/mymaster", id="Sentinels, and an empty one"),
        pytest.param(
            "redis+sentinel://:s3cret@a:26379,b:s3cret/mymaster", id="a Sentinel's port that is no number"
        ),
        pytest.param("redis+sentinel://:s3/cret@a:26379/mymaster", id="a slash in the password, Sentinels"),
        pytest.param("redis+sentinel://:s3cret@a:26379/mymaster/0/s3cret", id="Sentinels, and a path"),
        pytest.param(
            "redis+sentinel://a/mymaster?sentinel_pasword=s3cret", id="an unknown option of Sentinels"
        ),
        pytest.param(
            "redis://localhost/0?sentinel_password=s3cret", id="Sentinels' option without Sentinels"
        ),
    ],
)
def test_a_wrong_redis_url_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"REDIS_URL": url})
    assert str(caught.value).startswith("REDIS_URL is not allowed: expected redis://")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:s3cret@host:6379/1?protocol=3",
        "rediss://:a%2Fb@host:6380/0?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required",
        "unix:///run/redis.sock",
        "unix://:s3cret@/run/redis.sock?db=2",
        "redis+sentinel://user:s3cret@a:26379,b,[::1]:26380/mymaster/1?sentinel_password=s3cret",
        "rediss+sentinel://:a%2Fb@a:26379/mymaster?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_a_redis_url_stands_in_no_repr(url: str) -> None:
    settings = Settings.from_environ({"REDIS_URL": url})
    assert settings.redis_url == url and url not in repr(settings)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"INPUT_BATCH": "0", "SERVER_PORT": "x"})
    assert len(str(caught.value).splitlines()) == 2


def test_a_misspelt_name_is_warned_about() -> None:
    (warning,) = unknown_names({"INPUT_BACH": "64", "PATH": "/bin", "INPUT_BATCH": "64"})
    assert "INPUT_BACH" in warning and "did you mean INPUT_BATCH" in warning


def shown(default: object) -> str:
    if default is None:
        return ""
    return ",".join(default) if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize("readme", ["README.md", "README.es.md"])
def test_the_readmes_table_is_the_codes(readme: str) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? *\| (.+) \|$", (ROOT / readme).read_text(), re.M)
    told = [(name, default) for name, default, _ in rows]
    assert told == [(setting.name, shown(setting.default)) for _, setting in table()]
    if readme == "README.md":
        assert [text for _, _, text in rows] == [setting.help for _, setting in table()]
