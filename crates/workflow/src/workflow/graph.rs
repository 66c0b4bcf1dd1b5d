//! Nodes and edges become a graph: loops, entries, and what is wrong with it.

use std::{collections::HashMap, sync::Arc};

use super::{Edge, Join, Node, On, Path, config::Kind, reader::Reader};

/// Connects nodes by edges, and finds out what each loop repeats.
pub(super) fn connect(
    reader: &mut Reader,
    mut nodes: Vec<Node>,
    edges: Vec<Edge>,
    index: &HashMap<Arc<str>, usize>,
) -> Option<(Vec<Node>, Vec<Edge>)> {
    let before = reader.mistakes.len();
    let edges = with_paths(reader, &mut nodes, edges, index);
    for (at, edge) in edges.iter().enumerate() {
        nodes[edge.from].outgoing.push(at);
        nodes[edge.to].incoming.push(at);
    }
    reachable(reader, &nodes, &edges);
    joins(reader, &nodes);
    if reader.mistakes.len() > before {
        return None;
    }
    let mut edges = edges;
    bodies(reader, &mut nodes, &mut edges)?;
    Some((nodes, edges))
}

/// Edges back are left out, and those that only the paths of a loop name are added.
fn with_paths(
    reader: &mut Reader,
    nodes: &mut [Node],
    edges: Vec<Edge>,
    index: &HashMap<Arc<str>, usize>,
) -> Vec<Edge> {
    let mut kept = edges;
    for (at, node) in nodes.iter_mut().enumerate() {
        let Kind::Loop(repeat) = &mut node.kind else {
            continue;
        };
        match index.get(repeat.back_to_id.as_str()) {
            Some(back_to) => repeat.back_to = *back_to,
            None => {
                let message = format!("there is no node `{}`", repeat.back_to_id);
                reader.wrong(format!("/nodes/{at}/config/loop_back_to"), message);
                repeat.back_to = at;
            }
        }
        let back_to = repeat.back_to;
        let paths = [
            (Path::Break, "break_path", repeat.break_path.clone()),
            (Path::Timeout, "timeout_path", repeat.timeout_path.clone()),
        ];
        kept.retain(|edge| edge.from != at || edge.to != back_to);
        for (path, key, ids) in paths {
            for (place, id) in ids.iter().enumerate() {
                let Some(to) = index.get(id.as_str()).copied() else {
                    let message = format!("there is no node `{id}`");
                    reader.wrong(format!("/nodes/{at}/config/{key}/{place}"), message);
                    continue;
                };
                let drawn = kept
                    .iter_mut()
                    .find(|edge| edge.from == at && edge.to == to && edge.path == Path::Either);
                match drawn {
                    Some(edge) => edge.path = path,
                    None => kept.push(Edge {
                        from: at,
                        to,
                        condition: None,
                        on: On::Success,
                        path,
                        holds: Vec::new(),
                        place: None,
                    }),
                }
            }
        }
    }
    kept
}

/// Entries, cycles, and nodes that nothing leads to.
fn reachable(reader: &mut Reader, nodes: &[Node], edges: &[Edge]) {
    if nodes.is_empty() {
        return;
    }
    let entries: Vec<usize> = (0..nodes.len())
        .filter(|at| nodes[*at].incoming.is_empty())
        .collect();
    if entries.is_empty() {
        let message = "no entry: every node has an edge to it, so that none can be the first";
        reader.wrong("/nodes", message);
    }
    let waits = edges.iter().map(|edge| (edge.from, edge.to));
    if let Some(cycle) = cycle(nodes.len(), waits) {
        let first = cycle.first().copied().unwrap_or(0);
        let next = cycle.get(1).copied().unwrap_or(first);
        let at = edges
            .iter()
            .find(|edge| edge.from == first && edge.to == next)
            .and_then(|edge| edge.place)
            .map_or_else(|| "/edges".to_owned(), |at| format!("/edges/{at}"));
        let ids: Vec<_> = cycle.iter().map(|at| nodes[*at].id.as_ref()).collect();
        let message = format!(
            "a cycle without a loop: {}; repeat by a node of the type `loop` with `loop_back_to`",
            ids.join(" → ")
        );
        reader.wrong(at, message);
    }
    let reached = reach(nodes, edges, &entries, None);
    for (at, node) in nodes.iter().enumerate() {
        if !reached[at] && !entries.is_empty() {
            let message = format!(
                "`{}` cannot be reached from where the workflow begins",
                node.id
            );
            reader.wrong(format!("/nodes/{at}"), message);
        }
    }
}

