//! What is checked before a request reaches its endpoint.

use std::collections::BTreeMap;

use http::Method;

/// The rule of each route, such as `/api/v1/jobs/{id}`.
pub(crate) type Rules = BTreeMap<String, Rule>;

/// What is checked before the endpoints of one route.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    /// Whether `request_rate` counts its requests.
    pub(crate) is_rate_limited: bool,
    /// Whether pages of other origins are refused, since they could hold streams open.
    pub(crate) streams_events: bool,
    /// Whether problems also carry `error` and `message`, as clients of workflows expect.
    pub(crate) names_errors: bool,
    /// The query parameters that each described method takes.
    pub(crate) query_params: Vec<(Method, Vec<String>)>,
}

impl Rule {
    /// The query parameters that a described operation takes.
    pub(crate) fn query_params(&self, method: &Method) -> Option<&[String]> {
        // A HEAD is served as a GET.
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let mut of_method = self.query_params.iter();
        let found = of_method.find(|(known, _)| known == method);
        found.map(|(_, params)| params.as_slice())
    }
}
