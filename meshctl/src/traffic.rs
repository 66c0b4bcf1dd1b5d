//! The traffic of the mesh between two looks at its admin listeners.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    admin::AdminClient,
    exposition::Samples,
    histogram::{Calls, Traffic},
    instances,
    member::Member,
    router::Channel,
};

/// How many programs are asked at once.
const AT_ONCE: usize = 32;
/// The calls that a router has in flight at an instance, and all that it has sent there.
const IN_FLIGHT: &str = "mesh_instance_calls";
const PICKS: &str = "mesh_instance_picks_total";

/// All counters at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    at: Instant,
    members: Vec<Member>,
    /// By instance ID.
    scraped: BTreeMap<String, Samples>,
    /// Those whose admin listener does not answer.
    silent: Vec<String>,
}

/// A service, or one of its instances.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) service: String,
    /// Empty for the service as a whole.
    pub(crate) instance: String,
    pub(crate) traffic: Traffic,
    /// Calls each second.
    pub(crate) rate: f64,
    pub(crate) in_flight: Option<f64>,
}

/// What came between two looks.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) time: Duration,
    /// The busiest service first and the routers last, each service before its instances.
    pub(crate) rows: Vec<Row>,
    pub(crate) silent: Vec<String>,
}

impl Look {
    /// Asks a router who is there, and everybody for counters.
    ///
    /// # Errors
    /// When the router does not tell.
    pub(crate) async fn take(channel: &Channel, client: &AdminClient) -> anyhow::Result<Self> {
        let told = instances::all(channel).await?;
        let all = told.instances.into_iter().chain(told.routers);
        let members: Vec<Member> = all.map(Member::of).collect();
        let asked: Vec<_> = members
            .iter()
            .filter_map(|member| {
                let (id, address) = (member.id.clone(), member.admin.clone()?);
                Some(async move { (id, client.get(&address, "/metrics").await) })
            })
            .collect();
        let at = Instant::now();
        let (mut scraped, mut silent) = (BTreeMap::new(), Vec::new());
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(answer) if answer.status == 200 => {
                    scraped.insert(id, Samples::read(&answer.text));
                }
                Ok(answer) => silent.push(format!("{id}: {}", answer.text.trim())),
                Err(reason) => silent.push(format!("{id}: {reason}")),
            }
        }
        drop(answers);
        silent.sort();
        Ok(Self {
            at,
            members,
            scraped,
            silent,
        })
    }

    /// What came since an earlier look, of some services or of all.
    pub(crate) fn since(&self, earlier: &Self, only: &[String]) -> Report {
        let time = self.at.saturating_duration_since(earlier.at);
        let wanted = |name: &str| only.is_empty() || only.iter().any(|it| it == name);
        let services: BTreeMap<&str, ()> = self
            .members
            .iter()
            .filter(|it| wanted(&it.service))
            .map(|it| (&*it.service, ()))
            .collect();
        let mut groups: Vec<Vec<Row>> = services
            .keys()
            .map(|service| self.group(earlier, service, time))
            .collect();
        // The routers carry what the others are called for: they come after them.
        let router = |group: &[Row]| group.first().is_some_and(|row| row.in_flight.is_none());
        let rate = |group: &[Row]| group.first().map_or(0.0, |row| row.rate);
        groups.sort_by(|a, b| {
            let by_rate = rate(b).total_cmp(&rate(a));
            router(a).cmp(&router(b)).then(by_rate)
        });
        Report {
            time,
            rows: groups.into_iter().flatten().collect(),
            silent: self.silent.clone(),
        }
    }

    /// A service and its instances.
    fn group(&self, earlier: &Self, service: &str, time: Duration) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut total = Calls::default();
        for member in self.members.iter().filter(|it| it.service == service) {
            let mut calls = self.own(&member.id).map(|now| {
                let before = earlier.own(&member.id).unwrap_or_default();
                now.since(&before)
            });
            if let Some(calls) = &calls {
                total.add(calls);
            }
            // Others' programs tell nothing: the routers know what they sent there.
            let sent = self.at_instance(PICKS, member) - earlier.at_instance(PICKS, member);
            let calls = calls
                .take()
                .map(|calls| calls.traffic())
                .unwrap_or(Traffic {
                    calls: sent.max(0.0),
                    ..Traffic::default()
                });
            let in_flight = (!member.router).then(|| self.at_instance(IN_FLIGHT, member));
            rows.push(row(service, &member.id, calls, time, in_flight));
        }
        // What a router relays is its traffic, too; by service it tells only what it answers itself.
        let routers = self
            .members
            .iter()
            .any(|it| it.service == service && it.router);
        let by_routers = (!routers).then(|| self.by_routers(earlier, service));
        let by_routers = by_routers.flatten();
        let traffic = by_routers.unwrap_or(total).traffic();
        let known: Vec<f64> = rows.iter().filter_map(|row| row.in_flight).collect();
        let in_flight = (!known.is_empty()).then(|| known.iter().sum());
        rows.insert(0, row(service, "", traffic, time, in_flight));
        rows
    }

    /// The calls that an instance has served itself. A router's are those that it relayed.
    fn own(&self, id: &str) -> Option<Calls> {
        Some(Calls::of(self.scraped.get(id)?, |_| true))
    }

    /// The calls of a service as its callers had them from the routers; `None` when no router tells
    /// calls by service.
    fn by_routers(&self, earlier: &Self, service: &str) -> Option<Calls> {
        let mut total = None;
        for router in self.members.iter().filter(|it| it.router) {
            let Some(samples) = self.scraped.get(&router.id) else {
                continue;
            };
            let is_told = samples.0.iter().any(|it| it.label("service") == service);
            let of = |samples| Calls::of(samples, |it| it.label("service") == service);
            let before = earlier.scraped.get(&router.id).map(of).unwrap_or_default();
            let now = of(samples);
            if is_told && now != Calls::default() {
                total
                    .get_or_insert_with(Calls::default)
                    .add(&now.since(&before));
            }
        }
        total
    }

    /// What all routers together say of one instance.
    fn at_instance(&self, name: &str, member: &Member) -> f64 {
        let routers = self.members.iter().filter(|it| it.router);
        let samples = routers.filter_map(|router| self.scraped.get(&router.id));
        let values = samples.flat_map(|samples| {
            let of = samples
                .of(name)
                .filter(|it| it.label("instance") == member.id);
            of.map(|it| it.value)
        });
        values.sum()
    }
}

