//! Operators and functions.

use std::{borrow::Cow, rc::Rc};

use serde_json::Value;

use super::{
    compile::Function,
    eval::{Answer, Evaluation, STEP, int, size, weight},
    time,
    value::Val,
};

impl<'a> Evaluation<'_, 'a> {
    pub(super) fn one(&self, function: Function, a: &Val<'a>) -> Answer<'a> {
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

    pub(super) fn two(&self, function: Function, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
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
                // Before they are made: a text may have as many parts as bytes.
                let parts = text.matches(part.as_ref()).count() + 1;
                self.charge(2 * STEP * size(parts))?;
                let parts = text.split(part.as_ref()).map(Val::text);
                Val::List(Rc::new(parts.collect()))
            }
            _ => return Err(format!("{function:?} does not take two texts")),
        })
    }

    pub(super) fn many(&self, function: Function, values: &[Val<'a>]) -> Answer<'a> {
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
                    let count = |list: &Val<'_>| list.size().unwrap_or(0);
                    self.charge(STEP * size(count(a) + count(b)))?;
                    Ok(Val::List(Rc::new(items.collect())))
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
