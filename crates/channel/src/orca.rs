//! Load reports in trailers, in the form of gRPC's ORCA: `xds.data.orca.v3`.

use std::collections::HashMap;

use balance::LoadReport;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use tonic::metadata::MetadataMap;

const BINARY: &str = "endpoint-load-metrics-bin";
const TEXT: &str = "endpoint-load-metrics";

/// `xds.data.orca.v3.OrcaLoadReport`: the fields about the load of an instance.
#[derive(Clone, PartialEq, prost::Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

/// The report in trailers, which `field` looks up; `None` when there is none or it is unusable.
pub(crate) fn read<'a>(field: impl Fn(&str) -> Option<&'a [u8]>) -> Option<LoadReport> {
    if let Some(value) = field(BINARY) {
        return of(&binary(value)?);
    }
    let text = std::str::from_utf8(field(TEXT)?).ok()?;
    let (form, rest) = text.trim().split_once(' ')?;
    match form {
        "TEXT" => of_numbers(&pairs(rest)),
        "JSON" => of_numbers(&serde_json::from_str(rest).ok()?),
        "BIN" => of(&binary(rest.trim().as_bytes())?),
        _ => None,
    }
}

fn binary(base64: &[u8]) -> Option<OrcaLoadReport> {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static(BINARY),
        HeaderValue::from_bytes(base64).ok()?,
    );
    let metadata = MetadataMap::from_headers(headers);
    OrcaLoadReport::decode(metadata.get_bin(BINARY)?.to_bytes().ok()?).ok()
}

/// `name=number, name=number`.
fn pairs(text: &str) -> HashMap<String, serde_json::Value> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(name, number)| {
            let number: f64 = number.trim().parse().ok()?;
            Some((name.trim().to_owned(), number.into()))
        })
        .collect()
}

fn of_numbers(numbers: &HashMap<String, serde_json::Value>) -> Option<LoadReport> {
    let number = |name: &str| numbers.get(name).and_then(serde_json::Value::as_f64);
    of(&OrcaLoadReport {
        cpu_utilization: number("cpu_utilization").unwrap_or_default(),
        rps_fractional: number("rps_fractional").unwrap_or_default(),
        eps: number("eps").unwrap_or_default(),
        application_utilization: number("application_utilization").unwrap_or_default(),
    })
}

fn of(report: &OrcaLoadReport) -> Option<LoadReport> {
    let own = report.application_utilization;
    let report = LoadReport {
        utilization: if own > 0.0 {
            own
        } else {
            report.cpu_utilization
        },
        calls: report.rps_fractional,
        errors: report.eps,
    };
    (report.utilization > 0.0 && report.calls > 0.0).then_some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(name: &'static str, value: &str) -> Option<LoadReport> {
        read(|field| (field == name).then_some(value.as_bytes()))
    }

    #[test]
    fn every_form_of_a_report_is_read() {
        let expected = Some(LoadReport {
            utilization: 0.25,
            calls: 120.5,
            errors: 2.0,
        });
        let text = "TEXT cpu_utilization=0.25, rps_fractional=120.5,eps=2,mem_utilization=0.9";
        assert_eq!(reading(TEXT, text), expected);
        let json = r#"JSON {"cpu_utilization": 0.25, "rps_fractional": 120.5, "eps": 2, "named_metrics": {"a": 1}}"#;
        assert_eq!(reading(TEXT, json), expected);
        // Field 1 = 0.25, 6 = 120.5, 7 = 2.0, by hand; and a mem_utilization (2) in front of them.
        let base64 = "EQAAAAAAAOA/CQAAAAAAANA/MQAAAAAAIF5AOQAAAAAAAABA";
        assert_eq!(reading(BINARY, base64), expected);
        assert_eq!(reading(TEXT, &format!("BIN {base64}")), expected);
    }

    #[test]
    fn the_applications_own_utilization_counts_before_the_cpus() {
        let text = "TEXT cpu_utilization=0.25,application_utilization=0.5,rps_fractional=1";
        assert_eq!(reading(TEXT, text).map(|r| r.utilization), Some(0.5));
    }

    #[test]
    fn what_is_no_report_is_none() {
        assert_eq!(read(|_| None), None);
        for text in [
            "",
            "TEXT",
            "TEXT x",
            "TEXT cpu_utilization=0.2",
            "JSON {",
            "JSON []",
            "BIN !",
            "BIN /w",
            "XML <a/>",
        ] {
            assert_eq!(reading(TEXT, text), None, "{text}");
        }
        assert_eq!(reading(BINARY, "%%%"), None);
    }
}
