//! From the tree that the parser makes to one that is quick and safe to evaluate.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};
use regex::{Regex, RegexBuilder};

/// Deepest tree.
const MAX_DEPTH: usize = 64;
/// Largest compiled pattern, bytes.
const MAX_PATTERN: usize = 1 << 20;

/// What an expression does.
#[derive(Debug)]
pub(super) enum Code {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Name(String),
    Select {
        of: Box<Self>,
        field: String,
        /// Asks whether the field is there.
        test: bool,
    },
    Call(Function, Vec<Self>),
    Matches(Box<Self>, Regex),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Each(Box<Each>),
}

/// A macro over the elements of a list, or the keys of a map.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) kind: EachKind,
    pub(super) range: Code,
    pub(super) name: String,
    /// Which elements count; of `map`, if it has one.
    pub(super) test: Option<Code>,
    /// What `map` makes of an element.
    pub(super) make: Option<Code>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EachKind {
    All,
    Exists,
    ExistsOne,
    Map,
}

macro_rules! functions {
    ($($variant:ident $name:expr, $arity:expr;)*) => {
        /// An operator or function.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function { $($variant),* }

        /// Name, number of arguments with the target, and what it is.
        const FUNCTIONS: &[(&str, std::ops::RangeInclusive<usize>, Function)] =
            &[$(($name, $arity, Function::$variant)),*];
    };
}

functions! {
    Cond operators::CONDITIONAL, 3..=3;
    And operators::LOGICAL_AND, 2..=2;
    Or operators::LOGICAL_OR, 2..=2;
    Not operators::LOGICAL_NOT, 1..=1;
    Negate operators::NEGATE, 1..=1;
    Add operators::ADD, 2..=2;
    Subtract operators::SUBSTRACT, 2..=2;
    Multiply operators::MULTIPLY, 2..=2;
    Divide operators::DIVIDE, 2..=2;
    Modulo operators::MODULO, 2..=2;
    Equals operators::EQUALS, 2..=2;
    NotEquals operators::NOT_EQUALS, 2..=2;
    Less operators::LESS, 2..=2;
    LessEquals operators::LESS_EQUALS, 2..=2;
    Greater operators::GREATER, 2..=2;
    GreaterEquals operators::GREATER_EQUALS, 2..=2;
    In operators::IN, 2..=2;
    Index operators::INDEX, 2..=2;
    Size "size", 1..=1;
    Int "int", 1..=1;
    Uint "uint", 1..=1;
    Double "double", 1..=1;
    Text "string", 1..=1;
    Bool "bool", 1..=1;
    Type "type", 1..=1;
    Timestamp "timestamp", 1..=1;
    Duration "duration", 1..=1;
    Contains "contains", 2..=2;
    StartsWith "startsWith", 2..=2;
    EndsWith "endsWith", 2..=2;
    LowerAscii "lowerAscii", 1..=1;
    UpperAscii "upperAscii", 1..=1;
    Trim "trim", 1..=1;
    Replace "replace", 3..=3;
    Split "split", 2..=2;
    Join "join", 1..=2;
    Substring "substring", 2..=3;
    IndexOf "indexOf", 2..=2;
    Min "min", 1..=8;
    Max "max", 1..=8;
    Sum "sum", 1..=1;
    Abs "abs", 1..=1;
    Round "round", 1..=1;
    Floor "floor", 1..=1;
    Ceil "ceil", 1..=1;
}

/// Why an expression cannot be evaluated.
pub(super) struct Problem {
    /// What in the text it is about.
    pub(super) name: Option<String>,
    pub(super) message: String,
}

fn problem(name: Option<&str>, message: impl Into<String>) -> Problem {
    Problem {
        name: name.map(str::to_owned),
        message: message.into(),
    }
}

pub(super) fn compile(ast: &IdedExpr, names: &[&str]) -> Result<Code, Problem> {
    let mut scope = Scope {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        within: false,
        depth: 0,
    };
    scope.code(ast)
}

struct Scope {
    names: Vec<String>,
    /// Within a macro: another is too much.
    within: bool,
    depth: usize,
}

