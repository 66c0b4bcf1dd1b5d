//! What has to become of a graph, computed as naively as possible: look at every node again and again.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::{Plan, approves, outcome};

/// How a node ended in an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    /// With `n`, or what a person said.
    Done(Option<i64>, Option<bool>),
    /// `handled`: somebody took care of it.
    Failed {
        handled: bool,
        goes_on: bool,
    },
    Skipped {
        blocked: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Open,
    Taken,
    Skipped,
    Failed,
}

pub(crate) struct Oracle<'p> {
    plan: &'p Plan,
    ids: Vec<String>,
    nodes: Vec<Value>,
    edges: Vec<(usize, usize, Value)>,
    reach: Vec<Vec<bool>>,
    pub(crate) ends: Vec<End>,
    pub(crate) iterations: Vec<u32>,
    rounds: Vec<u32>,
    /// Attempts of each node and iteration.
    pub(crate) attempts: BTreeMap<(String, u32), u32>,
}

impl<'p> Oracle<'p> {
    pub(crate) fn new(plan: &'p Plan, document: &Value) -> Self {
        let nodes = document["nodes"].as_array().cloned().unwrap_or_default();
        let ids: Vec<String> = nodes
            .iter()
            .map(|node| node["id"].as_str().unwrap_or_default().to_owned())
            .collect();
        let at = |id: &Value| {
            let id = id.as_str().unwrap_or_default();
            ids.iter()
                .position(|known| known == id)
                .expect("it is there")
        };
        let edges: Vec<(usize, usize, Value)> = document["edges"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|edge| (at(&edge["from"]), at(&edge["to"]), edge.clone()))
            .collect();
        let count = nodes.len();
        // Warshall.
        let mut reach = vec![vec![false; count]; count];
        for (from, to, _) in &edges {
            reach[*from][*to] = true;
        }
        for via in 0..count {
            for from in 0..count {
                for to in 0..count {
                    let found = reach[from][via] && reach[via][to];
                    reach[from][to] |= found;
                }
            }
        }
        Self {
            plan,
            nodes,
            edges,
            reach,
            ends: vec![End::Open; count],
            iterations: vec![0; count],
            rounds: vec![0; count],
            attempts: BTreeMap::new(),
            ids,
        }
    }

    fn kind(&self, at: usize) -> &str {
        self.nodes[at]["type"].as_str().unwrap_or_default()
    }

    /// The nodes that a loop repeats: those on ways from where it goes back to, that are not after it.
    fn body(&self, at: usize) -> Vec<usize> {
        let back = self.nodes[at]["config"]["loop_back_to"]
            .as_str()
            .unwrap_or_default();
        let back = self
            .ids
            .iter()
            .position(|id| id == back)
            .expect("it is there");
        (0..self.nodes.len())
            .filter(|node| {
                let inside = *node == back || self.reach[back][*node];
                *node == at || (inside && !self.reach[at][*node])
            })
            .collect()
    }

    pub(crate) fn loops(&self) -> Vec<usize> {
        let nodes = 0..self.nodes.len();
        nodes.filter(|at| self.kind(*at) == "loop").collect()
    }

    pub(crate) fn run(&mut self) {
        while (0..self.nodes.len()).any(|at| self.advance(at)) {}
    }

    /// What an edge is by how its node ended.
    fn edge(&self, index: usize) -> Edge {
        let (from, to, _) = self.edges[index];
        for repeat in self.loops() {
            let body = self.body(repeat);
            let leaves = from != repeat && body.contains(&from) && !body.contains(&to);
            if leaves && self.ends[repeat] == End::Open {
                return Edge::Open;
            }
        }
        self.chosen(from)
            .map_or(Edge::Failed, |chosen| self.state(index, &chosen))
    }

    fn state(&self, index: usize, chosen: &[usize]) -> Edge {
        let (from, _, edge) = &self.edges[index];
        let on = edge["on"].as_str().unwrap_or("success");
        match self.ends[*from] {
            End::Open => Edge::Open,
            End::Skipped { blocked: false } => Edge::Skipped,
            End::Skipped { blocked: true } if on == "always" => Edge::Taken,
            End::Skipped { blocked: true } => Edge::Failed,
            _ if chosen.contains(&index) => Edge::Taken,
            End::Failed {
                handled: false,
                goes_on: false,
            } if on == "success" => Edge::Failed,
            _ => Edge::Skipped,
        }
    }

    /// The edges of a node that has run which are taken; `Err` if a condition has no value.
    fn chosen(&self, at: usize) -> Result<Vec<usize>, ()> {
        let (number, said, fits): (Option<i64>, Option<bool>, &[&str]) = match self.ends[at] {
            End::Done(number, said) => (number, said, &["success", "always"]),
            End::Failed { goes_on: true, .. } => (None, None, &["success", "always", "failure"]),
            End::Failed { .. } => (None, None, &["always", "failure"]),
            End::Open | End::Skipped { .. } => return Ok(Vec::new()),
        };
        let candidates: Vec<usize> = (0..self.edges.len())
            .filter(|edge| {
                let (from, _, edge) = &self.edges[*edge];
                *from == at && fits.contains(&edge["on"].as_str().unwrap_or("success"))
            })
            .collect();
        let condition = |edge: &usize| self.edges[*edge].2["condition"].as_str().map(str::to_owned);
        let holds = |edge: &usize| match condition(edge) {
            None => Ok(true),
            Some(text) if text == "output.approved" => said.ok_or(()),
            Some(text) => {
                let over: i64 = text
                    .rsplit(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .ok_or(())?;
                number.map(|number| number > over).ok_or(())
            }
        };
        let branches = match self.kind(at) {
            "hitl" => true,
            "conditional" => self.nodes[at]["config"]["match"] == "first",
            _ => false,
        };
        let is_branch = matches!(self.kind(at), "hitl" | "conditional");
        let with: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|edge| condition(edge).is_some())
            .collect();
        if !is_branch || with.is_empty() {
            let mut taken = Vec::new();
            for edge in candidates {
                if holds(&edge)? {
                    taken.push(edge);
                }
            }
            return Ok(taken);
        }
        let mut taken: Vec<usize> = Vec::new();
        for edge in &with {
            if branches && !taken.is_empty() {
                break;
            }
            if holds(edge)? {
                taken.push(*edge);
            }
        }
        if let (true, Some(first)) = (branches, taken.first().copied()) {
            let text = condition(&first);
            taken = with
                .into_iter()
                .filter(|edge| condition(edge) == text)
                .collect();
        }
        if taken.is_empty() {
            taken = candidates
                .into_iter()
                .filter(|edge| condition(edge).is_none())
                .collect();
        }
        Ok(taken)
    }

