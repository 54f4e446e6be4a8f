"""Manifests, rules, dashboard and Dockerfile, read by the tools that know them."""

from __future__ import annotations

import json
import re

import yaml
from facequality.settings import Settings

from tests.deploy.tools import DEPLOY, OVERLAYS, ROOT, WORK, Failed, run, say, tool

SERVER_VERSIONS = ("1.29", "1.33", "1.37")


def manifests() -> None:
    """Every overlay renders and is valid for several versions of Kubernetes; what a policy checker skips says why, in place."""
    rendered = []
    for overlay in OVERLAYS:
        path = WORK / f"{overlay}.yaml"
        path.write_text(run("kubectl", "kustomize", DEPLOY / "kubernetes" / "overlays" / overlay), encoding="utf-8")
        rendered.append(path)
    with_components = WORK / "components"
    with_components.mkdir(exist_ok=True)
    resources = ["../../../deploy/kubernetes/overlays/production"]
    components = [f"../../../deploy/kubernetes/components/{each}" for each in ("service-monitor", "in-flight-autoscaling")]
    kustomization = {"kind": "Kustomization", "resources": resources, "components": components}
    (with_components / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    text = run("kubectl", "kustomize", with_components)
    if "ServiceMonitor" not in text or "facequality_in_flight_calls" not in text:
        raise Failed("the components are not in what is rendered with them")
    _hold_the_network_policy()
    _hold_the_rollout()
    for version in SERVER_VERSIONS:
        for path in rendered:
            run(tool("kubernetes-validate"), "--strict", "-k", version, path)
    say(f"  kustomize: {', '.join(OVERLAYS)}, with components; kubernetes-validate --strict for {', '.join(SERVER_VERSIONS)}")
    arguments = ["--compact", "--quiet", "--skip-download"]
    output = run(tool("checkov"), "-f", *rendered, DEPLOY / "Dockerfile", *arguments)
    say("  checkov: " + "; ".join(re.findall(r"Passed checks: .*", output)))


def _hold_the_network_policy() -> None:
    """No tool knows whom we mean: callers of any namespace come in, and only the cluster's own DNS is asked."""
    text = (DEPLOY / "kubernetes" / "base" / "network-policy.yaml").read_text(encoding="utf-8")
    (policy,) = (each for each in yaml.safe_load_all(text) if each["kind"] == "NetworkPolicy")
    anywhere: dict[str, object] = {}
    callers = policy["spec"]["ingress"][0]["from"]
    if {"namespaceSelector": anywhere, "podSelector": {"matchLabels": {"face-quality-gate/caller": "true"}}} not in callers:
        raise Failed("the network policy keeps callers of other namespaces out")
    system = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    dns = [to for rule in policy["spec"]["egress"] for to in rule.get("to", []) if "kube-dns" in str(to)]
    if [to["namespaceSelector"] for to in dns] != [system]:
        raise Failed("any pod that calls itself DNS is asked")


def _hold_the_rollout() -> None:
    """No tool knows how long callers take to find a new replica, nor how long an old one takes to go."""
    text = (DEPLOY / "kubernetes" / "base" / "deployment.yaml").read_text(encoding="utf-8")
    spec = yaml.safe_load(text)["spec"]
    # gRPC asks DNS again 30 s after it last did, and CoreDNS keeps an answer for 30 s.
    if spec["minReadySeconds"] <= 30 or spec["strategy"]["rollingUpdate"] != {"maxSurge": 1, "maxUnavailable": 0}:
        raise Failed("a rollout replaces every replica that callers know before they can know another")
    defaults = Settings.model_fields
    stop = sum(defaults[name].default for name in ("drain_seconds", "grace_seconds"))
    if spec["template"]["spec"]["terminationGracePeriodSeconds"] < stop + 5:
        raise Failed("a replica is killed while it finishes its calls")


def lint() -> None:
    """Dockerfile, YAML and shell."""
    run(tool("hadolint"), DEPLOY / "Dockerfile")
    run(tool("yamllint"), "--strict", "-c", DEPLOY / ".yamllint", DEPLOY)
    run(tool("shellcheck"), ROOT / ".ci" / "run")
    say("  hadolint, yamllint, shellcheck")


def rules() -> None:
    """Every alert fires when it must and not when it must not; each has its place in the runbook."""
    folder = DEPLOY / "prometheus"
    run("promtool", "check", "rules", folder / "recording.yaml", folder / "alerts.yaml")
    run("promtool", "test", "rules", folder / "tests.yaml", cwd=folder)
    alerts, tested = (folder / "alerts.yaml").read_text(encoding="utf-8"), (folder / "tests.yaml").read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", alerts)
    for name in names:
        for end in ("fires", "is quiet"):
            if f"- name: {name} {end}" not in tested:
                raise Failed(f"no test: {name} {end}")
    headings = {h.lower() for h in re.findall(r"^#+ (\w+)$", (DEPLOY / "README.md").read_text(encoding="utf-8"), re.MULTILINE)}
    for anchor in set(re.findall(r"runbook_url: \S+#(\S+)", alerts)):
        if anchor not in headings:
            raise Failed(f"the runbook has no heading for #{anchor}")
    say(f"  promtool: {len(names)} alerts, each tested firing and quiet, each in the runbook")


def dashboard() -> None:
    """The dashboard's JSON has the types of Grafana's own schema."""
    folder = WORK / "grafana"
    document = (DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    source = f"import type {{ Dashboard }} from '@grafana/schema';\nexport const dashboard: Dashboard = {document};\n"
    (folder / "dashboard.ts").write_text(source, encoding="utf-8")
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]
    run(folder / "node_modules" / ".bin" / "tsc", *options, folder / "dashboard.ts", cwd=folder)
    say("  tsc: the dashboard against @grafana/schema")
