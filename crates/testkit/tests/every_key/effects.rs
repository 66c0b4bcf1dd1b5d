//! Where the effect of each key is tested. A key without a row fails, and so does a row whose test is
//! gone.

use std::{collections::BTreeSet, fs, path::Path};

use programs::PROGRAMS;

/// What shows that a value has its effect.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// This test, anywhere in the repository, gives the key or its field another value than the
    /// default and asserts what follows.
    Changed(&'static str),
    /// The trials of this program: it listens, logs or answers otherwise.
    Trial,
    /// Nothing but the trials: a program with another value reports it and serves.
    Served,
}
use Effect::{Changed, Served, Trial};

#[rustfmt::skip]
const EFFECTS: &[(&str, Effect)] = &[
    // Addresses, registry, registration
    ("port", Changed("a_port_that_is_taken_is_an_error_that_names_it")),
    ("listen_address", Trial),
    ("service_host", Changed("the_address_is_the_one_that_consul_sees")),
    ("discovery", Changed("an_answer_without_a_form_in_json_is_an_answer")),
    ("consul_http_addr", Changed("the_address_is_the_one_that_consul_sees")),
    ("consul_host", Changed("consul_is_where_the_most_exact_key_says")),
    ("consul_port", Changed("consul_is_where_the_most_exact_key_says")),
    ("consul_http_token", Changed("a_wrong_token_is_refused_in_consuls_words")),
    ("consul_cacert", Changed("https_works_with_the_right_authority_and_certificate_only")),
    ("consul_client_cert", Changed("https_works_with_the_right_authority_and_certificate_only")),
    ("consul_client_key", Changed("https_works_with_the_right_authority_and_certificate_only")),
    ("kubernetes_api", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("kubernetes_service_host", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("kubernetes_service_port", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("kubernetes_namespace", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("kubernetes_pod", Changed("in_kubernetes_an_instance_is_its_pod")),
    ("kubernetes_token_file", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("kubernetes_ca_file", Changed("kubernetes_is_where_the_most_exact_key_says")),
    ("check_kind", Changed("the_registration_is_as_the_keys_say")),
    ("check_interval", Changed("the_registration_is_as_the_keys_say")),
    ("deregister_after", Changed("the_registration_is_as_the_keys_say")),
    ("weight", Changed("the_registration_is_as_the_keys_say")),
    ("weight_warning", Changed("the_registration_is_as_the_keys_say")),
    // Admin listener, logs and traces, shutdown
    ("metrics_port", Changed("a_port_that_is_taken_is_an_error_that_names_it")),
    ("admin_address", Trial),
    ("admin_token", Changed("this_machine_and_the_token_are_let_in_and_pages_never")),
    ("enable_metrics", Trial),
    ("enable_pprof", Trial),
    ("pprof_port", Changed("profiles_are_served_on_a_port_of_their_own_where_the_keys_ask_for_it")),
    ("pprof_address", Changed("profiles_are_served_on_a_port_of_their_own_where_the_keys_ask_for_it")),
    ("log_level", Trial),
    ("log_format", Trial),
    ("otel_logs", Changed("lines_reach_the_collector_with_their_trace")),
    ("otlp_endpoint", Changed("a_call_through_haproxy_router_and_instance_is_one_trace")),
    ("otlp_protocol", Changed("spans_go_by_http_and_by_tls_with_headers_and_the_right_authority")),
    ("otlp_headers", Changed("spans_go_by_http_and_by_tls_with_headers_and_the_right_authority")),
    ("otlp_certificate", Changed("spans_go_by_http_and_by_tls_with_headers_and_the_right_authority")),
    ("otel_service_name", Changed("a_span_continues_its_callers_trace_and_reaches_the_collector")),
    ("trace_ratio", Changed("a_span_continues_its_callers_trace_and_reaches_the_collector")),
    ("trace_slow", Changed("a_span_continues_its_callers_trace_and_reaches_the_collector")),
    ("trace_errors", Changed("a_span_continues_its_callers_trace_and_reaches_the_collector")),
    ("trace_content", Changed("an_enqueued_run_with_a_model_is_one_trace_of_all_that_took_part")),
    ("drain_delay", Changed("while_it_drains_every_way_to_ask_says_so_and_its_own_streams_end_first")),
    ("drain_timeout", Changed("calls_that_never_end_are_cut_at_the_deadline_and_counted")),
    // Connections and calls of clients
    ("trusted_proxies", Changed("behind_a_trusted_proxy_the_last_untrusted_address_is_the_client")),
    ("port_max_connections", Changed("connections_are_limited_unless_that_is_switched_off_and_each_port_counts_its_own")),
    ("client_max_connections", Changed("connections_are_limited_unless_that_is_switched_off_and_each_port_counts_its_own")),
    ("max_concurrent_streams", Changed("a_stream_more_than_allowed_is_refused_and_leaves_the_others_alone")),
    ("wasted_calls", Changed("calls_that_are_reset_by_the_client_or_made_to_be_reset_are_borne_up_to_the_limit")),
    ("handshake_timeout", Changed("a_connection_that_says_nothing_or_half_a_head_is_ended_after_handshake_timeout")),
    ("body_timeout", Changed("a_body_that_does_not_go_on_is_given_up_after_body_timeout")),
    ("keep_alive", Changed("a_connection_at_rest_stays_for_keep_alive_and_is_then_closed_in_peace")),
    ("max_header_bytes", Changed("metadata_over_the_limit_is_refused_with_the_key_to_raise")),
    ("max_message_bytes", Changed("a_message_over_the_limit_is_refused_with_the_key_to_raise")),
    ("client_max_calls", Changed("a_client_gets_so_many_calls_at_once_over_all_its_connections")),
    ("client_rate", Changed("a_client_gets_so_many_calls_a_second")),
    ("max_connection_age", Changed("connections_that_grow_old_under_load_lose_no_call")),
    ("max_connection_age_grace", Changed("an_old_connection_is_ended_though_a_call_is_longer_than_its_grace")),
    ("access_log", Changed("each_call_is_a_line_of_the_access_log")),
    ("access_log_filter", Changed("a_filter_leaves_out_the_calls_that_it_does_not_name")),
    ("allowed_hosts", Changed("a_name_that_was_pointed_at_us_is_answered_by_no_path")),
    ("allowed_origins", Changed("a_listed_page_is_answered_as_browsers_want_it")),
    // Calls to other services
    ("fixed_instances", Changed("an_answer_without_a_form_in_json_is_an_answer")),
    ("registry_cache", Changed("a_router_that_starts_while_consul_is_silent_is_ready_only_with_a_kept_set")),
    ("lb_policy", Changed("the_configured_policy_wins_over_the_announced_one")),
    ("default_timeout", Changed("without_a_deadline_none_is_made_up_unless_configured")),
    ("queue_timeout", Changed("a_call_that_waited_in_vain_is_told_which_limit_it_met")),
    ("max_in_flight", Changed("calls_past_the_limit_wait_and_none_is_forgotten")),
    ("max_connections", Changed("calls_past_the_connections_wait_for_a_stream")),
    ("idle_timeout", Changed("connections_without_a_call_are_closed_and_opened_again")),
    ("connect_timeout", Changed("a_black_hole_costs_a_call_no_more_than_its_patience")),
    ("connect_patience", Changed("a_black_hole_costs_a_call_no_more_than_its_patience")),
    ("backoff_min", Changed("an_instance_whose_health_flaps_is_connected_to_by_one_task")),
    ("backoff_max", Changed("an_instance_whose_health_flaps_is_connected_to_by_one_task")),
    ("tcp_keepalive", Changed("a_socket_is_probed_as_the_options_say")),
    ("tcp_keepalive_interval", Changed("a_socket_is_probed_as_the_options_say")),
    ("tcp_user_timeout", Changed("a_socket_is_probed_as_the_options_say")),
    ("max_attempts", Changed("an_instance_is_told_how_many_attempts_there_were")),
    ("retry_buffer", Changed("a_request_larger_than_the_buffer_is_sent_once")),
    ("retry_ratio", Changed("retries_stay_within_the_budget")),
    ("retry_per_second", Changed("retries_stay_within_the_budget")),
    ("hedge_delay", Changed("a_slow_instances_calls_are_answered_by_another_when_hedged")),
    ("hedge_max", Changed("hedges_stay_within_the_budget_and_their_maximum")),
    ("ejection_failures", Changed("five_failures_in_a_row_eject_for_a_time")),
    ("ejection_time", Changed("five_failures_in_a_row_eject_for_a_time")),
    ("ejection_max", Changed("no_ejection_is_longer_than_the_longest")),
    ("ejection_percent", Changed("when_most_instances_are_ejected_all_are_used")),
    ("panic_percent", Changed("when_most_instances_are_ejected_all_are_used")),
    ("silence", Changed("the_only_instance_is_not_judged")),
    ("silence_probe", Changed("the_only_instance_is_not_judged")),
    ("slo_latency", Changed("calls_in_flight_the_budget_and_the_setting_are_as_they_are_at_the_scrape")),
    ("metrics_instances", Changed("instances_have_series_while_they_are_there_and_further_ones_share_one")),
    ("slow_start", Changed("one_that_comes_as_critical_starts_slowly_when_it_begins_to_serve")),
    ("slow_start_from", Changed("newcomers_are_called_when_the_warm_ones_are_excluded")),
    ("ewma_decay", Changed("no_decay_remembers_only_the_last_answer")),
    ("burst", Changed("calls_do_not_follow_to_a_member_that_is_stuck_or_without_a_burst")),
    ("session_bound", Changed("with_a_bound_no_member_has_much_more_than_the_mean")),
    ("load_blackout", Changed("calls_follow_the_capacity_that_instances_report_in_their_trailers")),
    ("load_expiry", Changed("a_report_counts_after_the_blackout_and_until_it_expires")),
    // The router
    ("relay_threads", Trial),
    ("client_memory", Changed("readers_that_keep_too_much_lose_their_own_calls_only")),
    ("relay_memory", Changed("those_who_keep_much_leave_room_for_the_others")),
    ("allow_registration", Changed("registration_is_off_unless_allowed")),
    ("registration_networks", Changed("a_mesh_on_loopback_takes_loopback_and_the_operator_allows_more")),
    ("task_lookup_workers", Served),
    // The queue of jobs
    ("redis_url", Changed("the_queue_is_where_the_most_exact_key_says")),
    ("redis_cacert", Changed("a_redis_over_tls_is_trusted_by_a_file_of_authorities_and_not_without")),
    ("redis_host", Changed("the_queue_is_where_the_most_exact_key_says")),
    ("redis_port", Changed("the_queue_is_where_the_most_exact_key_says")),
    ("jobs_path", Changed("one_folder_is_one_queue_within_a_process")),
    ("jobs_sync", Changed("every_key_reaches_an_option_of_its_own")),
    ("queue_name", Changed("old_names_of_queues_stand_for_the_one_queue")),
    ("jobs_partitions", Changed("the_limits_of_the_queue_come_from_the_keys")),
    ("jobs_prefix", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_lease", Changed("the_limits_of_the_queue_come_from_the_keys")),
    ("jobs_result_ttl", Changed("a_task_one_of_whose_parts_is_kept_no_more_fails_and_says_why")),
    ("jobs_dead_ttl", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_key_ttl", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_events", Changed("a_follower_is_told_that_events_are_missing_by_an_event_of_its_own")),
    ("jobs_max_payload", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_max_result", Changed("a_result_that_is_too_large_makes_its_job_dead_and_says_so")),
    ("max_queues", Changed("names_made_up_by_anybody_make_no_more_queues_than_there_may_be")),
    ("jobs_backoff_base", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_backoff_max", Changed("every_key_reaches_an_option_of_its_own")),
    ("jobs_backoff_jitter", Changed("every_key_reaches_an_option_of_its_own")),
    ("queue_sample", Changed("the_length_of_a_queue_follows_the_store")),
    ("metrics_queues", Changed("made_up_names_of_queues_share_one_series")),
    // The gateway
    ("mcp", Changed("a_foreign_service_is_shown_where_its_setting_says_so")),
    ("mcp_read_only", Changed("a_foreign_service_is_shown_where_its_setting_says_so")),
    ("mcp_destructive", Changed("a_foreign_service_is_shown_where_its_setting_says_so")),
    ("mcp_tasks", Changed("a_foreign_service_is_shown_where_its_setting_says_so")),
    ("mcp_max_name", Changed("long_and_equal_names_are_told_apart_and_stay")),
    ("mcp_max_tools", Changed("no_more_tools_are_listed_than_the_key_says")),
    ("mcp_descriptor_sets", Changed("files_of_the_operator_stand_in_for_reflection_and_add_comments")),
    ("mcp_port", Changed("mcp_has_a_port_of_its_own")),
    ("mcp_allowed_hosts", Changed("foreign_hosts_and_pages_are_refused")),
    ("mcp_allowed_origins", Changed("foreign_hosts_and_pages_are_refused")),
    ("mcp_auth", Changed("tokens_of_the_file_allow_what_they_list")),
    ("mcp_tokens", Changed("tokens_of_the_file_allow_what_they_list")),
    ("mcp_jwks_url", Changed("tokens_of_an_authorization_server_are_verified")),
    ("mcp_issuer", Changed("tokens_of_an_authorization_server_are_verified")),
    ("mcp_resource", Changed("tokens_of_an_authorization_server_are_verified")),
    ("mcp_token_calls", Changed("calls_come_at_the_rate_and_so_many_at_once")),
    ("mcp_max_body", Changed("what_is_no_message_is_refused")),
    ("mcp_max_sessions", Changed("one_more_session_than_there_may_be_ends_the_longest_idle_one")),
    ("mcp_session_idle", Changed("idle_sessions_end")),
    ("mcp_max_listeners", Changed("there_are_so_many_streams_and_no_more")),
    ("mcp_page", Changed("pages_go_on_behind_a_name")),
    ("mcp_list_ttl", Changed("pages_go_on_behind_a_name")),
    ("mcp_listing", Changed("a_large_mesh_is_searched")),
    ("mcp_always", Changed("a_large_mesh_is_searched")),
    ("mcp_max_schema", Changed("a_schema_stays_within_its_size")),
    ("mcp_max_result", Changed("a_stream_is_cut_at_a_thousand_messages_and_at_its_bytes")),
    ("mcp_call_timeout", Changed("a_late_answer_is_an_error_and_a_dropped_call_is_cancelled")),
    ("mcp_task_timeout", Changed("a_job_ends_at_its_time_and_a_method_that_is_gone_fails_its_task")),
    ("mcp_task_after", Changed("a_call_that_takes_longer_becomes_a_task_of_its_caller")),
    ("mcp_wait", Changed("who_knows_no_tasks_gets_a_result_that_names_the_job")),
    ("mcp_router_addr", Changed("calls_go_through_the_router_that_the_key_names")),
    ("workflows_port", Changed("the_test_script_passes")),
    ("fanout_port", Changed("the_test_script_passes")),
    ("default_owner", Changed("a_request_without_a_user_is_refused_unless_there_is_a_default")),
    ("command_timeout", Changed("a_command_that_nobody_answers_is_504_and_is_carried_out_later")),
    ("max_queued_runs", Changed("too_many_waiting_runs_and_the_predecessors_limits_are_429")),
    ("run_retention", Changed("runs_are_kept_as_long_as_the_key_or_their_workflow_says")),
    ("approval_url", Changed("a_link_leads_to_the_gateway_and_is_what_its_secret_signed")),
    ("approval_secret", Changed("a_signed_link_lets_one_person_decide_on_one_approval_until_it_expires")),
    ("minute_requests", Changed("too_many_waiting_runs_and_the_predecessors_limits_are_429")),
    ("minute_simple_runs", Changed("runs_of_each_size_have_a_limit_of_their_own")),
    ("minute_standard_runs", Changed("runs_of_each_size_have_a_limit_of_their_own")),
    ("minute_heavy_runs", Changed("too_many_waiting_runs_and_the_predecessors_limits_are_429")),
    ("tasks_port", Changed("requests_are_counted_by_route_and_status_and_jobs_by_kind")),
    ("max_body_bytes", Changed("a_compressed_body_is_inflated_up_to_the_limit")),
    ("request_rate", Changed("a_client_that_sends_too_much_is_told_to_wait")),
    ("request_burst", Changed("a_client_that_sends_too_much_is_told_to_wait")),
    ("store_timeout", Changed("a_redis_that_says_nothing_is_waited_for_a_bounded_time")),
    ("call_timeout", Changed("why_a_call_came_to_nothing_is_told_in_plain_words")),
    ("descriptor_ttl", Changed("descriptors_are_asked_for_again_when_their_time_is_over")),
    ("max_job_timeout", Changed("a_job_may_take_as_long_as_the_key_says")),
    ("max_event_streams", Changed("one_client_leaves_streams_of_events_for_others")),
    ("client_max_event_streams", Changed("one_client_leaves_streams_of_events_for_others")),
    ("event_wait", Changed("a_quiet_stream_shows_signs_of_life_as_often_as_the_key_says")),
    // The runner, and requests to the outside
    ("workers", Trial),
    ("queues", Changed("a_job_in_a_queue_that_no_runner_serves_is_told_so")),
    ("task_look", Changed("a_task_goes_from_queued_over_running_to_completed_with_a_real_runner")),
    ("task_agent", Changed("a_task_goes_from_queued_over_running_to_completed_with_a_real_runner")),
    ("allow_external_requests", Changed("it_is_off_until_both_keys_say_otherwise")),
    ("external_allow_hosts", Changed("an_http_job_asks_a_listed_host_and_none_while_switched_off")),
    ("external_timeout", Changed("a_server_that_trickles_is_given_up_in_time")),
    ("external_connect_timeout", Changed("a_server_that_does_not_finish_connecting_is_given_up_in_time")),
    ("external_max_body", Changed("a_body_over_the_limit_is_not_taken")),
    ("external_max_redirects", Changed("five_redirects_are_followed_and_a_sixth_is_not")),
    ("external_max_retry_after", Changed("a_server_that_says_when_to_come_again_is_not_asked_sooner")),
    // Where workflows and their runs are kept
    ("database_url", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("database_cacert", Changed("a_postgres_over_tls_is_trusted_by_its_authority_and_not_by_another")),
    ("postgres_host", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("postgres_port", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("postgres_db", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("postgres_user", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("postgres_password", Changed("the_store_of_workflows_is_where_the_most_exact_key_says")),
    ("workflows_path", Changed("one_folder_is_one_store_of_workflows_within_a_process")),
    ("database_connections", Changed("the_options_of_the_store_of_workflows_come_from_the_keys")),
    ("database_timeout", Changed("the_options_of_the_store_of_workflows_come_from_the_keys")),
    // The workflow runner
    ("workflow_lease", Changed("the_runs_of_a_runner_that_vanishes_go_on_elsewhere_after_its_lease")),
    ("workflow_compare", Changed("runs_end_once_though_redis_is_killed_and_emptied")),
    ("workflow_runs", Changed("a_runner_without_room_leaves_further_runs_queued")),
    ("workflow_commit_wait", Changed("a_commit_waits_for_more_only_while_much_happens")),
    ("max_running_runs", Changed("an_owner_has_so_many_runs_and_nodes_under_way_as_the_keys_say")),
    ("max_nodes_in_flight", Changed("an_owner_has_so_many_runs_and_nodes_under_way_as_the_keys_say")),
    ("workflow_agent", Changed("a_task_that_suits_nobody_goes_to_the_agent_of_the_key")),
    // The scheduler
    ("schedule_file", Changed("entries_follow_their_file_and_a_bad_one_changes_nothing")),
    ("schedule_timezone", Changed("an_entry_without_a_zone_has_that_of_the_key")),
    ("schedule_interval_seconds", Changed("schedule_interval_seconds_makes_an_entry_of_its_own")),
    ("schedule_kind", Changed("a_goal_of_the_environment_is_scheduled_and_a_bad_one_does_not_start")),
    ("schedule_payload", Changed("a_goal_of_the_environment_is_scheduled_and_a_bad_one_does_not_start")),
    ("schedule_poll", Changed("entries_follow_their_file_and_a_bad_one_changes_nothing")),
    // Agents
    ("delay", Changed("status_counts_the_tasks_that_run")),
    ("tool_timeout", Changed("a_tool_that_hangs_is_given_up_and_its_call_ends")),
    ("model_url", Changed("keys_choose_what_a_request_has")),
    ("model_name", Changed("keys_choose_what_a_request_has")),
    ("model_api_key", Changed("functions_are_called_and_the_answer_streams_and_is_remembered")),
    ("model_timeout", Changed("retry_after_holds_off_every_caller")),
    ("model_connect_timeout", Served),
    ("model_attempts", Changed("a_refusal_is_final_and_a_failure_ends_after_the_attempts")),
    ("model_rounds", Changed("in_the_last_round_functions_are_there_and_may_not_be_called")),
    ("model_max_tokens", Changed("keys_choose_what_a_request_has")),
    ("model_max_tokens_name", Changed("keys_choose_what_a_request_has")),
    ("model_temperature", Changed("keys_choose_what_a_request_has")),
    ("model_omit", Changed("keys_choose_what_a_request_has")),
    ("model_max_bytes", Changed("an_answer_over_the_limit_is_given_up")),
    ("model_cache_bytes", Changed("functions_are_called_and_the_answer_streams_and_is_remembered")),
    // Tools and workers
    ("provider", Changed("open_meteo_without_permission_does_not_start_and_names_the_key")),
    ("geocoding_url", Changed("current_weather_is_asked_for_and_read_as_documented")),
    ("forecast_url", Changed("current_weather_is_asked_for_and_read_as_documented")),
    ("provider_timeout", Changed("an_endless_answer_a_silent_server_and_no_server_are_clear_errors")),
    ("weather_service", Changed("the_keys_say_which_service_is_asked_and_for_how_long")),
    ("weather_timeout", Changed("the_keys_say_which_service_is_asked_and_for_how_long")),
    ("out_dir", Changed("numbered_lines_have_numbers_of_their_own_though_two_instances_write")),
    ("fs_max_bytes", Changed("limits_are_told_with_their_key")),
    ("fs_max_files", Changed("limits_are_told_with_their_key")),
    ("docs_dir", Changed("files_that_appear_change_and_go_are_noticed")),
    ("docs_refresh", Changed("files_that_appear_change_and_go_are_noticed")),
    ("docs_max_file_bytes", Changed("nothing_outside_of_the_directory_or_over_a_limit_is_read")),
    ("docs_max_files", Changed("no_more_files_and_bytes_are_read_than_the_keys_say")),
    ("docs_max_bytes", Changed("no_more_files_and_bytes_are_read_than_the_keys_say")),
    ("web_search_url", Changed("the_provider_is_asked_and_its_pages_are_told")),
    ("web_search_key", Changed("the_provider_is_asked_and_its_pages_are_told")),
    ("web_search_key_header", Changed("the_provider_is_asked_and_its_pages_are_told")),
    ("web_search_timeout", Changed("a_provider_that_says_nothing_is_waited_for_as_long_as_the_key_says")),
    ("web_search_max_bytes", Changed("a_provider_that_fails_redirects_or_talks_nonsense_is_named")),
    // Mounted MCP servers
    ("mcp_pins", Changed("nothing_is_pinned_where_the_key_says_so")),
    ("mount_name", Changed("a_mount_is_named_by_its_key_and_needs_a_server")),
    ("mount_command", Changed("a_tool_is_called_by_texts_or_by_json_in_both_eras")),
    ("mount_env", Changed("the_server_gets_the_variables_of_its_key_and_no_others")),
    ("mount_url", Changed("a_server_at_a_url_is_asked_with_the_headers_of_the_keys")),
    ("mount_headers", Changed("a_server_at_a_url_is_asked_with_the_headers_of_the_keys")),
    ("mount_roots", Changed("roots_outside_a_call_are_those_of_the_key")),
    ("mount_start_timeout", Changed("a_server_that_says_nothing_when_it_starts_is_given_up")),
    ("mount_timeout", Changed("a_call_that_is_never_answered_ends_when_the_key_says")),
    ("mount_restart_min", Changed("a_server_that_dies_in_a_call_is_back_and_the_call_fails_clearly")),
    ("mount_restart_max", Changed("a_call_waits_for_a_restart_as_long_as_the_key_says")),
    ("mount_wait", Changed("a_call_waits_for_a_restart_as_long_as_the_key_says")),
    ("mount_max_message", Changed("a_message_over_the_limit_ends_the_connection_and_the_next_call_is_answered")),
    ("mount_max_calls", Changed("no_more_run_wait_and_connect_than_the_keys_say")),
    ("mount_max_tools", Changed("no_more_tools_are_taken_than_the_key_says")),
    ("mount_queue", Changed("a_flood_is_dropped_and_the_answer_comes")),
    ("mount_max_parked", Changed("no_more_run_wait_and_connect_than_the_keys_say")),
    ("mount_park_time", Changed("a_request_waits_for_input_as_long_as_the_key_says")),
    ("mount_max_sessions", Changed("no_more_run_wait_and_connect_than_the_keys_say")),
];

/// How many keys are seen by nothing but that a program serves with another value. Fewer is better.
const SERVED_ONLY: usize = 2;

#[test]
fn every_key_has_a_test_of_its_effect() {
    let keys: BTreeSet<&str> = PROGRAMS
        .iter()
        .flat_map(|(spec, _)| spec.all_keys())
        .map(|key| key.name)
        .collect();
    let rows: BTreeSet<&str> = EFFECTS.iter().map(|(key, _)| *key).collect();
    assert_eq!(rows.len(), EFFECTS.len(), "a key has two rows");
    let missing: Vec<_> = keys.difference(&rows).collect();
    assert!(missing.is_empty(), "no row in effects.rs: {missing:?}");
    let gone: Vec<_> = rows.difference(&keys).collect();
    assert!(gone.is_empty(), "rows of keys that are no more: {gone:?}");
    let mut tests = BTreeSet::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        &mut tests,
    );
    let lost: Vec<_> = EFFECTS
        .iter()
        .filter(|(_, effect)| match effect {
            Changed(test) => !tests.contains(*test),
            Trial | Served => false,
        })
        .collect();
    assert!(lost.is_empty(), "tests that are no more: {lost:#?}");
    let served = EFFECTS.iter().filter(|(_, it)| matches!(it, Served));
    assert_eq!(served.count(), SERVED_ONLY, "keys that are only served");
}

/// The names of all functions of the repository's Rust files.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, names);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let functions = text.split("fn ").skip(1);
            names.extend(functions.filter_map(|rest| {
                let name = rest.split(['(', '<', ' ']).next()?;
                Some(name.to_owned())
            }));
        }
    }
}