impl Scope {
    fn code(&mut self, ast: &IdedExpr) -> Result<Code, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("it is too deep: {MAX_DEPTH} operations within one another");
            return Err(problem(None, message));
        }
        let code = self.code_of(&ast.expr);
        self.depth -= 1;
        code
    }

    fn code_of(&mut self, expr: &Expr) -> Result<Code, Problem> {
        match expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) if self.names.iter().any(|known| known == name) => {
                Ok(Code::Name(name.clone()))
            }
            Expr::Ident(name) => {
                let known: Vec<_> = self.names.iter().map(|name| format!("`{name}`")).collect();
                let message = format!("unknown name `{name}`: there are {}", known.join(", "));
                Err(problem(Some(name), message))
            }
            Expr::Select(select) => Ok(Code::Select {
                of: Box::new(self.code(&select.operand)?),
                field: select.field.clone(),
                test: select.test,
            }),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => Ok(Code::List(self.all(&list.elements)?)),
            Expr::Map(map) => {
                let entries = map.entries.iter().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        Ok((self.code(&entry.key)?, self.code(&entry.value)?))
                    }
                    EntryExpr::StructField(field) => Err(problem(
                        Some(&field.field),
                        "messages are not known here: write a map",
                    )),
                });
                Ok(Code::Map(entries.collect::<Result<_, _>>()?))
            }
            Expr::Struct(message) => Err(problem(
                Some(&message.type_name),
                "messages are not known here: write a map",
            )),
            Expr::Comprehension(each) => self.each(each),
            Expr::Unspecified => Err(problem(None, "it is empty")),
        }
    }

    fn all(&mut self, asts: &[IdedExpr]) -> Result<Vec<Code>, Problem> {
        asts.iter().map(|ast| self.code(ast)).collect()
    }

    fn call(&mut self, call: &CallExpr) -> Result<Code, Problem> {
        let name = call.func_name.as_str();
        if name == "matches" {
            return self.matches(call);
        }
        let target = call.target.as_deref();
        // `math.greatest(…)` and the like: the namespace is no value.
        let target = target.filter(|ast| !matches!(&ast.expr, Expr::Ident(name) if name == "math"));
        let (name, target) = match (name, target) {
            ("greatest", None) => ("max", None),
            ("least", None) => ("min", None),
            (name, target) => (name, target),
        };
        let count = call.args.len() + usize::from(target.is_some());
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, arity, function)) = known else {
            let message = format!("unknown function `{name}`");
            return Err(problem(Some(name), message));
        };
        if !arity.contains(&count) {
            let message = format!("`{name}` with {count} arguments is not known");
            return Err(problem(Some(name), message));
        }
        let mut args = Vec::with_capacity(count);
        if let Some(target) = target {
            args.push(self.code(target)?);
        }
        for arg in &call.args {
            args.push(self.code(arg)?);
        }
        Ok(Code::Call(*function, args))
    }

    fn matches(&mut self, call: &CallExpr) -> Result<Code, Problem> {
        let name = Some("matches");
        let (of, pattern) = match (call.target.as_deref(), call.args.as_slice()) {
            (Some(target), [pattern]) => (target, pattern),
            (None, [of, pattern]) => (of, pattern),
            _ => return Err(problem(name, "`matches` takes a text and a pattern")),
        };
        let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else {
            return Err(problem(
                name,
                "the pattern of `matches` has to be written out",
            ));
        };
        let regex = RegexBuilder::new(pattern.inner())
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_PATTERN)
            .build();
        let regex = regex.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            problem(name, format!("the pattern of `matches` is wrong: {last}"))
        })?;
        Ok(Code::Matches(Box::new(self.code(of)?), regex))
    }

    fn each(&mut self, each: &ComprehensionExpr) -> Result<Code, Problem> {
        if self.within {
            return Err(problem(
                None,
                "`map`, `filter`, `all` and `exists` cannot be nested in one another",
            ));
        }
        let (kind, test, make) = shape(each).ok_or_else(|| problem(None, "unknown macro"))?;
        let range = self.code(&each.iter_range)?;
        self.within = true;
        self.names.push(each.iter_var.clone());
        let test = test.map(|ast| self.code(ast)).transpose();
        let make = make.map(|ast| self.code(ast)).transpose();
        self.names.pop();
        self.within = false;
        Ok(Code::Each(Box::new(Each {
            kind,
            range,
            name: each.iter_var.clone(),
            test: test?,
            make: make?,
        })))
    }
}

/// Which macro made a comprehension: its test, and what it makes of an element.
fn shape(each: &ComprehensionExpr) -> Option<(EachKind, Option<&IdedExpr>, Option<&IdedExpr>)> {
    let Expr::Call(step) = &each.loop_step.expr else {
        return None;
    };
    let args = step.args.as_slice();
    match (step.func_name.as_str(), args) {
        (operators::LOGICAL_AND, [_, test]) => Some((EachKind::All, Some(test), None)),
        (operators::LOGICAL_OR, [_, test]) => Some((EachKind::Exists, Some(test), None)),
        (operators::ADD, [_, made]) => Some((EachKind::Map, None, only(made))),
        (operators::CONDITIONAL, [test, then, _]) => {
            let Expr::Call(add) = &then.expr else {
                return None;
            };
            let [_, made] = add.args.as_slice() else {
                return None;
            };
            match &each.accu_init.expr {
                Expr::Literal(_) => Some((EachKind::ExistsOne, Some(test), None)),
                _ => Some((EachKind::Map, Some(test), only(made))),
            }
        }
        _ => None,
    }
}

/// The only element of a list literal.
fn only(ast: &IdedExpr) -> Option<&IdedExpr> {
    match &ast.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}

fn constant(literal: &LiteralValue) -> Result<Code, Problem> {
    Ok(match literal {
        LiteralValue::Null => Code::Null,
        LiteralValue::Boolean(value) => Code::Bool(*value.inner()),
        LiteralValue::Int(value) => Code::Int(*value.inner()),
        LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
            Ok(value) => Code::Int(value),
            Err(_) => return Err(problem(None, format!("{} is too large", value.inner()))),
        },
        LiteralValue::Double(value) => Code::Double(*value.inner()),
        LiteralValue::String(value) => Code::Text(value.inner().to_owned()),
        LiteralValue::Bytes(_) => return Err(problem(None, "bytes are not known here")),
    })
}
