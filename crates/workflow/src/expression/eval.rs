//! Evaluation, with a budget.

use std::{cell::Cell, rc::Rc};

use serde_json::Value;

use super::{
    MAX_ELEMENTS,
    compile::{Code, Each, EachKind, Function},
    value::Val,
};

/// Most work of an evaluation: bytes of texts that it reads and makes, and [`STEP`] for each operation.
const MAX_COST: u64 = 32 << 20;
/// What an operation costs, and a value that is copied.
pub(super) const STEP: u64 = 16;

/// The outputs of nodes by their ids.
pub(crate) type Nodes<'a> = dyn Fn(&str) -> Option<&'a Value> + 'a;

/// What names mean.
pub(crate) struct Context<'a> {
    /// Names and their values.
    pub(crate) variables: &'a [(&'a str, &'a Value)],
    /// What `ctx.ID` means.
    pub(crate) nodes: Option<&'a Nodes<'a>>,
}

pub(super) fn evaluate(code: &Code, context: &Context<'_>) -> Result<Value, String> {
    let evaluation = Evaluation {
        context,
        cost: Cell::new(0),
        elements: Cell::new(0),
    };
    let value = evaluation.value(code, None)?;
    evaluation.charge(weight(&value))?;
    value.json()
}

/// About how much is copied when a value becomes JSON.
pub(super) fn weight(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => STEP + size(text.len()),
        Val::List(items) => STEP + items.iter().map(weight).sum::<u64>(),
        Val::Map(fields) => fields.iter().map(|(_, value)| STEP + weight(value)).sum(),
        Val::Json(value) => json_weight(value),
        _ => STEP,
    }
}

fn json_weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => STEP + size(text.len()),
        Value::Array(items) => STEP + items.iter().map(json_weight).sum::<u64>(),
        Value::Object(fields) => {
            let each = fields.iter();
            each.map(|(key, value)| size(key.len()) + json_weight(value))
                .sum()
        }
        _ => STEP,
    }
}

pub(super) fn size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

pub(super) fn int(size: usize) -> Val<'static> {
    Val::Int(i64::try_from(size).unwrap_or(i64::MAX))
}

pub(super) struct Evaluation<'c, 'a> {
    context: &'c Context<'a>,
    cost: Cell<u64>,
    elements: Cell<usize>,
}

