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
        ("INFERENCE_PREPROCESS", "inception", "one of .*, xception"),
        ("SERVER_PORT", "70000", "65535"),
    ],
)
def test_an_invalid_value_is_reported_with_variable_value_and_what_is_expected(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected .*{allowed}.*, got '{value}'.*Set it to "):
        Settings.from_environ({name: value})


@pytest.mark.parametrize(
    ("mean", "std", "wanted"),
    [
        ("0.5", "0.25", ((0.5,), (0.25,))),
        ("0.485, 0.456,0.406", "0.229 0.224 0.225", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("-0.5", "1", ((-0.5,), (1.0,))),
    ],
)
def test_normalize_has_a_mean_and_a_deviation(mean: str, std: str, wanted: tuple[object, object]) -> None:
    named = {"INFERENCE_PREPROCESS": "normalize", "INFERENCE_MEAN": mean, "INFERENCE_STD": std}
    settings = Settings.from_environ(named)
    assert (settings.mean, settings.std) == wanted


@pytest.mark.parametrize(
    ("preprocess", "mean", "std", "message"),
    [
        ("normalize", "", "0.2", "INFERENCE_MEAN: expected 1 or 3 numbers .*, got nothing. Set it to"),
        ("normalize", "0.2", "", "INFERENCE_STD: expected 1 or 3 numbers .*, got nothing. Set it to"),
        ("normalize", "", "", "INFERENCE_MEAN(.|\n)*INFERENCE_STD"),
        ("normalize", "0.1,0.2", "1", "expected 1 number, or 3 numbers .*, got '0.1,0.2'"),
        (
            "normalize",
            "123.7",
            "1",
            "from -10 to 10, got '123.7'; divide means of pixels from 0 to 255 by 255",
        ),
        ("normalize", "0.5", "58.4,57,57", "divide deviations of pixels from 0 to 255 by 255"),
        ("normalize", "0.5", "0", "INFERENCE_STD: expected numbers from 0.0001 to 10, got '0'. Set"),
        ("normalize", "half", "1", "INFERENCE_MEAN: expected numbers from -10 to 10, got 'half'. Set"),
        ("normalize", "nan", "1", "INFERENCE_MEAN: expected numbers from -10 to 10, got 'nan'. Set"),
        ("unit", "0.5", "", "INFERENCE_MEAN: expected no value for INFERENCE_PREPROCESS=unit, got 0.5. Set"),
        ("", "", "1", "INFERENCE_STD: expected no value for INFERENCE_PREPROCESS=inception_v3, got 1."),
    ],
)
def test_a_mean_and_a_deviation_are_needed_by_normalize_alone(
    preprocess: str, mean: str, std: str, message: str
) -> None:
    named = {"INFERENCE_PREPROCESS": preprocess, "INFERENCE_MEAN": mean, "INFERENCE_STD": std}
    with pytest.raises(SettingsError, match=message):
        Settings.from_environ(named)


def test_an_invalid_choice_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"got 'inception' \(did you mean inception_v3\?\)"):
        Settings.from_environ({"INFERENCE_PREPROCESS": "inception"})


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
def test_an_invalid_redis_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"REDIS_URL": url})
    assert str(caught.value).startswith("REDIS_URL: expected redis://")
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
def test_no_repr_contains_a_redis_url(url: str) -> None:
    settings = Settings.from_environ({"REDIS_URL": url})
    assert settings.redis_url == url and url not in repr(settings)


def test_all_invalid_values_are_reported_at_once() -> None:
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


def test_the_documented_table_is_the_codes() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? *\| (.+) \|$", page, re.M)
    documented = [(name, default) for name, default, _ in rows]
    assert documented == [(setting.name, shown(setting.default)) for _, setting in table()]
    assert [text for _, _, text in rows] == [setting.help for _, setting in table()]


def test_the_documented_error_is_the_codes() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"INPUT_BATCH": "many"})
    assert f"classification-server: {caught.value}\n" in (ROOT / "docs/settings.md").read_text()
