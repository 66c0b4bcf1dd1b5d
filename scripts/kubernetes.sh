#!/usr/bin/env bash
# The manifests of deploy/kubernetes, and a real API server to try them on.
# Usage: scripts/kubernetes.sh COMMAND
#   render DIR    writes each overlay, and each with the other components, as DIR/NAME.yaml
#   validate      checks them by the schemas of the oldest and the newest Kubernetes that we support
#   up DIR        starts etcd, kube-apiserver and its controllers on free ports of this machine; their files and process ids are in DIR
#   down DIR      ends them
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PWD/.tools/bin:$PATH

# The versions of Kubernetes that the manifests are for, and that `make check` has schemas of.
OLDEST=1.25 NEWEST=1.37
MANIFESTS=$PWD/deploy/kubernetes

# Overlays as they are, and the small one with KEDA in place of Prometheus and with a mount.
render() { # DIR
  local overlay
  need kustomize
  for overlay in small production; do kustomize build "$MANIFESTS/overlays/$overlay" >"$1/$overlay.yaml"; done
  # A kustomization may not name files outside of its tree, so this one is made beside the others and removed.
  overlay=$(mktemp -d -p "$MANIFESTS/overlays")
  cat >"$overlay/kustomization.yaml" <<'YAML'
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../small]
components: [../../components/keda, ../../components/mount]
YAML
  local code=0; kustomize build "$overlay" >"$1/keda.yaml" || code=$?
  rm -r "$overlay"; return $code
}

validate() {
  local version file; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
  render "$dir"
  for file in "$dir"/*.yaml; do
    # Kinds of others have no schema there; the API server takes them by their own definitions.
    python3 - "$file" "$file.core" <<'PYTHON'
import re, sys
documents = open(sys.argv[1]).read().split("\n---\n")
core = [it for it in documents if not re.search(r"^apiVersion: (keda\.sh|monitoring\.coreos\.com)/", it, re.M)]
open(sys.argv[2], "w").write("\n---\n".join(core))
PYTHON
    for version in $OLDEST $NEWEST; do
      .venv/bin/kubernetes-validate --strict --quiet -k "$version" "$file.core" >"$dir/said" 2>&1 ||
        { cat "$dir/said" >&2; die "${file##*/} is not valid in Kubernetes $version"; }
    done
  done
}

# run DIR NAME COMMAND...: in the background, with its log and process id in DIR.
run() { local dir=$1 name=$2; shift 2; "$@" >"$dir/$name.log" 2>&1 & echo $! >"$dir/$name.pid"; }

up() { # DIR
  local dir=$1 etcd peer api
  need etcd kube-apiserver kube-controller-manager kubectl openssl curl
  mkdir -p "$dir"; etcd=$(free_port) peer=$(free_port) api=$(free_port)
  run "$dir" etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-authority -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout "$dir/api.key" -out "$dir/api.csr" 2>/dev/null
  openssl x509 -req -in "$dir/api.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 -out "$dir/api.crt" \
    -extfile <(echo 'subjectAltName = IP:127.0.0.1, DNS:kubernetes.default.svc') 2>/dev/null
  openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null
  echo 'admin-token,admin,1,system:masters' >"$dir/tokens"
  run "$dir" kube-apiserver kube-apiserver --etcd-servers "http://127.0.0.1:$etcd" --secure-port "$api" \
    --bind-address 127.0.0.1 --advertise-address 192.0.2.1 --tls-cert-file "$dir/api.crt" --tls-private-key-file "$dir/api.key" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$dir/accounts.key" \
    --service-account-signing-key-file "$dir/accounts.key" --endpoint-reconciler-type none \
    --token-auth-file "$dir/tokens" --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --disable-admission-plugins ServiceAccount --allow-privileged=false
  echo "https://127.0.0.1:$api" >"$dir/url"
  cat >"$dir/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api", certificate-authority: "$dir/ca.crt"}}]
users: [{name: admin, user: {token: admin-token}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
YAML
  ready() { curl -fsS --cacert "$dir/ca.crt" -H 'Authorization: Bearer admin-token' "$(cat "$dir/url")/readyz" >/dev/null 2>&1; }
  # It has been seen to take 6 s. Whatever it says when it does not is in its log.
  (until_true 90 'the start of kube-apiserver' ready) || { tail -n 20 "$dir/kube-apiserver.log" "$dir/etcd.log" >&2; return 1; }
  # The controllers that make pods of Deployments, and EndpointSlices of pods. Nobody runs the pods.
  run "$dir" kube-controller-manager kube-controller-manager --kubeconfig "$dir/kubeconfig" --leader-elect=false \
    --secure-port 0 --controllers deployment-controller,replicaset-controller,endpointslice-controller,disruption-controller
}

down() { # DIR
  local name pid
  for name in kube-controller-manager kube-apiserver etcd; do
    pid=$(cat "$1/$name.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  done
}

case ${1:-} in
  render|up|down) "$1" "${2:?DIR is missing}" ;;
  validate) validate ;;
  *) sed -n '2,/^\. /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
