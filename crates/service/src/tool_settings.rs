//! Which methods of a service are tools of the Model Context Protocol, as its settings say.

use config::{checked, keys};

keys! {
    /// Which methods of a service are tools, and what is declared of them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ToolSettings: "Services as tools", absent: "does not show services as tools" {
        /// Which methods of a service are tools: `off`, `*`, or a list such as `shop.Orders/Get, shop.Stock/*`.
        /// Empty: `*` for agents, tools and workers, `off` for other services.
        mcp: Option<MethodList> = checked("", optional_list, is_list, EXPECTED).per_service(),
        /// Methods that change nothing: tools that clients may call without asking.
        mcp_read_only: MethodList = checked("", MethodList::parse, is_list, EXPECTED).per_service(),
        /// Methods that may overwrite or remove what is there.
        mcp_destructive: MethodList = checked("", MethodList::parse, is_list, EXPECTED).per_service(),
        /// Methods whose calls take long: they run as durable jobs. Empty: `ExecuteTask` of agents and
        /// `ProcessTask` of workers.
        mcp_tasks: Option<MethodList> = checked("", optional_list, is_list, EXPECTED).per_service(),
    }
}

const EXPECTED: &str = "off, *, or methods such as shop.Orders/Get, shop.Stock/*";

/// Methods by their names, or by patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodList(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*`
    All,
    /// `pkg.Service/*`
    Service(String),
    /// `pkg.Service/Method`
    Method(String, String),
}

/// How a list names a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    /// Not at all.
    No,
    /// By a pattern that matches others too.
    ByPattern,
    /// By its name.
    ByName,
}

impl MethodList {
    /// Every method.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Pattern::All])
    }

    /// Reads `off`, `*`, or methods with commas between them; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = config::parse_list(text);
        words.retain(|word| !word.is_empty());
        if words.iter().any(|word| word == "off") {
            // Among methods it would be a mistake.
            return (words.len() == 1).then(Self::default);
        }
        let patterns = words.iter().map(|word| Pattern::parse(word));
        patterns.collect::<Option<_>>().map(Self)
    }

    /// How it names the method of a gRPC service by its full name.
    #[must_use]
    pub fn lists(&self, service: &str, method: &str) -> Listed {
        let listed = self.0.iter().map(|pattern| match pattern {
            Pattern::All => Listed::ByPattern,
            Pattern::Service(name) if name == service => Listed::ByPattern,
            Pattern::Method(name, own) if name == service && own == method => Listed::ByName,
            Pattern::Service(_) | Pattern::Method(..) => Listed::No,
        });
        listed.max().unwrap_or(Listed::No)
    }

    /// Whether it names the method of a gRPC service.
    #[must_use]
    pub fn contains(&self, service: &str, method: &str) -> bool {
        self.lists(service, method) != Listed::No
    }

    /// Whether it names none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The methods that it names one by one: gRPC service and method.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|pattern| match pattern {
            Pattern::Method(service, method) => Some((service.as_str(), method.as_str())),
            Pattern::All | Pattern::Service(_) => None,
        })
    }
}

impl std::fmt::Display for MethodList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("off");
        }
        for (at, pattern) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match pattern {
                Pattern::All => f.write_str("*")?,
                Pattern::Service(service) => write!(f, "{service}/*")?,
                Pattern::Method(service, method) => write!(f, "{service}/{method}")?,
            }
        }
        Ok(())
    }
}

impl Pattern {
    fn parse(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Self::All);
        }
        let plain = |text: &str, more: &[u8]| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        };
        let (service, method) = word.trim_start_matches('/').split_once('/')?;
        if !plain(service, b"_.") {
            return None;
        }
        match method {
            "*" => Some(Self::Service(service.to_owned())),
            method if plain(method, b"_") => {
                Some(Self::Method(service.to_owned(), method.to_owned()))
            }
            _ => None,
        }
    }
}

fn optional_list(text: &str) -> Option<Option<MethodList>> {
    match text.trim() {
        "" => Some(None),
        text => MethodList::parse(text).map(Some),
    }
}

fn is_list(text: &str) -> bool {
    MethodList::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_one_by_one_by_service_or_all() {
        let list = MethodList::parse("shop.Orders/Get, shop.Stock/*").unwrap();
        assert_eq!(list.lists("shop.Orders", "Get"), Listed::ByName);
        assert_eq!(list.lists("shop.Orders", "Put"), Listed::No);
        assert_eq!(list.lists("shop.Stock", "Put"), Listed::ByPattern);
        assert_eq!(list.names().collect::<Vec<_>>(), [("shop.Orders", "Get")]);
        assert_eq!(list.to_string(), "shop.Orders/Get, shop.Stock/*");
        assert_eq!(MethodList::all().lists("a.B", "C"), Listed::ByPattern);
        let off = MethodList::parse("off").unwrap();
        assert!(off.is_empty() && !off.contains("a.B", "C"));
        assert_eq!(off.to_string(), "off");
        // As the log of a server writes a method.
        assert!(MethodList::parse("/a.B/C").unwrap().contains("a.B", "C"));
    }

    #[test]
    fn what_names_no_method_is_refused() {
        for text in [
            "on",
            "off, a.B/C",
            "a.B",
            "a.B/",
            "/",
            "a.B/C/D",
            "a b.C/D",
            "a.B/**",
        ] {
            assert_eq!(MethodList::parse(text), None, "{text}");
        }
        for text in ["", "*", "*, a.B/C", "B/C"] {
            assert!(is_list(text), "{text}");
        }
        assert_eq!(optional_list(" "), Some(None));
        assert_eq!(optional_list("off"), Some(Some(MethodList::default())));
    }
}