fn row(service: &str, id: &str, traffic: Traffic, time: Duration, in_flight: Option<f64>) -> Row {
    Row {
        service: service.to_owned(),
        instance: id.to_owned(),
        rate: traffic.calls / time.as_secs_f64().max(f64::MIN_POSITIVE),
        traffic,
        in_flight,
    }
}

impl Report {
    /// As programs read it.
    pub(crate) fn value(&self) -> Value {
        let mut services: Vec<Value> = Vec::new();
        for row in &self.rows {
            let [p50, p95, p99] = row.traffic.quantiles;
            let mut value = json!({
                "rate": row.rate,
                "success": row.traffic.success,
                "p50_seconds": p50,
                "p95_seconds": p95,
                "p99_seconds": p99,
                "in_flight": row.in_flight,
            });
            match (row.instance.as_str(), services.last_mut()) {
                ("", _) => {
                    value["service"] = row.service.clone().into();
                    value["instances"] = json!([]);
                    services.push(value);
                }
                (id, Some(service)) => {
                    value["instance"] = id.into();
                    if let Some(instances) = service["instances"].as_array_mut() {
                        instances.push(value);
                    }
                }
                (_, None) => {}
            }
        }
        let seconds = self.time.as_secs_f64();
        json!({ "seconds": seconds, "services": services, "silent": self.silent })
    }