/// What can be reached from some nodes, these too. Edges out of `barrier` are not followed.
fn reach(nodes: &[Node], edges: &[Edge], from: &[usize], barrier: Option<usize>) -> Vec<bool> {
    let mut reached = vec![false; nodes.len()];
    let mut open = from.to_vec();
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut reached[at], true) || Some(at) == barrier {
            continue;
        }
        open.extend(nodes[at].outgoing.iter().map(|edge| edges[*edge].to));
    }
    reached
}

/// A cycle, its first node at both ends.
fn cycle(count: usize, waits: impl Iterator<Item = (usize, usize)>) -> Option<Vec<usize>> {
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in waits {
        next[from].push(to);
        before[to].push(from);
    }
    // Kahn: what is left when nothing without predecessors is left.
    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut free: Vec<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    let mut left = count;
    while let Some(at) = free.pop() {
        left -= 1;
        for to in &next[at] {
            missing[*to] -= 1;
            if missing[*to] == 0 {
                free.push(*to);
            }
        }
    }
    if left == 0 {
        return None;
    }
    let start = (0..count).find(|at| missing[*at] > 0)?;
    let mut seen: Vec<usize> = vec![start];
    loop {
        let last = seen.last().copied()?;
        let from = before[last].iter().copied().find(|at| missing[*at] > 0)?;
        seen.push(from);
        if let Some(first) = seen.iter().position(|at| *at == from)
            && first + 1 < seen.len()
        {
            let mut cycle = seen.split_off(first);
            cycle.reverse();
            return Some(cycle);
        }
    }
}

fn joins(reader: &mut Reader, nodes: &[Node]) {
    for (at, node) in nodes.iter().enumerate() {
        let edges = node.incoming.len();
        if let Join::Some(needed) = node.join
            && needed > edges.max(1)
        {
            let message = format!("`join` waits for {needed} edges, and {edges} lead to it");
            reader.wrong(format!("/nodes/{at}/join"), message);
        }
    }
}

/// Finds out what each loop repeats, and which edges have to wait until it is left.
fn bodies(reader: &mut Reader, nodes: &mut [Node], edges: &mut [Edge]) -> Option<()> {
    let mut waits: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let before = reader.mistakes.len();
    for at in 0..nodes.len() {
        let Kind::Loop(repeat) = &nodes[at].kind else {
            continue;
        };
        let back_to = repeat.back_to;
        let inside = reach(nodes, edges, &[back_to], Some(at));
        if !inside[at] {
            let message = format!(
                "`loop_back_to` has to be the loop itself or a node before it; no edge leads from `{}` to `{}`",
                nodes[back_to].id, nodes[at].id
            );
            reader.wrong(format!("/nodes/{at}/config/loop_back_to"), message);
            continue;
        }
        let exits: Vec<usize> = nodes[at]
            .outgoing
            .iter()
            .map(|edge| edges[*edge].to)
            .collect();
        let after = reach(nodes, edges, &exits, None);
        let body: Vec<usize> = (0..nodes.len())
            .filter(|node| inside[*node] && !after[*node])
            .collect();
        for edge in edges.iter_mut() {
            let leaves = edge.from != at
                && body.binary_search(&edge.from).is_ok()
                && body.binary_search(&edge.to).is_err();
            if leaves {
                edge.holds.push(at);
                waits.push((at, edge.to));
            }
        }
        for node in &body {
            nodes[*node].loops.push(at);
            if *node != at {
                waits.push((*node, at));
            }
        }
        if let Kind::Loop(repeat) = &mut nodes[at].kind {
            repeat.body = body;
        }
    }
    if let Some(cycle) = cycle(nodes.len(), waits.into_iter()) {
        let ids: Vec<_> = cycle.iter().map(|at| nodes[*at].id.as_ref()).collect();
        let message = format!("loops wait for one another: {}", ids.join(" → "));
        reader.wrong("/edges", message);
    }
    (reader.mistakes.len() == before).then_some(())
}
