"""Settings come from the environment and are checked once."""

from pathlib import Path

import pytest

from perennial.errors import SettingMissing
from perennial.settings import PORTS, Settings


def test_defaults_follow_from_home_and_ports(tmp_path):
    """The store lies below home; addresses follow the ports."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_MLFLOW_PORT": "5055"})
    assert settings.store == str(tmp_path / "store")
    assert settings.mlflow_url == "http://127.0.0.1:5055"


def test_all_ports_follow_from_one(tmp_path):
    """DE-09: Addresses and children too; a port that is set by itself stays."""
    given = {"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_PORT_BASE": "18000", "PERENNIAL_GATEWAY_PORT": "8003"}
    settings = Settings.from_environment(given)
    assert [getattr(settings, name) for name in PORTS] == [18000, 18001, 8003, 18003, 18004, 18005, 18006]
    assert settings.mlflow_url == "http://127.0.0.1:18001"
    assert Settings.from_environment(settings.environment()) == settings


def test_every_port_follows():
    """DE-09: A setting of a port that is added later is one of them."""
    assert set(PORTS) == {name for name in Settings.model_fields if name.endswith("_port")}


def test_a_relative_home_becomes_absolute():
    """DE-23: Child processes with another working folder must find the same home."""
    assert Settings.from_environment({"PERENNIAL_HOME": "here"}).home == Path.cwd() / "here"


def test_a_child_gets_the_same_settings(tmp_path):
    """DE-23: `environment` is the inverse of `from_environment`."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_LOG_LEVEL": "DEBUG"})
    assert Settings.from_environment(settings.environment()) == settings


def test_a_setting_that_went_away_stops_nothing(tmp_path):
    """Programs that an earlier version started hand on what it knew."""
    given = {"PERENNIAL_HOME": str(tmp_path)}
    gone = {"PERENNIAL_GATEWAY_ADMIN_PORT": "9901", "PERENNIAL_SERVING_PORT": "9100"}
    gone |= {"PERENNIAL_REPORTS_PORT": "8081", "PERENNIAL_REPORTS_URL": "http://reports.example.com"}
    assert Settings.from_environment({**given, **gone}) == Settings.from_environment(given)
    assert Settings.from_environment({**given, "PERENNIAL_PLATFORM": "/perennial"}) == Settings.from_environment(given)  # of Makefiles


def test_a_report_is_read_where_airflow_is():
    """MN-18: Behind its login, whatever the name of a file holds."""
    settings = Settings.from_environment({"PERENNIAL_AIRFLOW_URL": "https://ml.example.com/"})
    assert settings.report_url("reports/flights/a b?.html") == "https://ml.example.com/perennial/report/flights/a%20b%3F.html"


def test_the_prediction_path_is_a_legal_name_in_every_backend():
    """SE-01: Underscores, which Kubernetes forbids, become dashes; the namespace is the one in which versions are served."""
    assert Settings().prediction_path("flight_delays") == "/seldon/perennial/flight-delays/api/v1.0/predictions"
    elsewhere = Settings.from_environment({"PERENNIAL_SERVING_NAMESPACE": "team-a"})
    assert elsewhere.prediction_path("flight_delays") == "/seldon/team-a/flight-delays/api/v1.0/predictions"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PERENNIAL_STROE": "x"}, "PERENNIAL_STROE is no setting"),
        ({"PERENNIAL_AIRFLOW_PORT": "web"}, "PERENNIAL_AIRFLOW_PORT is 'web'"),
        ({"PERENNIAL_RUNTIME": "swarm"}, "PERENNIAL_RUNTIME is 'swarm'"),
        ({"PERENNIAL_GATEWAY_PORT": "99999"}, "PERENNIAL_GATEWAY_PORT is '99999'"),
        ({"PERENNIAL_PROJECT": "/a/models,/b/models"}, "PERENNIAL_PROJECT .* two of these folders are called models, and .*: rename one"),
        ({"PERENNIAL_ALLOWED_HOSTS": "a.example, *.b.example"}, "PERENNIAL_ALLOWED_HOSTS .* '[*].b.example' is no host name"),
    ],
)
def test_a_wrong_setting_is_named(environment, words):
    """DE-09: The sentence names the variable and its value."""
    with pytest.raises(SettingMissing, match=words):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("127.0.0.1:8003", True),
        ("LOCALHOST", True),
        ("[::1]:8081", True),
        ("192.0.2.7:8003", True),
        ("mlflow.example:5000", True),
        ("models.example", True),
        ("http://models.example:3000", True),
        ("https://elsewhere.example", False),
        ("127.0.0.1.elsewhere.example", False),
        ("localhost@elsewhere.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_local_servers_are_asked_for_by_names_that_are_known(asked, allowed):
    """SC-01: A page of another site that made its own name mean this machine does not pass for a caller of it, by its host or its
    origin."""
    settings = Settings.from_environment(
        {
            "PERENNIAL_HOST": "192.0.2.7",
            "PERENNIAL_MLFLOW_URL": "http://mlflow.example:5000/",
            "PERENNIAL_ALLOWED_HOSTS": "models.example, Other.example",
        }
    )
    assert settings.allows_host(asked) is allowed


def test_every_name_may_be_allowed():
    """SC-01: Behind a proxy of one's own that checks names itself, `*` switches the check off."""
    assert Settings.from_environment({"PERENNIAL_ALLOWED_HOSTS": "*"}).allows_host("https://elsewhere.example")
