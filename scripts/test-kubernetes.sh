#!/usr/bin/env bash
# The manifests and the Kubernetes backend against a real API server: kube-apiserver with etcd, in a network of their own.
# A server is there and answers; nobody runs pods. Used by `make test-kubernetes`, after the programs are built.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PATH=$PWD/.tools/bin:$PATH:/usr/sbin

# In a network of its own every address of 10.99.0.0/16 is this machine's: the API server refuses loopback addresses.
if [ -z "${MESH_OWN_NETWORK:-}" ]; then
  need unshare ip
  root=(); [ "$(id -u)" = 0 ] || root=(--map-root-user)
  MESH_OWN_NETWORK=1 exec unshare --net "${root[@]}" "$0" "$@"
fi
ip link set lo up
ip route add local 10.99.0.0/16 dev lo

dir=$(mktemp -d)
end() { scripts/kubernetes.sh down "$dir"; rm -rf "$dir"; }
trap end EXIT
scripts/kubernetes.sh up "$dir"
export KUBECONFIG=$dir/kubeconfig
say "kube-apiserver $(kubectl get --raw /version | jq -r .gitVersion) answers"

mkdir "$dir/manifests"
scripts/kubernetes.sh render "$dir/manifests"
kubectl apply -f .tools/pkg/kubernetes-crds/ >/dev/null
until_true 20 'the definitions of other kinds' kubectl get scaledobjects,servicemonitors -A
# What is refused in a namespace that does not exist is tried in one that does, with the labels that the overlay gives it.
kubectl apply -f deploy/kubernetes/overlays/small/namespace.yaml >/dev/null
for file in "$dir"/manifests/*.yaml; do
  kubectl apply --dry-run=server -f "$file" >"$dir/said" 2>&1 || { cat "$dir/said" >&2; die "the API server refuses ${file##*/}"; }
  ! grep -i warning "$dir/said" || die "the API server warns of ${file##*/}"
  say "${file##*/}: $(grep -c 'server dry run' "$dir/said") objects are taken by the API server"
done

# The small overlay for real: its Services, annotations, ServiceAccount and Role are what the tests use.
kubectl apply -f "$dir/manifests/small.yaml" >/dev/null
MESH_KUBERNETES=$dir cargo test -q --locked -p mesh-testkit --test kubernetes -- --ignored --nocapture --test-threads=1
