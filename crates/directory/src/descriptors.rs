//! Descriptors of the messages of one service: what gRPC reflection tells, indexed by file, symbol
//! and extension.

mod client;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

pub(crate) use client::{fetch, list};

/// A file comes with the files it imports while they are together at most this many bytes: well
/// under the 4 MiB that clients take.
const MAX_ANSWER_BYTES: usize = 2 << 20;

/// A set of `.proto` files, as encoded `google.protobuf.FileDescriptorProto`s.
#[derive(Debug, Default)]
pub struct Descriptors {
    files: BTreeMap<String, File>,
    /// Made with the first question about a name: most services are never asked one here, and the names
    /// are several times larger than the files.
    names: OnceLock<Names>,
}

/// Where each name is defined.
#[derive(Debug, Default)]
struct Names {
    /// Full name → the file that defines it.
    symbols: HashMap<String, Arc<str>>,
    /// Extended message → field number → the file that defines the extension.
    extensions: HashMap<String, BTreeMap<i32, Arc<str>>>,
}

#[derive(Debug)]
struct File {
    bytes: Bytes,
    imports: Vec<String>,
}

impl Descriptors {
    /// The files of encoded `google.protobuf.FileDescriptorSet`s.
    ///
    /// # Errors
    /// When one of them is not such a set.
    pub fn from_sets<'a>(
        sets: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, prost::DecodeError> {
        /// The set with its files left as bytes, so that options nobody here knows stay in them.
        #[derive(Clone, PartialEq, prost::Message)]
        struct Set {
            #[prost(bytes = "bytes", repeated, tag = "1")]
            files: Vec<Bytes>,
        }
        let mut descriptors = Self::default();
        for set in sets {
            for file in Set::decode(set)?.files {
                descriptors.add(file)?;
            }
        }
        Ok(descriptors)
    }

    /// Adds one encoded file; one of a name that is there already is left out.
    ///
    /// # Errors
    /// When it is no `google.protobuf.FileDescriptorProto`.
    pub fn add(&mut self, bytes: Bytes) -> Result<(), prost::DecodeError> {
        let file = FileDescriptorProto::decode(bytes.clone())?;
        let name = file.name().to_owned();
        if self.files.contains_key(&name) {
            return Ok(());
        }
        self.names.take();
        self.files.insert(
            name,
            File {
                bytes,
                imports: file.dependency,
            },
        );
        Ok(())
    }

    /// Every file, ordered by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files
            .iter()
            .map(|(name, file)| (name.as_str(), &file.bytes))
    }

    /// The file of this name, with the files it imports; `None` when it is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Vec<Bytes>> {
        let wanted = self.files.get(name)?;
        let mut seen = BTreeSet::from([name]);
        let mut answer = vec![wanted.bytes.clone()];
        let mut todo: Vec<&str> = wanted.imports.iter().map(String::as_str).collect();
        while let Some(next) = todo.pop() {
            if !seen.insert(next) {
                continue;
            }
            if let Some(file) = self.files.get(next) {
                answer.push(file.bytes.clone());
                todo.extend(file.imports.iter().map(String::as_str));
            }
        }
        if answer.iter().map(Bytes::len).sum::<usize>() > MAX_ANSWER_BYTES {
            answer.truncate(1);
        }
        Some(answer)
    }

    /// The file that defines a message, enum, service, method, field or extension by its full name,
    /// with the files it imports.
    #[must_use]
    pub fn file_containing(&self, symbol: &str) -> Option<Vec<Bytes>> {
        self.file(self.names().symbols.get(symbol)?)
    }

    /// The file that defines the extension of a message with this field number, with the files it
    /// imports.
    #[must_use]
    pub fn file_extending(&self, message: &str, number: i32) -> Option<Vec<Bytes>> {
        self.file(self.names().extensions.get(message)?.get(&number)?)
    }

    /// The field numbers of the extensions of a message, ascending; `None` when the message is not
    /// known.
    #[must_use]
    pub fn extension_numbers(&self, message: &str) -> Option<Vec<i32>> {
        let names = self.names();
        match names.extensions.get(message) {
            Some(numbers) => Some(numbers.keys().copied().collect()),
            None => names.symbols.contains_key(message).then(Vec::new),
        }
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| {
            let mut names = Names::default();
            for (name, file) in &self.files {
                // It was read before it was added.
                let Ok(read) = FileDescriptorProto::decode(file.bytes.clone()) else {
                    continue;
                };
                let (names, file) = (&mut names, name.as_str().into());
                Index { names, file }.enter(&read);
            }
            names
        })
    }
}

/// Enters the names that one file defines.
struct Index<'a> {
    names: &'a mut Names,
    file: Arc<str>,
}

