//! Evaluation, with a budget.

use std::{borrow::Cow, cell::Cell, rc::Rc};

use serde_json::Value;

use super::{
    MAX_ELEMENTS,
    compile::{Code, Each, EachKind, Function},
    time,
    value::Val,
};

/// Most operations of an evaluation, and most bytes of texts that it makes.
const MAX_COST: u64 = 4 << 20;

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
fn weight(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => size(text.len()),
        Val::List(items) => items.iter().map(weight).sum::<u64>() + size(items.len()),
        Val::Map(fields) => fields.iter().map(|(_, value)| 1 + weight(value)).sum(),
        Val::Json(value) => json_weight(value),
        _ => 1,
    }
}

fn json_weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => size(text.len()),
        Value::Array(items) => items.iter().map(json_weight).sum::<u64>() + size(items.len()),
        Value::Object(fields) => {
            let each = fields.iter();
            each.map(|(key, value)| size(key.len()) + json_weight(value))
                .sum()
        }
        _ => 1,
    }
}

fn size(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn int(size: usize) -> Val<'static> {
    Val::Int(i64::try_from(size).unwrap_or(i64::MAX))
}

struct Evaluation<'c, 'a> {
    context: &'c Context<'a>,
    cost: Cell<u64>,
    elements: Cell<usize>,
}

