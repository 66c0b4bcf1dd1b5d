//! The parameters that an endpoint accepts. Compatible endpoints differ in them, and reject the same
//! parameter again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::error_response::ErrorResponse;

/// The parameters that limit the tokens of an answer. An endpoint knows one of them, or both.
pub(crate) const MAX_TOKENS_NAMES: [&str; 2] = ["max_tokens", "max_completion_tokens"];
/// Longest pause that an endpoint can ask for.
const MAX_HOLD_OFF: Duration = Duration::from_secs(3600);

/// The parameters that requests leave out, and the name of the token limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestParams {
    omitted: BTreeSet<&'static str>,
    /// Left out of this request only, because of its size.
    omitted_once: BTreeSet<&'static str>,
    /// Index in [`MAX_TOKENS_NAMES`].
    limit: usize,
    /// Whether the other name of the token limit was tried already.
    renamed: bool,
    /// Whether the model's reasoning is sent back with its calls of functions.
    reasoning: bool,
}

impl RequestParams {
    /// The parameters that the options choose.
    pub(crate) fn new(limit: &str, omit: &[String]) -> Self {
        let named = |name: &&'static str| omit.iter().any(|omitted| omitted == *name);
        let mut omitted: BTreeSet<_> = crate::error_response::optional_params()
            .filter(named)
            .collect();
        if limit == "none" {
            omitted.extend(MAX_TOKENS_NAMES);
        }
        let limit = MAX_TOKENS_NAMES.iter().position(|name| *name == limit);
        Self {
            omitted,
            // A name that the operator chose is left out, and not replaced by the other.
            renamed: limit.is_some_and(|index| index > 0),
            limit: limit.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Whether a request has this parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.omitted.contains(name) && !self.omitted_once.contains(name)
    }

    /// The parameter that limits tokens; `None` when it is left out.
    pub(crate) fn max_tokens_name(&self) -> Option<&'static str> {
        Some(MAX_TOKENS_NAMES[self.limit]).filter(|name| self.has(name))
    }

    /// Whether the model's reasoning is sent back to it.
    pub(crate) fn sends_reasoning(&self) -> bool {
        self.reasoning
    }

    /// The parameters of the next request after this one was rejected. `None` when the error is about no
    /// optional parameter. Each step leaves out more, so the steps end.
    pub(crate) fn adapted_to(
        &self,
        refusal: &ErrorResponse,
        sent: &[&'static str],
    ) -> Option<Self> {
        let mut next = self.clone();
        if refusal.mentions("reasoning_content") && !self.reasoning {
            next.reasoning = true;
            return Some(next);
        }
        let name = refusal.rejected_param(sent)?;
        let other = 1 - self.limit;
        if MAX_TOKENS_NAMES[self.limit] == name
            && !self.renamed
            && refusal.mentions(MAX_TOKENS_NAMES[other])
        {
            next.limit = other;
            next.renamed = true;
        } else if refusal.is_context_length() {
            next.omitted_once.insert(name);
        } else {
            next.omitted.insert(name);
        }
        Some(next)
    }

    /// Adds what another request found out.
    fn learn(&mut self, other: &Self) {
        self.omitted.extend(&other.omitted);
        self.reasoning |= other.reasoning;
        if other.renamed {
            (self.limit, self.renamed) = (other.limit, true);
        }
    }
}

/// What the process has found out about one model at one endpoint.
#[derive(Debug)]
pub(crate) struct EndpointProfile {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    params: RequestParams,
    /// When the endpoint accepts requests again, by its `Retry-After`.
    quiet: Option<Instant>,
}

/// By address, model and the parameters that the options choose.
type Known = HashMap<(String, String, String), Arc<EndpointProfile>>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

impl EndpointProfile {
    /// The profile of this model at this address; it begins with `params`.
    pub(crate) fn shared(url: &str, model: &str, params: RequestParams) -> Arc<Self> {
        let key = (url.to_owned(), model.to_owned(), format!("{params:?}"));
        let mut known = KNOWN.lock();
        let endpoint = known.entry(key).or_insert_with(|| {
            let state = Mutex::new(State {
                params,
                quiet: None,
            });
            Arc::new(Self { state })
        });
        Arc::clone(endpoint)
    }

