//! HAProxy sees every router.

use std::collections::BTreeMap;

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "haproxy",
    about: "HAProxy has every ready router up",
    run: |scene| Box::pin(look(scene)),
};

/// Where its statistics are unless something else is said.
const DEFAULT: &str = "127.0.0.1:8404";
/// The backend of the routers.
const BACKEND: &str = "routers";

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    name: String,
    address: String,
    status: String,
}

async fn look(scene: &Scene) -> Finding {
    let named = scene.haproxy.as_deref();
    let address = named.unwrap_or(DEFAULT);
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let answer = scene.http.get(address, "/;csv").await;
    let servers = answer.and_then(|answer| match answer.status {
        200 => servers(&answer.text).ok_or_else(|| "it sends no statistics".to_owned()),
        status => Err(format!("it says {status}")),
    });
    let servers = match (servers, named) {
        (Ok(servers), _) => servers,
        (Err(reason), Some(_)) => {
            let todo =
                "start it, or name the address of its statistics with --haproxy or HAPROXY_STATS";
            return Finding::wrong(format!("no HAProxy answers at {address}: {reason}"), todo);
        }
        (Err(_), None) => return Finding::not_used(format!("no HAProxy answers at {address}")),
    };
    compare(scene, address, &servers)
}

fn compare(scene: &Scene, address: &str, servers: &[Server]) -> Finding {
    let up: Vec<&Server> = servers
        .iter()
        .filter(|it| it.status.starts_with("UP"))
        .collect();
    let routers: Vec<_> = scene
        .members
        .iter()
        .filter(|it| it.router && it.healthy)
        .collect();
    let todo = "see that Consul's DNS answers HAProxy (CONSUL_DNS) and that it can reach the routers' \
        port; the page of its statistics tells each server's last check";
    if routers.is_empty() {
        return match up.len() {
            0 => Finding::wrong(format!("HAProxy at {address} has no router up"), todo),
            count => Finding::well(format!("HAProxy at {address} has {count} routers up")),
        };
    }
    let knows_addresses = up.iter().any(|it| !it.address.is_empty());
    if knows_addresses {
        let unseen = routers
            .iter()
            .filter(|router| !up.iter().any(|it| it.address == router.address));
        let unseen: Vec<String> = unseen
            .map(|it| format!("{} at {}", it.id, it.address))
            .collect();
        if !unseen.is_empty() {
            let unseen = some(&unseen);
            return Finding::wrong(format!("HAProxy at {address} does not see {unseen}"), todo);
        }
    } else if up.len() < routers.len() {
        let (up, all) = (up.len(), routers.len());
        return Finding::wrong(
            format!("HAProxy at {address} has {up} of {all} routers up"),
            todo,
        );
    }
    Finding::well(format!(
        "HAProxy at {address} has {} routers up",
        routers.len()
    ))
}

/// The servers behind [`BACKEND`] in a table of statistics; `None` where it is none.
fn servers(csv: &str) -> Option<Vec<Server>> {
    let mut lines = csv.lines();
    let names = lines.next()?.strip_prefix("# ")?;
    let names: BTreeMap<&str, usize> = names.split(',').zip(0..).collect();
    let at = |row: &[&str], name: &str| {
        let text = names.get(name).and_then(|at| row.get(*at));
        text.map_or_else(String::new, |text| text.trim_matches('"').to_owned())
    };
    let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let rows = rows.filter(|row| at(row, "pxname") == BACKEND && at(row, "svname") != "BACKEND");
    let server = |row: Vec<&str>| Server {
        name: at(&row, "svname"),
        address: at(&row, "addr"),
        status: at(&row, "status"),
    };
    Some(rows.map(server).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_by_the_names_of_the_columns() {
        let csv = "# pxname,svname,status,addr,\ngrpc,FRONTEND,OPEN,,\n\
            routers,router1,UP,10.0.0.1:50051,\nrouters,router2,MAINT (resolution),,\n\
            routers,BACKEND,UP,,\n";
        let found = servers(csv).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].address, "10.0.0.1:50051");
        assert_eq!(
            (&*found[1].name, &*found[1].status),
            ("router2", "MAINT (resolution)")
        );
        assert_eq!(servers("<html>"), None);
    }
}