    /// The heading of [`Self::table`].
    pub(crate) const HEADING: [&str; 7] = [
        "SERVICE / INSTANCE",
        "CALLS/S",
        "SUCCESS",
        "P50",
        "P95",
        "P99",
        "IN FLIGHT",
    ];

    /// As people read it.
    pub(crate) fn table(&self) -> Vec<[String; 7]> {
        let row = |row: &Row| {
            let [p50, p95, p99] = row.traffic.quantiles.map(|it| it.map_or_else(dash, time));
            let success = row.traffic.success;
            let success = success.map_or_else(dash, |it| format!("{:.2} %", it * 100.0));
            let name = match row.instance.as_str() {
                "" => row.service.clone(),
                id => format!("  {}", crate::output::plain(id)),
            };
            let in_flight = row.in_flight.map_or_else(dash, |it| format!("{it}"));
            [
                name,
                format!("{:.1}", row.rate),
                success,
                p50,
                p95,
                p99,
                in_flight,
            ]
        };
        self.rows.iter().map(row).collect()
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// A duration in the unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        it if it < 0.001 => format!("{:.0} µs", it * 1e6),
        it if it < 1.0 => format!("{:.1} ms", it * 1e3),
        it => format!("{it:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "rpc_server_call_duration_seconds";

    fn look(at: Instant, router: &str, instance: &str) -> Look {
        let member = |id: &str, service: &str, router| Member {
            id: id.to_owned(),
            service: service.to_owned(),
            router,
            ..Member::default()
        };
        let scraped = [("router-1", router), ("shop-1", instance)];
        Look {
            at,
            members: vec![
                member("shop-1", "shop", false),
                member("foreign-1", "foreign", false),
                member("router-1", "mcp-router", true),
            ],
            scraped: scraped
                .map(|(id, text)| (id.to_owned(), Samples::read(text)))
                .into(),
            silent: Vec::new(),
        }
    }

    #[test]
    fn services_are_as_routers_see_them_and_instances_as_they_say_themselves() {
        let router = |shop: u32, foreign: u32| {
            format!(
                "{SHOP}_bucket{{service=\"shop\",le=\"0.1\"}} {shop}\n\
                 {SHOP}_bucket{{service=\"shop\",le=\"+Inf\"}} {shop}\n\
                 {SHOP}_count{{service=\"shop\"}} {shop}\n\
                 mesh_instance_calls{{service=\"shop\",instance=\"shop-1\"}} 3\n\
                 mesh_instance_picks_total{{service=\"foreign\",instance=\"foreign-1\"}} {foreign}\n"
            )
        };
        let shop = |count: u32| format!("{SHOP}_count{{rpc_method=\"a.B/C\"}} {count}\n");
        let start = Instant::now();
        let first = look(start, &router(10, 5), &shop(7));
        let second = look(start + Duration::from_secs(2), &router(30, 9), &shop(11));
        let report = second.since(&first, &[]);
        let of = |name: &str, id: &str| {
            let found = report
                .rows
                .iter()
                .find(|it| it.service == name && it.instance == id);
            found.unwrap().clone()
        };
        assert_eq!(
            (of("shop", "").rate, of("shop", "shop-1").rate),
            (10.0, 2.0)
        );
        assert_eq!(of("shop", "").in_flight, Some(3.0));
        assert_eq!(of("shop", "").traffic.quantiles[0], Some(0.05));
        assert_eq!(of("foreign", "foreign-1").rate, 2.0);
        assert_eq!(report.rows[0].service, "shop", "the busiest first");
        let only = second.since(&first, &["foreign".to_owned()]);
        assert_eq!(only.rows.len(), 2);
        let value = report.value();
        assert_eq!(value["services"][0]["instances"][0]["instance"], "shop-1");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            [time(0.000_25), time(0.0125), time(3.0)],
            ["250 µs", "12.5 ms", "3.00 s"]
        );
    }
}