    pub(crate) fn params(&self) -> RequestParams {
        self.state.lock().params.clone()
    }

    /// Records that a request with these parameters was answered: later ones leave out the same.
    pub(crate) fn accepted(&self, params: &RequestParams) {
        let mut state = self.state.lock();
        let before = state.params.clone();
        state.params.learn(params);
        if state.params != before {
            let left_out: Vec<_> = state.params.omitted.iter().collect();
            let limit = MAX_TOKENS_NAMES[state.params.limit];
            warn!(
                ?left_out,
                limit, "the model's endpoint refuses parameters: requests go without them"
            );
        }
    }

    /// Stops requests to the endpoint for this long.
    pub(crate) fn hold_off(&self, wait: Duration) {
        let until = Instant::now() + wait.min(MAX_HOLD_OFF);
        let mut state = self.state.lock();
        state.quiet = state.quiet.max(Some(until));
    }

    /// How long requests to the endpoint are still stopped.
    pub(crate) fn hold_off_left(&self) -> Option<Duration> {
        let left = self
            .state
            .lock()
            .quiet?
            .checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> ErrorResponse {
        ErrorResponse::parse(400, text)
    }

    #[test]
    fn a_limit_gets_its_other_name_once_and_is_then_left_out() {
        let params = RequestParams::new("max_tokens", &[]);
        assert_eq!(params.max_tokens_name(), Some("max_tokens"));
        let text = "'max_tokens' is not supported. Use 'max_completion_tokens' instead.";
        let next = params.adapted_to(&refusal(text), &["max_tokens"]).unwrap();
        assert_eq!(next.max_tokens_name(), Some("max_completion_tokens"));
        let text = "unknown max_completion_tokens, use max_tokens";
        let last = next
            .adapted_to(&refusal(text), &["max_completion_tokens"])
            .unwrap();
        assert_eq!(last.max_tokens_name(), None);
        assert!(last.adapted_to(&refusal(text), &[]).is_none());
    }

    #[test]
    fn what_one_model_has_learned_others_at_the_same_endpoint_know() {
        let one = EndpointProfile::shared("http://a", "m", RequestParams::default());
        let refused = refusal("unknown field stream_options");
        let learned = one
            .params()
            .adapted_to(&refused, &["stream_options"])
            .unwrap();
        one.accepted(&learned);
        let known =
            |url, model| EndpointProfile::shared(url, model, RequestParams::default()).params();
        assert!(!known("http://a", "m").has("stream_options"));
        assert!(known("http://a", "n").has("stream_options"));
        assert!(known("http://b", "m").has("stream_options"));
    }

    #[test]
    fn a_limit_that_one_long_request_exceeds_is_kept_for_others() {
        let text = "maximum context length is 4096 tokens, max_tokens is too large";
        let params = RequestParams::default();
        let next = params.adapted_to(&refusal(text), &["max_tokens"]).unwrap();
        assert_eq!(next.max_tokens_name(), None);
        let endpoint = EndpointProfile::shared("http://c", "m", params);
        endpoint.accepted(&next);
        assert_eq!(endpoint.params().max_tokens_name(), Some("max_tokens"));
    }

    #[test]
    fn settings_choose_the_form() {
        assert_eq!(RequestParams::new("none", &[]).max_tokens_name(), None);
        let params = RequestParams::new("max_completion_tokens", &["temperature".to_owned()]);
        assert_eq!(params.max_tokens_name(), Some("max_completion_tokens"));
        assert!(!params.has("temperature") && params.has("stream"));
    }
}
