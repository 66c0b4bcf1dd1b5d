//! Merges the layers of a configuration.

use std::{collections::BTreeMap, fs, path::PathBuf};

use toml::{Table, Value};

use crate::{Config, Group, Key, Mistake, Mistakes, Retired, Source, parse, values::Entry};

/// Checks a table of the file that is not a key.
type CheckTable = fn(&Loader, &Value, &Source) -> Vec<Mistake>;

/// Collects the layers of a configuration. The order of the calls does not matter.
#[derive(Clone, Debug)]
pub struct Loader {
    program: &'static str,
    keys: Vec<Key>,
    elsewhere: Vec<Group>,
    retired: Vec<Retired>,
    table: Option<(&'static str, CheckTable)>,
    file: Option<PathBuf>,
    env: BTreeMap<String, String>,
    flags: BTreeMap<String, (String, Source)>,
}

/// The value of each key in the highest layer that has it.
type LayeredValues = BTreeMap<&'static str, (String, Source)>;

impl Loader {
    /// Only the defaults of these keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self {
            program: "this program",
            keys,
            elsewhere: Vec::new(),
            retired: Vec::new(),
            table: None,
            file: None,
            env: BTreeMap::new(),
            flags: BTreeMap::new(),
        }
    }

    /// The program that is configured, and groups of keys of other programs: those are refused with the
    /// reason.
    #[must_use]
    pub fn program(mut self, name: &'static str, elsewhere: &[Group]) -> Self {
        self.program = name;
        self.elsewhere = elsewhere.to_vec();
        self
    }

    /// Names that keys of the program once had.
    #[must_use]
    pub fn retired(mut self, retired: impl Iterator<Item = Retired>) -> Self {
        self.retired = retired.collect();
        self
    }

    /// A table of the file that is not a key, and its check.
    #[must_use]
    pub fn table(mut self, name: &'static str, check: CheckTable) -> Self {
        self.table = Some((name, check));
        self
    }

    /// A TOML file. One that cannot be read is a mistake.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// The environment. Variables of no key are ignored, since other programs of the environment have
    /// other keys. An empty one counts as not set, as compose files write it. So does a port that is
    /// Kubernetes' address of a service of that name.
    #[must_use]
    pub fn env(mut self, env: BTreeMap<String, String>) -> Self {
        self.env = env;
        self
    }

    /// A value over all others, by the name of its key.
    #[must_use]
    pub fn set(self, name: &str, value: impl Into<String>) -> Self {
        self.over(name, value.into(), Source::Set)
    }

    /// A flag of the command line.
    #[must_use]
    pub fn flag(self, name: &str, value: impl Into<String>) -> Self {
        self.over(name, value.into(), Source::Flag)
    }

    fn over(mut self, name: &str, value: String, source: Source) -> Self {
        self.flags.insert(name.to_owned(), (value, source));
        self
    }

    /// The program that is configured.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.program
    }

    /// The keys that are loaded.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The error for a name that is not a key of this program.
    #[must_use]
    pub fn refusal(&self, name: &str) -> String {
        if let Some(retired) = self.retired.iter().find(|retired| retired.name == name) {
            return format!("no key any more: {}", retired.advice);
        }
        let has = |group: &&Group| group.keys.iter().any(|key| key.name == name);
        match self.elsewhere.iter().find(has) {
            Some(group) => format!("{} {}: it has no key `{name}`", self.program, group.lacking),
            None => unknown(name, self.keys.iter().map(|key| key.name)),
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// With all mistakes.
    pub fn load(self) -> Result<Config, Mistakes> {
        let mut mistakes = Vec::new();
        let mut given = LayeredValues::new();
        let mut warnings = Vec::new();
        self.read_file(&mut given, &mut mistakes);
        self.read_env(&mut given, &mut mistakes, &mut warnings);
        self.read_flags(&mut given, &mut mistakes);
        let mut entries = BTreeMap::new();
        for key in self.keys {
            let (value, source) = given
                .remove(key.name)
                .unwrap_or_else(|| (key.default.text().into_owned(), Source::Default));
            if !key.accepts(&value) {
                let shown = (!key.secret).then_some(value.clone());
                let expected = format!("expected {}", key.kind.expected());
                mistakes.push(Mistake::new(key.name, shown, &source, expected));
            }
            entries.insert(key.name, Entry { key, value, source });
        }
        match mistakes.is_empty() {
            true => Ok(Config {
                entries,
                file: self.file,
                warnings,
            }),
            false => Err(Mistakes(mistakes)),
        }
    }

    fn read_file(&self, given: &mut LayeredValues, mistakes: &mut Vec<Mistake>) {
        let Some(path) = &self.file else { return };
        let source = Source::File(path.display().to_string());
        let wrong = |key: &str, value, expected| Mistake::new(key, value, &source, expected);
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| text.parse::<Table>().map_err(|e| e.to_string()));
        let table = match parsed {
            Ok(table) => table,
            Err(error) => return mistakes.push(wrong("config", None, error.trim().to_owned())),
        };
        for (name, value) in &table {
            if let Some((_, check)) = self.table.filter(|(table, _)| table == name) {
                mistakes.extend(check(self, value, &source));
                continue;
            }
            match (self.find(name), flatten(value)) {
                (Some(key), Some(text)) => {
                    given.insert(key.name, (text, source.clone()));
                }
                (Some(key), None) => {
                    let shown = (!key.secret).then(|| value.to_string());
                    let expected = format!("expected {}", key.kind.expected());
                    mistakes.push(wrong(name, shown, expected));
                }
                (None, _) => mistakes.push(wrong(name, None, self.refusal(name))),
            }
        }
    }

    fn read_env(
        &self,
        given: &mut LayeredValues,
        mistakes: &mut Vec<Mistake>,
        warnings: &mut Vec<String>,
    ) {
        let value = |name: &str| self.env.get(name).filter(|value| !value.is_empty());
        for key in &self.keys {
            let name = key.env_name();
            if let Some(value) = value(&name).filter(|value| !(key.is_port() && is_link(value))) {
                given.insert(key.name, (value.trim().to_owned(), Source::Env(name)));
            }
        }
        for retired in &self.retired {
            let name = retired.name.to_uppercase();
            if value(&name).is_none() {
                continue;
            }
            let refusal = self.refusal(retired.name);
            if retired.has_successor {
                let source = Source::Env(name);
                mistakes.push(Mistake::new(retired.name, None, &source, refusal));
            } else {
                warnings.push(format!("the variable {name} is ignored: {refusal}"));
            }
        }
    }

    fn read_flags(&self, given: &mut LayeredValues, mistakes: &mut Vec<Mistake>) {
        for (name, (value, source)) in &self.flags {
            match self.find(name) {
                Some(key) => {
                    given.insert(key.name, (value.clone(), source.clone()));
                }
                None => mistakes.push(Mistake::new(name, None, source, self.refusal(name))),
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Whether a value is Kubernetes' or Docker's address of a service. With a service `redis`, each
/// container has `REDIS_PORT=tcp://10.0.0.1:6379`, which is not meant as a key.
fn is_link(value: &str) -> bool {
    value
        .trim()
        .split_once("://")
        .is_some_and(|(scheme, rest)| {
            let scheme_fits = matches!(scheme, "tcp" | "udp" | "sctp");
            let port = rest.rsplit_once(':').map(|(_, port)| port);
            scheme_fits && port.is_some_and(|port| port.parse::<u16>().is_ok())
        })
}

/// The error for an unknown name.
#[must_use]
pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(known) => format!("unknown key, did you mean {known}?"),
        None => "unknown key, --help lists those there are".to_owned(),
    }
}

/// The known name that a misspelt one probably means.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let close = known.map(|known| (distance(name, known), known)).min();
    close
        .filter(|(far, known)| *far <= known.len().div_ceil(3))
        .map(|(_, known)| known)
}

/// A TOML value as it would be written in the environment; `None` for what no key takes.
#[must_use]
pub fn flatten(value: &Value) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let joined = |parts: Option<Vec<String>>| {
        let parts = parts?
            .iter()
            .map(|part| parse::list_entry(part))
            .collect::<Vec<_>>();
        Some(parts.join(", "))
    };
    match value {
        Value::Array(items) => joined(items.iter().map(scalar).collect()),
        Value::Table(table) => {
            let pair = |(key, value)| Some(format!("{key}={}", scalar(value)?));
            joined(table.iter().map(pair).collect())
        }
        other => scalar(other),
    }
}

/// Levenshtein distance: how many letters have to be added, dropped or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
