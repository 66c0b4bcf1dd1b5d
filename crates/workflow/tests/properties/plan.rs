//! What a case is about: a graph, how its nodes end, and in which order.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<NodePlan>,
    pub(crate) edges: Vec<EdgePlan>,
    /// Which of what can happen happens next.
    pub(crate) order: Vec<u16>,
    pub(crate) patches: Vec<PatchPlan>,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct NodePlan {
    /// 0–4 a job, 5 a conditional, 6 a loop, 7 a question, 8 a timer.
    pub(crate) kind: u8,
    /// 0 all, 1 any, 2 two.
    pub(crate) join: u8,
    pub(crate) on_error_continue: bool,
    pub(crate) attempts: u8,
    /// How many of ten attempts fail.
    pub(crate) fails: u8,
    /// Of a loop: how far back, and how often.
    pub(crate) back: u8,
    pub(crate) rounds: u8,
    pub(crate) first: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct EdgePlan {
    pub(crate) from: u8,
    pub(crate) to: u8,
    /// `output.n > K`.
    pub(crate) over: Option<u8>,
    /// 0–3 success, 4 failure, 5 always.
    pub(crate) on: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct PatchPlan {
    /// After how many steps.
    pub(crate) after: u8,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) over: Option<u8>,
    /// Takes an edge away instead.
    pub(crate) removes: bool,
}

fn nodes() -> impl Strategy<Value = NodePlan> {
    let shape = (0..9_u8, 0..6_u8, any::<bool>(), 1..4_u8);
    let ends = (0..5_u8, 0..4_u8, 1..4_u8, any::<bool>(), 0..4_u8);
    (shape, ends).prop_map(
        |((kind, join, fault, attempts), (fails, back, rounds, first, rare))| NodePlan {
            kind,
            join: join.min(5) / 2 % 3,
            on_error_continue: fault && rare == 0,
            attempts,
            fails: if rare == 3 { 0 } else { fails },
            back,
            rounds,
            first,
        },
    )
}

fn edges() -> impl Strategy<Value = EdgePlan> {
    (0..12_u8, 0..12_u8, option::weighted(0.3, 0..10_u8), 0..6_u8)
        .prop_map(|(from, to, over, on)| EdgePlan { from, to, over, on })
}

fn patches() -> impl Strategy<Value = PatchPlan> {
    (
        0..6_u8,
        0..12_u8,
        0..12_u8,
        option::weighted(0.3, 0..10_u8),
        any::<bool>(),
    )
        .prop_map(|(after, from, to, over, removes)| PatchPlan {
            after,
            from,
            to,
            over,
            removes,
        })
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    (
        vec(nodes(), 1..11),
        vec(edges(), 0..18),
        vec(any::<u16>(), 16),
        vec(patches(), 0..5),
        any::<u64>(),
    )
        .prop_map(|(nodes, edges, order, patches, seed)| Plan {
            nodes,
            edges,
            order,
            patches,
            seed,
        })
}

/// A number that a seed and some others make: SplitMix64.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    let mut mixed = 0_u64;
    for part in parts {
        mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// How an attempt of a job ends: with this number, or with a failure.
pub(crate) fn outcome(plan: &Plan, node: &str, iteration: u32, attempt: u32) -> Result<i64, bool> {
    let at = place(node);
    let fails = plan.nodes.get(at).map_or(0, |node| u64::from(node.fails));
    let drawn = mix(&[
        plan.seed,
        at as u64,
        u64::from(iteration),
        u64::from(attempt),
    ]);
    if drawn % 10 < fails {
        return Err(!(drawn / 10).is_multiple_of(3));
    }
    let value = mix(&[plan.seed, 77, at as u64, u64::from(iteration)]) % 10;
    Ok(i64::try_from(value).unwrap_or(0))
}

/// What a person says.
pub(crate) fn approves(plan: &Plan, node: &str, iteration: u32) -> bool {
    mix(&[plan.seed, 5, place(node) as u64, u64::from(iteration)]).is_multiple_of(2)
}

/// `n7` is the node at 7.
pub(crate) fn place(node: &str) -> usize {
    node.trim_start_matches(['n', 'p']).parse().unwrap_or(0)
}

impl Plan {
    fn kind(&self, at: usize) -> &'static str {
        match self.nodes[at].kind {
            5 => "conditional",
            6 => "loop",
            7 => "hitl",
            8 => "timer",
            _ => "call",
        }
    }

    /// Whether conditions on `n` make sense after a node.
    fn has_number(&self, at: usize) -> bool {
        matches!(self.kind(at), "call" | "conditional" | "loop")
    }

    pub(crate) fn condition(&self, from: usize, over: Option<u8>) -> Option<String> {
        let over = over?;
        if self.has_number(from) {
            return Some(format!("output.n > {over}"));
        }
        (self.kind(from) == "hitl").then(|| "output.approved".to_owned())
    }

    pub(crate) fn document(&self) -> Value {
        let count = self.nodes.len();
        let mut edges: Vec<Value> = Vec::new();
        let mut drawn: Vec<(usize, usize)> = Vec::new();
        let mut into = vec![0_usize; count];
        for edge in &self.edges {
            let (a, b) = (usize::from(edge.from) % count, usize::from(edge.to) % count);
            let (from, to) = (a.min(b), a.max(b));
            if from == to || drawn.contains(&(from, to)) {
                continue;
            }
            drawn.push((from, to));
            into[to] += 1;
            let on = match edge.on {
                4 => "failure",
                5 => "always",
                _ => "success",
            };
            let mut value = json!({"from": format!("n{from}"), "to": format!("n{to}"), "on": on});
            if let Some(condition) = self.condition(from, edge.over) {
                value["condition"] = json!(condition);
            }
            edges.push(value);
        }
        let nodes = self.nodes.iter().enumerate().map(|(at, plan)| {
            let kind = self.kind(at);
            let config = match kind {
                "call" => json!({"service": "s", "method": "m"}),
                "conditional" => json!({"match": if plan.first { "first" } else { "all" }}),
                "loop" => json!({
                    "max_iterations": plan.rounds,
                    "loop_back_to": format!("n{}", self.loop_back(at, &drawn)),
                    "condition": format!("output.n > {}", plan.back + 2),
                }),
                "hitl" => json!({"message": "?"}),
                _ => json!({"duration_ms": 5}),
            };
            // Which number a branch sees would depend on what comes first.
            let free = !matches!(kind, "conditional" | "loop");
            let join = match plan.join {
                _ if !free => json!("all"),
                1 if into[at] > 0 => json!("any"),
                2 if into[at] > 1 => json!(2),
                _ => json!("all"),
            };
            json!({
                "id": format!("n{at}"), "type": kind, "config": config, "join": join,
                "on_error": if plan.on_error_continue { "continue" } else { "fail" },
                "retry": {"max_attempts": plan.attempts, "backoff_ms": 0},
            })
        });
        let nodes: Vec<Value> = nodes.collect();
        json!({"nodes": nodes, "edges": edges})
    }

    /// The node that a loop goes back to: some steps against the edges.
    fn loop_back(&self, at: usize, drawn: &[(usize, usize)]) -> usize {
        let mut node = at;
        for step in 0..self.nodes[at].back {
            let before: Vec<usize> = drawn
                .iter()
                .filter(|(_, to)| *to == node)
                .map(|(from, _)| *from)
                .collect();
            if before.is_empty() {
                break;
            }
            let drawn = mix(&[self.seed, at as u64, u64::from(step)]);
            node = before[usize::try_from(drawn % before.len() as u64).unwrap_or(0)];
        }
        node
    }
}