    /// Decides a node, if it can be decided; whether anything changed.
    fn advance(&mut self, at: usize) -> bool {
        if self.ends[at] != End::Open {
            return false;
        }
        if self.kind(at) == "loop" {
            let body = self.body(at);
            if body
                .iter()
                .any(|node| *node != at && self.ends[*node] == End::Open)
            {
                return false;
            }
        }
        let into: Vec<usize> = (0..self.edges.len())
            .filter(|edge| self.edges[*edge].1 == at)
            .collect();
        let states: Vec<Edge> = into.iter().map(|edge| self.edge(*edge)).collect();
        let count = |state: Edge| states.iter().filter(|known| **known == state).count();
        let (taken, open, failed) = (count(Edge::Taken), count(Edge::Open), count(Edge::Failed));
        let needed = match &self.nodes[at]["join"] {
            Value::String(word) if word == "any" => Some(1),
            Value::Number(number) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok()),
            _ => None,
        };
        let runs = into.is_empty()
            || needed.map_or(open == 0 && taken > 0 && failed == 0, |needed| {
                taken >= needed
            });
        if runs {
            self.execute(at, &into, &states);
            return true;
        }
        if open > 0 {
            return false;
        }
        self.ends[at] = End::Skipped {
            blocked: failed > 0,
        };
        true
    }

    fn number_before(&self, into: &[usize], states: &[Edge]) -> Option<i64> {
        if into.is_empty() {
            return Some(5);
        }
        let taken = into
            .iter()
            .zip(states)
            .filter(|(_, state)| **state == Edge::Taken);
        let mut numbers = taken.filter_map(|(edge, _)| match self.ends[self.edges[*edge].0] {
            End::Done(number, _) => number,
            _ => None,
        });
        numbers.by_ref().last()
    }

    fn execute(&mut self, at: usize, into: &[usize], states: &[Edge]) {
        let id = self.ids[at].clone();
        let iteration = self.iterations[at];
        let number = match self.kind(at) {
            "call" => self.attempt(at, &id, iteration),
            "hitl" => {
                self.ends[at] = End::Done(None, Some(approves(self.plan, &id, iteration)));
                return self.check_edges(at);
            }
            "timer" => {
                self.ends[at] = End::Done(None, None);
                return self.check_edges(at);
            }
            _ => Ok(self.number_before(into, states)),
        };
        let Ok(number) = number else {
            return self.fail(at);
        };
        if self.kind(at) != "loop" {
            self.ends[at] = End::Done(number, None);
            return self.check_edges(at);
        }
        let text = self.nodes[at]["config"]["condition"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let over: i64 = text
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let most = self.nodes[at]["config"]["max_iterations"]
            .as_u64()
            .unwrap_or(1);
        match number {
            None => self.fail(at),
            Some(number) if number > over && u64::from(self.rounds[at]) + 1 < most => {
                let rounds = self.rounds[at] + 1;
                for node in self.body(at) {
                    self.ends[node] = End::Open;
                    self.iterations[node] += 1;
                    self.rounds[node] = 0;
                }
                self.rounds[at] = rounds;
            }
            Some(number) => {
                self.ends[at] = End::Done(Some(number), None);
                self.check_edges(at);
            }
        }
    }

    /// Runs the attempts of a job.
    fn attempt(&mut self, at: usize, id: &str, iteration: u32) -> Result<Option<i64>, ()> {
        let most = self.nodes[at]["retry"]["max_attempts"]
            .as_u64()
            .unwrap_or(1);
        let most = u32::try_from(most).unwrap_or(1);
        for attempt in 1..=most {
            self.attempts.insert((id.to_owned(), iteration), attempt);
            match outcome(self.plan, id, iteration, attempt) {
                Ok(number) => return Ok(Some(number)),
                Err(true) => {}
                Err(false) => return Err(()),
            }
        }
        Err(())
    }

    /// A node whose edges cannot be decided has failed.
    fn check_edges(&mut self, at: usize) {
        if self.chosen(at).is_err() {
            self.fail(at);
        }
    }

    fn fail(&mut self, at: usize) {
        let goes_on = self.nodes[at]["on_error"] == "continue";
        self.ends[at] = End::Failed {
            handled: goes_on,
            goes_on,
        };
        if goes_on && self.chosen(at).is_err() {
            self.ends[at] = End::Failed {
                handled: false,
                goes_on: false,
            };
        }
        let takes_care = |edge: &usize| self.edges[*edge].2["on"] == "failure";
        let cared_for = self
            .chosen(at)
            .is_ok_and(|chosen| chosen.iter().any(takes_care));
        if let End::Failed { handled, .. } = &mut self.ends[at] {
            *handled |= cared_for;
        }
    }
}