/// The element that a macro is at.
type Local<'l, 'a> = Option<(&'l str, &'l Val<'a>)>;
pub(super) type Answer<'a> = Result<Val<'a>, String>;

impl<'a> Evaluation<'_, 'a> {
    pub(super) fn charge(&self, cost: u64) -> Result<(), String> {
        let total = self.cost.get().saturating_add(cost);
        self.cost.set(total);
        if total > MAX_COST {
            return Err("it takes too much work".to_owned());
        }
        Ok(())
    }

    fn value(&self, code: &Code, local: Local<'_, 'a>) -> Answer<'a> {
        self.charge(STEP)?;
        match code {
            Code::Null => Ok(Val::Null),
            Code::Bool(value) => Ok(Val::Bool(*value)),
            Code::Int(value) => Ok(Val::Int(*value)),
            Code::Double(value) => Ok(Val::Double(*value)),
            Code::Text(text) => {
                self.charge(size(text.len()))?;
                Ok(Val::text(text.as_str()))
            }
            Code::Name(name) => self.name(name, local),
            Code::Select { of, field, test } => self.select(of, field, *test, local),
            Code::Call(function, args) => self.call(*function, args, local),
            Code::Matches(of, regex) => match self.value(of, local)? {
                Val::Text(text) => {
                    self.charge(size(text.len()))?;
                    Ok(Val::Bool(regex.is_match(&text)))
                }
                other => Err(format!("`matches` needs a string, not {}", other.kind())),
            },
            Code::List(items) => {
                let items = items.iter().map(|item| self.value(item, local));
                Ok(Val::List(Rc::new(items.collect::<Result<_, _>>()?)))
            }
            Code::Map(entries) => {
                let mut fields: Vec<(String, Val<'a>)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.key(self.value(key, local)?)?;
                    if fields.iter().any(|(known, _)| *known == key) {
                        return Err(format!("the key {key} is there twice"));
                    }
                    fields.push((key, self.value(value, local)?));
                }
                Ok(Val::Map(Rc::new(fields)))
            }
            Code::Each(each) => self.each(each, local),
        }
    }

    pub(super) fn key(&self, key: Val<'a>) -> Result<String, String> {
        match key {
            Val::Text(text) => {
                self.charge(size(text.len()))?;
                Ok(text.into_owned())
            }
            Val::Int(value) => Ok(value.to_string()),
            Val::Bool(value) => Ok(value.to_string()),
            other => Err(format!("{} is no key", other.kind())),
        }
    }

    fn name(&self, name: &str, local: Local<'_, 'a>) -> Answer<'a> {
        if let Some((known, value)) = local
            && known == name
        {
            if let Val::Text(text) = value {
                self.charge(size(text.len()))?;
            }
            return Ok(value.clone());
        }
        if name == "ctx" && self.context.nodes.is_some() {
            return Ok(Val::Nodes);
        }
        let variables = self.context.variables;
        let known = variables.iter().find(|(known, _)| *known == name);
        known.map_or_else(
            || Err(format!("`{name}` has no value here")),
            |(_, value)| Ok(Val::of(value)),
        )
    }

    fn select(&self, of: &Code, field: &str, test: bool, local: Local<'_, 'a>) -> Answer<'a> {
        let base = self.value(of, local)?;
        let found = self.field(&base, field);
        if test {
            return Ok(Val::Bool(found.is_some()));
        }
        found.ok_or_else(|| match base.kind() {
            "map" => format!("there is no field `{field}`"),
            kind => format!("{kind} has no field `{field}`"),
        })
    }

    pub(super) fn field(&self, base: &Val<'a>, field: &str) -> Option<Val<'a>> {
        if let Val::Nodes = base {
            return self
                .context
                .nodes
                .and_then(|nodes| nodes(field))
                .map(Val::of);
        }
        // What the answer of an `http` node lacks is looked for in the body of the response.
        base.field(field).or_else(|| match base {
            Val::Json(value) if value.get("status_code").is_some() => value
                .get("body")
                .and_then(|body| body.get(field))
                .map(Val::of),
            _ => None,
        })
    }

    fn truth(&self, code: &Code, local: Local<'_, 'a>) -> Result<bool, String> {
        match self.value(code, local)? {
            Val::Bool(value) => Ok(value),
            other => Err(format!("{} is not true or false", other.kind())),
        }
    }

    /// `&&` and `||`: the side that decides counts, even if the other has no value.
    fn either(&self, args: &[Code], decides: bool, local: Local<'_, 'a>) -> Answer<'a> {
        let [left, right] = args else {
            return Err("two sides are needed".to_owned());
        };
        let left = self.truth(left, local);
        if left == Ok(decides) {
            return Ok(Val::Bool(decides));
        }
        let right = self.truth(right, local);
        if right == Ok(decides) {
            return Ok(Val::Bool(decides));
        }
        left.and(right).map(|_| Val::Bool(!decides))
    }

    fn call(&self, function: Function, args: &[Code], local: Local<'_, 'a>) -> Answer<'a> {
        match (function, args) {
            (Function::And, _) => return self.either(args, false, local),
            (Function::Or, _) => return self.either(args, true, local),
            (Function::Cond, [test, then, otherwise]) => {
                let chosen = if self.truth(test, local)? {
                    then
                } else {
                    otherwise
                };
                return self.value(chosen, local);
            }
            _ => {}
        }
        let values = args.iter().map(|arg| self.value(arg, local));
        let values: Vec<Val<'a>> = values.collect::<Result<_, _>>()?;
        match values.as_slice() {
            [a] => self.one(function, a),
            [a, b] => self.two(function, a, b),
            many => self.many(function, many),
        }
    }

    fn each(&self, each: &Each, local: Local<'_, 'a>) -> Answer<'a> {
        let range = self.value(&each.range, local)?;
        let keys: Option<Vec<String>> = match range.kind() {
            "list" => None,
            "map" if !matches!(range, Val::Nodes) => {
                Some(range.keys().into_iter().map(str::to_owned).collect())
            }
            kind => return Err(format!("a list or a map is needed, not {kind}")),
        };
        let count = range.size().unwrap_or(0);
        let visited = self.elements.get() + count;
        self.elements.set(visited);
        if visited > MAX_ELEMENTS {
            return Err(format!("it visits more than {MAX_ELEMENTS} elements"));
        }
        let (mut made, mut held, mut problem) = (Vec::new(), 0_usize, None);
        for at in 0..count {
            let element = match &keys {
                Some(keys) => keys.get(at).map(|key| Val::text(key.as_str())),
                None => range.element(at),
            };
            let Some(element) = element else { continue };
            let here = Some((each.name.as_str(), &element));
            let test = each.test.as_ref().map(|test| self.truth(test, here));
            match (each.kind, test.unwrap_or(Ok(true))) {
                (EachKind::All, Ok(false)) => return Ok(Val::Bool(false)),
                (EachKind::Exists, Ok(true)) => return Ok(Val::Bool(true)),
                (EachKind::All | EachKind::Exists, Err(error)) => problem = Some(error),
                (_, Err(error)) => return Err(error),
                (EachKind::All, Ok(true)) | (_, Ok(false)) => {}
                (EachKind::ExistsOne, Ok(true)) => held += 1,
                (EachKind::Map, Ok(true)) => {
                    if let Some(make) = &each.make {
                        made.push(self.value(make, here)?);
                    }
                }
            }
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        Ok(match each.kind {
            EachKind::All => Val::Bool(true),
            EachKind::Exists => Val::Bool(false),
            EachKind::ExistsOne => Val::Bool(held == 1),
            EachKind::Map => Val::List(Rc::new(made)),
        })
    }
}
