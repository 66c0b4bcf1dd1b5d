# shellcheck shell=bash disable=SC2046 # Ports and addresses are words.
# The proxies that scripts/bench.sh measures; sourced. `serve NAME` starts one on port $PROXY, alone on core $CORE, in front
# of the ports $SERVERS, and sets PID. Peers run as their manuals say for gRPC, with one thread, without logs.

haproxy_config() { # BALANCE
  cat <<-EOF
	global
	  nbthread 1
	  tune.h2.max-concurrent-streams 1000
	defaults
	  mode http
	  timeout connect 1s
	  timeout client 1h
	  timeout server 1h
	frontend grpc
	  bind 127.0.0.1:$PROXY proto h2
	  default_backend servers
	backend servers
	  balance $1
	  http-reuse always
	EOF
  local port; for port in $SERVERS; do echo "  server s$port 127.0.0.1:$port proto h2"; done
}

nginx_config() {
  cat <<-EOF
	daemon off;
	master_process off;
	worker_processes 1;
	error_log stderr crit;
	pid $WORK/nginx.pid;
	events { worker_connections 4096; }
	http {
	  access_log off;
	  client_body_temp_path $WORK/nginx-body;
	  client_body_buffer_size 128k;
	  client_max_body_size 0;
	  keepalive_requests 1000000000;
	  http2_max_concurrent_streams 1000;
	  upstream servers {
	    $(printf 'server 127.0.0.1:%s; ' $SERVERS)
	    keepalive 512;
	    keepalive_requests 1000000000;
	  }
	  server {
	    listen 127.0.0.1:$PROXY http2;
	    location / { grpc_pass grpc://servers; }
	  }
	}
	EOF
}

envoy_config() {
  local endpoint='{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}, '
  local manager=type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
  cat <<-EOF
	static_resources:
	  listeners:
	  - address: {socket_address: {address: 127.0.0.1, port_value: $PROXY}}
	    filter_chains:
	    - filters:
	      - name: envoy.filters.network.http_connection_manager
	        typed_config:
	          "@type": $manager
	          codec_type: HTTP2
	          stat_prefix: grpc
	          http_filters:
	          - name: envoy.filters.http.router
	            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
	          route_config:
	            virtual_hosts:
	            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: servers, timeout: 0s}}]}
	  clusters:
	  - name: servers
	    type: STATIC
	    lb_policy: LEAST_REQUEST
	    circuit_breakers: {thresholds: [{max_requests: 100000, max_pending_requests: 100000}]}
	    typed_extension_protocol_options:
	      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
	        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
	        explicit_http_config: {http2_protocol_options: {}}
	    load_assignment:
	      cluster_name: servers
	      endpoints: [{lb_endpoints: [$(printf "$endpoint" $SERVERS)]}]
	EOF
}

# mcp_router VARIABLE=VALUE...: as it is shipped. What the environment sets besides, such as a collector of traces,
# counts too.
mcp_router() {
  start "$CORE" env MCP_ROUTER_PORT="$PROXY" LISTEN_ADDRESS=127.0.0.1 SERVICE_HOST=127.0.0.1 DRAIN_DELAY=0s \
    CONSUL_HTTP_ADDR=127.0.0.1:"$CONSUL" "$@" "${ROUTER:-$BIN/mcp-router}"
}

# reads URL: a client on core 1 that reads it as long as the router, which has just been started, runs.
reads() {
  local router=$PID
  start 1 curl -fsSN -o /dev/null --retry 20 --retry-delay 1 --retry-connrefused "$1"
  # shellcheck disable=SC2034 # The script that sources this ends it.
  TAP=$PID PID=$router
}

serve() {
  case $1 in
    'HAProxy') haproxy_config roundrobin >"$WORK/haproxy.cfg"; start 0 haproxy -db -f "$WORK/haproxy.cfg" ;;
    'HAProxy leastconn') haproxy_config leastconn >"$WORK/haproxy.cfg"; start 0 haproxy -db -f "$WORK/haproxy.cfg" ;;
    'nginx') nginx_config >"$WORK/nginx.conf"; start 0 nginx -p "$WORK" -c "$WORK/nginx.conf" ;;
    'Envoy'*) envoy_config >"$WORK/envoy.yaml"
      start 0 envoy -c "$WORK/envoy.yaml" --concurrency 1 --disable-hot-restart -l critical ;;
    'plain hyper') start 0 "$BIN/examples/plain_proxy" "127.0.0.1:$PROXY" $(printf '127.0.0.1:%s ' $SERVERS) ;;
    'router, 2 threads') mcp_router RELAY_THREADS=2 ;;
    'router, access log') mcp_router ACCESS_LOG="$WORK/access.log" ;;
    'router, trace_ratio = '*)
      mcp_router TRACE_RATIO="${1##* }" OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:"$COLLECTOR" ;;
    'router, a tap') mcp_router ADMIN_ADDRESS=127.0.0.1 METRICS_PORT="$ADMIN"; reads "http://127.0.0.1:$ADMIN/tap" ;;
    'router with pprof'*)
      ROUTER=$WORK/router-with-pprof mcp_router ENABLE_PPROF=true PPROF_PORT="$ADMIN"
      [ "$1" = 'router with pprof' ] || reads "http://127.0.0.1:$ADMIN/debug/pprof/profile?seconds=60" ;;
    'router '*) mcp_router LB_POLICY="${1#router }" ;;
    'router'*) mcp_router ;;
  esac
}