impl Index<'_> {
    fn enter(&mut self, file: &FileDescriptorProto) {
        let package = file.package();
        for message in &file.message_type {
            self.message(package, message);
        }
        for kind in &file.enum_type {
            self.enumeration(package, kind);
        }
        for service in &file.service {
            let service_name = self.symbol(package, service.name());
            for method in &service.method {
                self.symbol(&service_name, method.name());
            }
        }
        for extension in &file.extension {
            self.extension(package, extension);
        }
    }

    fn symbol(&mut self, scope: &str, name: &str) -> String {
        let full = if scope.is_empty() {
            name.to_owned()
        } else {
            format!("{scope}.{name}")
        };
        let file = Arc::clone(&self.file);
        self.names.symbols.insert(full.clone(), file);
        full
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto) {
        let full = self.symbol(scope, message.name());
        for field in &message.field {
            self.symbol(&full, field.name());
        }
        for oneof in &message.oneof_decl {
            self.symbol(&full, oneof.name());
        }
        for nested in &message.nested_type {
            self.message(&full, nested);
        }
        for kind in &message.enum_type {
            self.enumeration(&full, kind);
        }
        for extension in &message.extension {
            self.extension(&full, extension);
        }
    }

    /// An enum's values are siblings of it, as in C++.
    fn enumeration(&mut self, scope: &str, kind: &EnumDescriptorProto) {
        self.symbol(scope, kind.name());
        for value in &kind.value {
            self.symbol(scope, value.name());
        }
    }

    fn extension(&mut self, scope: &str, field: &FieldDescriptorProto) {
        self.symbol(scope, field.name());
        let extended = field.extendee().trim_start_matches('.').to_owned();
        let numbers = self.names.extensions.entry(extended).or_default();
        numbers.insert(field.number(), Arc::clone(&self.file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, imports: &[&str], message: &str) -> FileDescriptorProto {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some("shop".to_owned()),
            dependency: imports.iter().map(|&import| import.to_owned()).collect(),
            message_type: vec![DescriptorProto {
                name: Some(message.to_owned()),
                field: vec![FieldDescriptorProto {
                    name: Some("id".to_owned()),
                    ..FieldDescriptorProto::default()
                }],
                ..DescriptorProto::default()
            }],
            extension: vec![FieldDescriptorProto {
                name: Some(format!("of_{message}")),
                extendee: Some(".shop.Base".to_owned()),
                number: Some(i32::try_from(message.len()).unwrap()),
                ..FieldDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        }
    }

    fn descriptors(files: &[FileDescriptorProto]) -> Descriptors {
        let mut descriptors = Descriptors::default();
        for file in files {
            descriptors.add(file.encode_to_vec().into()).unwrap();
        }
        descriptors
    }

    fn names(files: Option<Vec<Bytes>>) -> Vec<String> {
        let decode = |bytes: Bytes| {
            FileDescriptorProto::decode(bytes)
                .unwrap()
                .name()
                .to_owned()
        };
        files.unwrap().into_iter().map(decode).collect()
    }

    #[test]
    fn file_comes_with_everything_it_imports_once() {
        let it = descriptors(&[
            file("a.proto", &["b.proto", "c.proto"], "A"),
            file("b.proto", &["c.proto"], "Bb"),
            file("c.proto", &["a.proto"], "Ccc"),
        ]);
        let mut all = names(it.file("a.proto"));
        assert_eq!(all.remove(0), "a.proto");
        all.sort();
        assert_eq!(all, ["b.proto", "c.proto"]);
        assert_eq!(it.file("d.proto"), None);
    }

    #[test]
    fn symbols_of_every_kind_are_found() {
        let it = Descriptors::from_sets([proto::DESCRIPTORS]).unwrap();
        for symbol in [
            "agentplatform.AgentService",
            "agentplatform.AgentService.ExecuteTask",
            "agentplatform.TaskRequest",
            "agentplatform.TaskRequest.agent_id",
            "agentplatform.TaskRequest.ParametersEntry",
        ] {
            let files = names(it.file_containing(symbol));
            let expected = [
                "agentplatform/agentplatform.proto",
                "google/protobuf/wrappers.proto",
            ];
            assert_eq!(files, expected, "{symbol}");
        }
        assert_eq!(it.file_containing("agentplatform.Nobody"), None);
    }

    #[test]
    fn extensions_are_found_by_number() {
        let it = descriptors(&[
            file("a.proto", &[], "A"),
            file("b.proto", &["gone.proto"], "Bb"),
        ]);
        assert_eq!(it.extension_numbers("shop.Base"), Some(vec![1, 2]));
        assert_eq!(names(it.file_extending("shop.Base", 2)), ["b.proto"]);
        assert_eq!(it.extension_numbers("shop.A"), Some(vec![]));
        assert_eq!(it.extension_numbers("shop.Nobody"), None);
    }
}
