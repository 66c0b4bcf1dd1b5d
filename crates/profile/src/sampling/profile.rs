//! `profile.proto` of <https://github.com/google/pprof>, and how it is put together.

use std::{
    collections::HashMap,
    ffi::c_void,
    io::Write as _,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

/// The name and the unit of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(pub(super) &'static str, pub(super) &'static str);

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "7")]
    drop_frames: i64,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

/// The program's file. All names are here already, so that nobody looks for them there.
#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// Puts a profile together.
#[derive(Debug)]
pub(super) struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<usize, u64>,
}

impl Builder {
    /// A profile of these values, one of which is sampled every `period`.
    pub(super) fn new(values: &[Unit], sampled: Unit, period: u64) -> Self {
        let mut builder = Self {
            profile: Profile::default(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        // The first string has to be empty.
        builder.string("");
        builder.profile.sample_type = values.iter().map(|unit| builder.unit(*unit)).collect();
        builder.profile.period_type = Some(builder.unit(sampled));
        builder.profile.period = i64::try_from(period).unwrap_or(i64::MAX);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        builder.profile.time_nanos = nanos(now.unwrap_or_default());
        let program = std::env::current_exe().unwrap_or_default();
        builder.profile.mapping = vec![Mapping {
            id: 1,
            filename: builder.string(&program.to_string_lossy()),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }];
        builder
    }

    /// How long it took.
    pub(super) fn took(&mut self, time: Duration) {
        self.profile.duration_nanos = nanos(time);
    }

    /// The value that is shown first.
    pub(super) fn shows(&mut self, value: &str) {
        self.profile.default_sample_type = self.string(value);
    }

    /// Leaves out functions whose whole name matches, and what they call.
    pub(super) fn hides(&mut self, names: &str) {
        self.profile.drop_frames = self.string(names);
    }

    pub(super) fn comment(&mut self, text: &str) {
        let text = self.string(text);
        self.profile.comment.push(text);
    }

    /// A stack of return addresses, the innermost first.
    pub(super) fn stack(&mut self, stack: &[usize], values: &[i64]) {
        let location_id = stack
            .iter()
            .map(|address| self.location(*address))
            .collect();
        let value = values.to_vec();
        self.profile.sample.push(Sample { location_id, value });
    }

    /// A line of the source instead of a stack.
    pub(super) fn place(&mut self, file: &str, line: u32, values: &[i64]) {
        let function = self.function(&format!("{file}:{line}"), "", file);
        let id = self.add(
            0,
            vec![Line {
                function_id: function,
                line: line.into(),
            }],
        );
        let value = values.to_vec();
        self.profile.sample.push(Sample {
            location_id: vec![id],
            value,
        });
    }

    /// The profile, gzipped.
    pub(super) fn encode(self) -> Option<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&self.profile.encode_to_vec()).ok()?;
        gzip.finish().ok()
    }

    /// The location of a return address: its function, and those that were inlined into it.
    fn location(&mut self, address: usize) -> u64 {
        if let Some(id) = self.locations.get(&address) {
            return *id;
        }
        let mut found = Vec::new();
        backtrace::resolve(address as *mut c_void, |symbol| {
            let file = symbol
                .filename()
                .map(|file| file.to_string_lossy().into_owned());
            let name = symbol.name();
            // Readers take a name for C++ and cut it, unless it differs from the symbol's.
            let mangled = name
                .as_ref()
                .and_then(|name| name.as_str())
                .map(str::to_owned);
            let name = name.map(|name| format!("{name:#}"));
            found.push((name, mangled, file, symbol.lineno().unwrap_or(0)));
        });
        if found.is_empty() {
            found.push((None, None, None, 0));
        }
        let unknown = format!("{address:#x}");
        let lines = found.into_iter().map(|(name, mangled, file, line)| {
            let name = name.unwrap_or_else(|| unknown.clone());
            let mangled = mangled.unwrap_or_default();
            Line {
                function_id: self.function(&name, &mangled, &file.unwrap_or_default()),
                line: line.into(),
            }
        });
        let lines: Vec<Line> = lines.collect();
        let id = self.add(address, lines);
        self.locations.insert(address, id);
        id
    }

    fn add(&mut self, address: usize, line: Vec<Line>) -> u64 {
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location {
            id,
            mapping_id: 1,
            address: address as u64,
            line,
        });
        id
    }

    fn function(&mut self, name: &str, mangled: &str, file: &str) -> u64 {
        let key = (name.to_owned(), file.to_owned());
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        let (name, filename) = (self.string(name), self.string(file));
        let system_name = self.string(mangled);
        self.profile.function.push(Function {
            id,
            name,
            system_name,
            filename,
        });
        self.functions.insert(key, id);
        id
    }

    fn unit(&mut self, unit: Unit) -> ValueType {
        ValueType {
            kind: self.string(unit.0),
            unit: self.string(unit.1),
        }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = i64::try_from(self.profile.string_table.len()).unwrap_or(0);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
