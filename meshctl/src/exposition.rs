//! Reads what Prometheus reads: the text of `/metrics`.

use std::collections::BTreeMap;

/// One series and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All series of one program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Sample {
    /// The value of a label; empty without one.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Samples {
    /// Reads OpenMetrics or text 0.0.4. A line that is neither is left out.
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(sample).collect())
    }

    /// The series of a name.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a name's series; `None` when there are none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.of(name).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // What follows the value is a time or an exemplar.
    let value = rest.split_whitespace().next()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after;
    }
}

/// The text up to the closing quote without its escapes, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_values_and_exemplars_are_told_apart() {
        let text = "# HELP a b\n# TYPE a counter\na_total 3\n\
            b_bucket{le=\"+Inf\",service=\"x \\\"y\\\" {z}\"} 4 # {trace_id=\"00\"} 0.1 1.5\n\
            c{} 1e-3 1700000000\nbroken{a=\"\n# EOF\n";
        let samples = Samples::read(text);
        assert_eq!(samples.0.len(), 3);
        assert_eq!(samples.sum("a_total"), Some(3.0));
        let bucket = samples.of("b_bucket").next().unwrap();
        assert_eq!(bucket.label("service"), "x \"y\" {z}");
        assert_eq!((bucket.label("le"), bucket.value), ("+Inf", 4.0));
        assert_eq!(samples.sum("c"), Some(0.001));
        assert_eq!(samples.sum("none"), None);
    }
}
