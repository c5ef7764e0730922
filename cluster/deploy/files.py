"""Which files each way of running dubline needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from cluster.deploy import image, kubernetes, systemd
from cluster.deploy.launcher import launcher
from cluster.deploy.options import DeployOptions
from pipeline.config import Config
from pipeline.overrides import ConfigError, apply, parse_yaml

Kind = Literal["kuberay", "rayjob", "raycronjob", "raycluster", "cronjob", "launcher", "systemd", "docker"]
_WIDTH: Final = 120


def load_options(path: Path | None, overrides: Sequence[str]) -> DeployOptions:
    """The options of a YAML file (none: as they come) with `a.b=value` on top. Raises ConfigError."""
    try:
        values = {} if path is None else parse_yaml(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: cannot be read as options: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys like `cluster:`, not a {type(values).__name__}")
    return apply(DeployOptions, values, overrides)


def render(kind: Kind, options: DeployOptions, config: Config) -> dict[str, str]:
    """Names of files and what is in them. Raises ConfigError where the options do not fit together."""
    if kind in ("launcher", "systemd"):
        _refuse_kubernetes_own(kind, options)
    if kind != "systemd" and not options.image.name:
        raise ConfigError("image.name must be said (--image), such as registry.example.com/dubline:0.1.0")
    account = kubernetes.service_account(options)
    if kind == "kuberay":
        kinds: tuple[Kind, ...] = ("rayjob", "raycronjob", "raycluster", "cronjob")
        return {name: text for each in kinds for name, text in render(each, options, config).items()}
    if kind == "systemd":
        return {f"{options.name}.service": systemd.service(options), f"{options.name}.timer": systemd.timer(options)}
    if kind == "docker":
        texts = {"Dockerfile": image.dockerfile(options), ".dockerignore": image.DOCKERIGNORE}
        return {**texts, "constraints.txt": image.constraints(options)}
    if kind == "launcher":
        return {f"launcher-{options.launcher.cloud}.yaml": _yaml(kind, launcher(options, config))}
    if kind == "cronjob":
        return {"cronjob.yaml": _yaml(kind, kubernetes.cronjob(options))}
    made = {"rayjob": kubernetes.rayjob, "raycronjob": kubernetes.raycronjob, "raycluster": kubernetes.raycluster}
    return {f"{kind}.yaml": _yaml(kind, account, made[kind](options, config))}


def _refuse_kubernetes_own(kind: Kind, options: DeployOptions) -> None:
    """What only a cluster of Kubernetes can give: left out in silence, it would be missed at night."""
    instead = {
        "weights.claim": (options.weights.claim, "weights.folder, a URL"),
        "access.env_secret": (options.access.env_secret, "the machines' own rights (access.identity), or env"),
    }
    for name, (value, other) in instead.items():
        if value is not None:
            raise ConfigError(f"{name}: there is none outside of Kubernetes; for {kind} take {other}")


class _Plain(yaml.SafeDumper):
    """No anchors: what appears twice is written twice, so that either can be changed by hand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(kind: Kind, *documents: Any) -> str:
    head = f"# Made by `dubline manifest {kind}`. Where each number comes from: docs/deploy.md.\n"
    return head + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=_WIDTH, allow_unicode=True)