/// The element that a macro is at.
type Local<'l, 'a> = Option<(&'l str, &'l Val<'a>)>;
type Answer<'a> = Result<Val<'a>, String>;

impl<'a> Evaluation<'_, 'a> {
    fn charge(&self, cost: u64) -> Result<(), String> {
        let total = self.cost.get().saturating_add(cost);
        self.cost.set(total);
        if total > MAX_COST {
            return Err("it takes too much work".to_owned());
        }
        Ok(())
    }

    fn value(&self, code: &Code, local: Local<'_, 'a>) -> Answer<'a> {
        self.charge(1)?;
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

    fn key(&self, key: Val<'a>) -> Result<String, String> {
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

    fn field(&self, base: &Val<'a>, field: &str) -> Option<Val<'a>> {
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

    fn one(&self, function: Function, a: &Val<'a>) -> Answer<'a> {
        use Function as F;
        let unfit = || Err(format!("{function:?} does not take {}", a.kind()));
        Ok(match (function, a) {
            (F::Not, Val::Bool(value)) => Val::Bool(!value),
            (F::Negate, Val::Int(value)) => Val::Int(value.checked_neg().ok_or("overflow")?),
            (F::Negate, Val::Double(value)) => Val::Double(-value),
            (F::Negate, Val::Duration(value)) => Val::Duration(-value),
            (F::Size, _) => return a.size().map_or_else(unfit, |size| Ok(int(size))),
            (F::Type, _) => Val::text(a.kind()),
            (F::Bool, Val::Bool(value)) => Val::Bool(*value),
            (F::Bool, Val::Text(text)) => match text.as_ref() {
                "true" | "True" | "TRUE" | "t" | "1" => Val::Bool(true),
                "false" | "False" | "FALSE" | "f" | "0" => Val::Bool(false),
                _ => return Err("the text is not true or false".to_owned()),
            },
            (F::Int | F::Uint, _) => return whole(function, a),
            (F::Double, Val::Text(text)) => {
                Val::Double(text.parse().map_err(|_| "the text is no number")?)
            }
            (F::Double, _) => {
                return a
                    .number()
                    .map_or_else(unfit, |value| Ok(Val::Double(value)));
            }
            (F::Text, Val::Text(_)) => a.clone(),
            (F::Text, Val::Json(_) | Val::List(_) | Val::Map(_)) => {
                self.charge(weight(a))?;
                Val::text(a.json()?.to_string())
            }
            (F::Text, Val::Time(_) | Val::Duration(_)) => match a.json()? {
                Value::String(text) => Val::text(text),
                _ => return unfit(),
            },
            (F::Text, Val::Nodes) => return unfit(),
            (F::Text, _) => Val::text(a.json()?.to_string()),
            (F::Timestamp, Val::Text(text)) => {
                Val::Time(time::parse_time(text).ok_or("the text is no time as of RFC 3339")?)
            }
            (F::Timestamp, Val::Int(seconds)) => Val::Time(i128::from(*seconds) * 1_000_000_000),
            (F::Timestamp, Val::Time(_)) | (F::Duration, Val::Duration(_)) => a.clone(),
            (F::Duration, Val::Text(text)) => {
                Val::Duration(time::parse_duration(text).ok_or("the text is no duration")?)
            }
            (F::LowerAscii, Val::Text(text)) => self.made(text.to_ascii_lowercase())?,
            (F::UpperAscii, Val::Text(text)) => self.made(text.to_ascii_uppercase())?,
            (F::Trim, Val::Text(text)) => self.made(text.trim().to_owned())?,
            (F::Join, _) => return self.join(a, ""),
            (F::Abs, Val::Int(value)) => Val::Int(value.checked_abs().ok_or("overflow")?),
            (F::Abs, Val::Double(value)) => Val::Double(value.abs()),
            (F::Round | F::Floor | F::Ceil, Val::Int(_)) => a.clone(),
            (F::Round, Val::Double(value)) => Val::Double(value.round()),
            (F::Floor, Val::Double(value)) => Val::Double(value.floor()),
            (F::Ceil, Val::Double(value)) => Val::Double(value.ceil()),
            (F::Min | F::Max | F::Sum, _) => return self.over(function, a),
            _ => return unfit(),
        })
    }

    fn made(&self, text: String) -> Answer<'a> {
        self.charge(size(text.len()))?;
        Ok(Val::Text(Cow::Owned(text)))
    }

    fn two(&self, function: Function, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
        use Function as F;
        match function {
            F::Equals | F::NotEquals => {
                if matches!((a.kind(), b.kind()), ("list", "list") | ("map", "map")) {
                    self.charge(weight(a).min(weight(b)))?;
                }
                Ok(Val::Bool(a.equals(b) == (function == F::Equals)))
            }
            F::Less => a.compare(b).map(|order| Val::Bool(order.is_lt())),
            F::LessEquals => a.compare(b).map(|order| Val::Bool(order.is_le())),
            F::Greater => a.compare(b).map(|order| Val::Bool(order.is_gt())),
            F::GreaterEquals => a.compare(b).map(|order| Val::Bool(order.is_ge())),
            F::Add | F::Subtract | F::Multiply | F::Divide | F::Modulo => {
                self.arithmetic(function, a, b)
            }
            F::In => self.within(a, b),
            F::Index => self.index(a, b),
            F::Join => match b {
                Val::Text(separator) => self.join(a, separator),
                other => Err(format!("`join` needs a string, not {}", other.kind())),
            },
            F::Substring => self.substring(&[a.clone(), b.clone()]),
            F::Min | F::Max => self.over(function, &Val::List(Rc::new(vec![a.clone(), b.clone()]))),
            _ => self.texts(function, a, b),
        }
    }

    fn texts(&self, function: Function, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
        use Function as F;
        let (Val::Text(text), Val::Text(part)) = (a, b) else {
            return Err(format!(
                "{function:?} does not take {} and {}",
                a.kind(),
                b.kind()
            ));
        };
        self.charge(size(text.len()))?;
        Ok(match function {
            F::Contains => Val::Bool(text.contains(part.as_ref())),
            F::StartsWith => Val::Bool(text.starts_with(part.as_ref())),
            F::EndsWith => Val::Bool(text.ends_with(part.as_ref())),
            F::IndexOf => text
                .find(part.as_ref())
                .map_or(Val::Int(-1), |at| int(text[..at].chars().count())),
            F::Split => {
                let parts: Vec<Val<'a>> = text.split(part.as_ref()).map(Val::text).collect();
                self.charge(8 * size(parts.len()))?;
                Val::List(Rc::new(parts))
            }
            _ => return Err(format!("{function:?} does not take two texts")),
        })
    }

    fn many(&self, function: Function, values: &[Val<'a>]) -> Answer<'a> {
        use Function as F;
        match (function, values) {
            (F::Replace, [Val::Text(text), Val::Text(from), Val::Text(to)]) => {
                let found = size(text.matches(from.as_ref()).count());
                self.charge(size(text.len()) + found.saturating_mul(size(to.len())))?;
                Ok(Val::text(text.replace(from.as_ref(), to)))
            }
            (F::Substring, _) => self.substring(values),
            (F::Min | F::Max, _) => self.over(function, &Val::List(Rc::new(values.to_vec()))),
            _ => Err(format!("{function:?} does not take these values")),
        }
    }

    fn substring(&self, values: &[Val<'a>]) -> Answer<'a> {
        let (text, from, to) = match values {
            [Val::Text(text), Val::Int(from)] => (text, *from, i64::MAX),
            [Val::Text(text), Val::Int(from), Val::Int(to)] => (text, *from, *to),
            _ => return Err("`substring` needs a string and positions".to_owned()),
        };
        let from = usize::try_from(from).map_err(|_| "`substring` begins before the text")?;
        let to = usize::try_from(to).map_err(|_| "`substring` ends before the text")?;
        let part = text.chars().skip(from).take(to.saturating_sub(from));
        self.charge(size(text.len()))?;
        self.made(part.collect())
    }

    fn join(&self, list: &Val<'a>, separator: &str) -> Answer<'a> {
        let count = match list.kind() {
            "list" => list.size().unwrap_or(0),
            kind => return Err(format!("`join` needs a list, not {kind}")),
        };
        let mut joined = String::new();
        for at in 0..count {
            if at > 0 {
                joined.push_str(separator);
            }
            let before = joined.len();
            match list.element(at) {
                Some(Val::Text(text)) => joined.push_str(&text),
                _ => return Err("`join` needs a list of strings".to_owned()),
            }
            self.charge(size(joined.len() - before + separator.len()))?;
        }
        Ok(Val::text(joined))
    }

    /// The least, the greatest or the sum of a list.
    fn over(&self, function: Function, list: &Val<'a>) -> Answer<'a> {
        let count = match list.kind() {
            "list" => list.size().unwrap_or(0),
            _ => return Ok(list.clone()),
        };
        self.charge(size(count))?;
        let mut best: Option<Val<'a>> = None;
        for value in (0..count).filter_map(|at| list.element(at)) {
            best = Some(match (best, function) {
                (None, Function::Sum) if value.number().is_none() => {
                    return Err(format!("`sum` needs numbers, not {}", value.kind()));
                }
                (None, _) => value,
                (Some(best), Function::Sum) => self.arithmetic(Function::Add, &best, &value)?,
                (Some(best), _) => {
                    let order = value.compare(&best)?;
                    let better = if function == Function::Min {
                        order.is_lt()
                    } else {
                        order.is_gt()
                    };
                    if better { value } else { best }
                }
            });
        }
        match (best, function) {
            (Some(best), _) => Ok(best),
            (None, Function::Sum) => Ok(Val::Int(0)),
            (None, _) => Err("the list is empty".to_owned()),
        }
    }

    fn arithmetic(&self, function: Function, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
        use Function as F;
        let unfit = || {
            Err(format!(
                "{function:?} does not take {} and {}",
                a.kind(),
                b.kind()
            ))
        };
        match (a, b) {
            (Val::Int(a), Val::Int(b)) => {
                let made = match function {
                    F::Add => a.checked_add(*b),
                    F::Subtract => a.checked_sub(*b),
                    F::Multiply => a.checked_mul(*b),
                    F::Divide if *b == 0 => return Err("division by zero".to_owned()),
                    F::Divide => a.checked_div(*b),
                    F::Modulo if *b == 0 => return Err("division by zero".to_owned()),
                    F::Modulo => a.checked_rem(*b),
                    _ => return unfit(),
                };
                made.map(Val::Int).ok_or_else(|| "overflow".to_owned())
            }
            (Val::Text(a), Val::Text(b)) if function == F::Add => {
                self.charge(size(a.len() + b.len()))?;
                Ok(Val::text(format!("{a}{b}")))
            }
            (Val::Time(a), Val::Duration(b)) | (Val::Duration(b), Val::Time(a))
                if function == F::Add =>
            {
                Ok(Val::Time(a + b))
            }
            (Val::Time(a), Val::Duration(b)) if function == F::Subtract => Ok(Val::Time(a - b)),
            (Val::Time(a), Val::Time(b)) if function == F::Subtract => Ok(Val::Duration(a - b)),
            (Val::Duration(a), Val::Duration(b)) if function == F::Add => Ok(Val::Duration(a + b)),
            (Val::Duration(a), Val::Duration(b)) if function == F::Subtract => {
                Ok(Val::Duration(a - b))
            }
            _ => match (a.number(), b.number()) {
                (Some(a), Some(b)) => Ok(Val::Double(match function {
                    F::Add => a + b,
                    F::Subtract => a - b,
                    F::Multiply => a * b,
                    F::Divide => a / b,
                    _ => return unfit(),
                })),
                _ if function == F::Add && a.kind() == "list" && b.kind() == "list" => {
                    let lists = [a, b].into_iter();
                    let items = lists.flat_map(|list| {
                        (0..list.size().unwrap_or(0)).filter_map(|at| list.element(at))
                    });
                    let items: Vec<_> = items.collect();
                    self.charge(4 * size(items.len()))?;
                    Ok(Val::List(Rc::new(items)))
                }
                _ => unfit(),
            },
        }
    }

    fn within(&self, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
        match b.kind() {
            "list" => {
                let count = b.size().unwrap_or(0);
                for at in 0..count {
                    let element = b.element(at);
                    self.charge(
                        1 + element.as_ref().map_or(0, |element| {
                            if element.kind() == a.kind() {
                                weight(element).min(weight(a))
                            } else {
                                0
                            }
                        }),
                    )?;
                    if element.is_some_and(|element| element.equals(a)) {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            "map" => {
                let key = self.key(a.clone())?;
                Ok(Val::Bool(self.field(b, &key).is_some()))
            }
            kind => Err(format!("`in` needs a list or a map, not {kind}")),
        }
    }

    fn index(&self, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
        if a.kind() == "map" {
            let key = self.key(b.clone())?;
            return self
                .field(a, &key)
                .ok_or_else(|| format!("there is no field `{key}`"));
        }
        let at = match b {
            Val::Int(at) => usize::try_from(*at).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a small whole number"
            )]
            Val::Double(at) if at.fract() == 0.0 && (0.0..1e9).contains(at) => Some(*at as usize),
            _ => None,
        };
        at.and_then(|at| a.element(at))
            .ok_or_else(|| format!("{} has no such element", a.kind()))
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

fn whole(function: Function, a: &Val<'_>) -> Answer<'static> {
    let value = match a {
        Val::Int(value) => Some(*value),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Val::Double(value) if (-9.2e18..9.2e18).contains(value) => Some(value.trunc() as i64),
        Val::Text(text) => text.parse().ok(),
        Val::Time(nanos) => i64::try_from(nanos / 1_000_000_000).ok(),
        _ => None,
    };
    match value {
        Some(value) if value >= 0 || function == Function::Int => Ok(Val::Int(value)),
        _ => Err(format!("{function:?} has no value for this {}", a.kind())),
    }
}
