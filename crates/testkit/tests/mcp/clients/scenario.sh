#!/usr/bin/env bash
# Does with `meshctl mcp` what a client's scenario of the conformance suite asks for; the suite adds the URL.
set -euo pipefail
url=${!#}
case ${MCP_CONFORMANCE_PROTOCOL_VERSION:-} in
  2026-*) era=auto ;;
  20*) era=legacy ;;
  *) era=auto ;;
esac
mcp() { meshctl mcp --url "$url" --era "$era" "$@"; }
case $MCP_CONFORMANCE_SCENARIO in
  initialize | request-metadata | json-schema-ref-no-deref) mcp tools ;;
  tools_call) mcp call add_numbers a=5 b=3 ;;
  sse-retry) mcp call test_reconnection ;;
  elicitation-sep1034-client-defaults) mcp call test_client_elicitation_defaults --answer '{}' ;;
  sep-2322-client-request-state)
    for tool in echo_state unrelated no_state no_result_type; do
      mcp call "test_mrtr_$tool" --answer '{"confirmed": true}'
    done ;;
  http-standard-headers)
    mcp call test_headers
    mcp call my-hyphenated-tool ;;
  http-custom-headers)
    jq -c '.toolCalls[]' <<<"$MCP_CONFORMANCE_CONTEXT" | while read -r call; do
      mcp call "$(jq -r .name <<<"$call")" --args "$(jq -c .arguments <<<"$call")" </dev/null
    done ;;
  http-invalid-tool-headers)
    mcp call valid_tool region=eu
    # Not in the list, so not called.
    ! mcp call invalid_object_header --args '{"data": {}}' ;;
  json-schema-2020-12-preservation)
    schema=$(mcp --json tools json_schema_2020_12_tool | jq -c '{schema: .inputSchema}')
    mcp call json_schema_echo --args "$schema" ;;
  *) echo "no scenario is called $MCP_CONFORMANCE_SCENARIO" >&2; exit 2 ;;
esac
