//! Pools of descriptors from encoded files.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, prost_types::FileDescriptorProto};

/// A pool of files, and which of them do not fit.
#[derive(Clone, Debug)]
pub struct FilePool {
    /// What could be read.
    pub pool: DescriptorPool,
    /// Name of a file that could not, and why.
    pub refused: Vec<(String, String)>,
}

impl FilePool {
    /// The pool of these encoded `google.protobuf.FileDescriptorProto`s, in any order. Files are read as bytes, so
    /// custom options and comments stay in them. Of two files of one name the first counts.
    ///
    /// Google's own files are added where they are imported and missing: all of them for an `Any`, which may hold
    /// any of their messages. Another imported file that is not there
    /// counts as empty: mostly it has only options. A file that does not fit is refused, and so is what needs its types.
    #[must_use]
    pub fn new(files: &[Bytes]) -> Self {
        Self::without(files, |_| false)
    }

    /// The same without the files whose gRPC services are all left out, by their full names: a pool is many
    /// times larger than its files. One that another file imports stays.
    #[must_use]
    pub fn without(files: &[Bytes], is_left_out: impl Fn(&str) -> bool) -> Self {
        let mut refused = Vec::new();
        let mut known: BTreeMap<String, Node> = BTreeMap::new();
        for bytes in files {
            match FileDescriptorProto::decode(bytes.clone()) {
                Ok(file) => {
                    let is_wanted = is_wanted(&file, &is_left_out);
                    let (name, imports) = (file.name().to_owned(), file.dependency);
                    let bytes = bytes.clone();
                    known.entry(name).or_insert(Node {
                        imports,
                        bytes,
                        is_wanted,
                    });
                }
                Err(error) => refused.push((String::new(), error.to_string())),
            }
        }
        leave_out(&mut known);
        add_own(&mut known);
        for name in absent(&known) {
            let empty = FileDescriptorProto {
                name: Some(name.clone()),
                ..FileDescriptorProto::default()
            };
            let (imports, bytes) = (Vec::new(), empty.encode_to_vec().into());
            known.insert(name, Node::needed(imports, bytes));
        }
        let mut pool = DescriptorPool::new();
        for name in imports_first(&known) {
            let added = pool.decode_file_descriptor_proto(known[name].bytes.clone());
            if let Err(error) = added {
                refused.push((name.to_owned(), error.to_string()));
            }
        }
        Self { pool, refused }
    }

    /// Whether it has a service, message, enum, extension or method of this full name.
    pub(crate) fn has(&self, symbol: &str) -> bool {
        let pool = &self.pool;
        let method = || {
            let (service, method) = symbol.rsplit_once('.')?;
            let service = pool.get_service_by_name(service)?;
            let mut methods = service.methods();
            methods.find(|it| it.name() == method).map(|_| ())
        };
        pool.get_service_by_name(symbol).is_some()
            || pool.get_message_by_name(symbol).is_some()
            || pool.get_enum_by_name(symbol).is_some()
            || pool.get_extension_by_name(symbol).is_some()
            || method().is_some()
    }

    /// Why a part of the files is missing, for messages; `None` when all could be read.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (name, error) = self.refused.first()?;
        let more = match self.refused.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        Some(format!("the file {name:?} cannot be used: {error}{more}"))
    }
}

/// The file of `google.protobuf.Any`.
const ANY: &str = "google/protobuf/any.proto";

/// One file.
struct Node {
    imports: Vec<String>,
    bytes: Bytes,
    /// Whether it is needed although no other file imports it.
    is_wanted: bool,
}

impl Node {
    const fn needed(imports: Vec<String>, bytes: Bytes) -> Self {
        Self {
            imports,
            bytes,
            is_wanted: true,
        }
    }
}

/// Whether a file has more than services that are left out. One without services has messages.
fn is_wanted(file: &FileDescriptorProto, is_left_out: impl Fn(&str) -> bool) -> bool {
    let package = file.package();
    let full = |name: &str| match package {
        "" => name.to_owned(),
        package => format!("{package}.{name}"),
    };
    let mut services = file.service.iter();
    file.service.is_empty() || services.any(|it| !is_left_out(&full(it.name())))
}

/// Removes the files that are neither wanted nor imported by one that stays.
fn leave_out(files: &mut BTreeMap<String, Node>) {
    if files.values().all(|node| node.is_wanted) {
        return;
    }
    let wanted = files.iter().filter(|(_, node)| node.is_wanted);
    let mut open: Vec<&str> = wanted.map(|(name, _)| name.as_str()).collect();
    let mut needed: BTreeSet<String> = open.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = open.pop() {
        for import in files.get(name).iter().flat_map(|node| &node.imports) {
            if needed.insert(import.clone()) {
                open.push(import);
            }
        }
    }
    files.retain(|name, _| needed.contains(name));
}

/// Adds what Google's own files are needed.
fn add_own(files: &mut BTreeMap<String, Node>) {
    let global = DescriptorPool::global();
    loop {
        let missing = absent(files);
        let all = missing.contains(ANY) || files.contains_key(ANY);
        let mut added = false;
        for own in global.files() {
            if files.contains_key(own.name()) || !(all || missing.contains(own.name())) {
                continue;
            }
            let imports = own.file_descriptor_proto().dependency.clone();
            let bytes = own.encode_to_vec().into();
            files.insert(own.name().to_owned(), Node::needed(imports, bytes));
            added = true;
        }
        if !added {
            return;
        }
    }
}

fn absent(files: &BTreeMap<String, Node>) -> BTreeSet<String> {
    let imports = files.values().flat_map(|node| &node.imports);
    let absent = imports.filter(|name| !files.contains_key(*name));
    absent.cloned().collect()
}

/// The names of the files, each after those that it imports. Files that import each other are in any order.
fn imports_first(files: &BTreeMap<String, Node>) -> Vec<&str> {
    let mut order = Vec::with_capacity(files.len());
    let mut seen = BTreeSet::new();
    for (name, node) in files {
        if !seen.insert(name.as_str()) {
            continue;
        }
        // A stack of its own: a chain of imports may be as long as there are files.
        let mut open = vec![(name.as_str(), node.imports.iter())];
        while let Some((name, imports)) = open.last_mut() {
            let Some(next) = imports.next() else {
                order.push(*name);
                open.pop();
                continue;
            };
            if seen.insert(next)
                && let Some((next, node)) = files.get_key_value(next)
            {
                open.push((next.as_str(), node.imports.iter()));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto,
        field_descriptor_proto::{Label, Type},
    };

    use super::*;

    /// A file with a message named after it, which has a field of the type `uses`.
    fn file(name: &str, imports: &[&str], uses: Option<&str>) -> FileDescriptorProto {
        let field = |of: &str| FieldDescriptorProto {
            name: Some("field".to_owned()),
            number: Some(1),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::Message.into()),
            type_name: Some(of.to_owned()),
            ..FieldDescriptorProto::default()
        };
        FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(name.trim_end_matches(".proto").to_owned()),
            dependency: imports.iter().map(|&import| import.to_owned()).collect(),
            message_type: vec![DescriptorProto {
                name: Some("It".to_owned()),
                field: uses.map(field).into_iter().collect(),
                ..DescriptorProto::default()
            }],
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        }
    }

    fn pool(files: &[FileDescriptorProto]) -> FilePool {
        let files: Vec<Bytes> = files.iter().map(|it| it.encode_to_vec().into()).collect();
        FilePool::new(&files)
    }

    #[test]
    fn files_may_come_in_any_order() {
        let it = pool(&[
            file(
                "a.proto",
                &["b.proto", "google/protobuf/any.proto"],
                Some(".b.It"),
            ),
            file("b.proto", &["c.proto"], Some(".c.It")),
            file("c.proto", &[], None),
        ]);
        assert!(it.refused.is_empty(), "{it:?}");
        assert!(it.problem().is_none());
        for name in ["a.It", "b.It", "c.It", "google.protobuf.Any"] {
            assert!(it.pool.get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn only_what_is_imported_is_in_the_pool() {
        let it = pool(&[file("a.proto", &["google/protobuf/empty.proto"], None)]);
        assert_eq!(it.pool.files().len(), 2);
        // An `Any` may hold a message that nothing names.
        let it = pool(&[file("a.proto", &["google/protobuf/any.proto"], None)]);
        let held = it.pool.get_message_by_name("google.protobuf.Duration");
        assert!(held.is_some());
    }

    #[test]
    fn files_of_services_that_are_left_out_stay_where_they_are_imported() {
        let serving = |name: &str, imports: &[&str]| FileDescriptorProto {
            service: vec![prost_reflect::prost_types::ServiceDescriptorProto {
                name: Some("Server".to_owned()),
                ..Default::default()
            }],
            ..file(name, imports, None)
        };
        let files = [
            serving("shop.proto", &["health.proto", "common.proto"]),
            serving("health.proto", &["status.proto"]),
            serving("reflection.proto", &[]),
            file("status.proto", &[], None),
            file("common.proto", &[], None),
        ];
        let files: Vec<Bytes> = files.iter().map(|it| it.encode_to_vec().into()).collect();
        let names = |pool: &FilePool| -> Vec<String> {
            pool.pool.files().map(|it| it.name().to_owned()).collect()
        };
        let own = ["health.Server", "reflection.Server"];
        let some = FilePool::without(&files, |name| own.contains(&name));
        assert!(some.refused.is_empty(), "{some:?}");
        assert!(!names(&some).contains(&"reflection.proto".to_owned()));
        assert_eq!(names(&some).len(), 4);
        assert_eq!(names(&FilePool::new(&files)).len(), 5);
        let none = FilePool::without(&files, |name| name != "shop.Server");
        assert_eq!(names(&none).len(), 4, "what is imported stays");
    }

    #[test]
    fn an_import_that_is_nowhere_is_missed_only_for_its_types() {
        let it = pool(&[
            file("a.proto", &["gone.proto"], None),
            file("b.proto", &["gone.proto"], Some(".gone.It")),
        ]);
        assert!(it.pool.get_message_by_name("a.It").is_some());
        assert!(it.pool.get_message_by_name("b.It").is_none());
        assert_eq!(it.refused[0].0, "b.proto");
        let problem = it.problem().unwrap();
        assert!(
            problem.contains("b.proto") && problem.contains("gone.It"),
            "{problem}"
        );
    }

    #[test]
    fn files_that_import_each_other_are_refused_and_the_others_are_not() {
        let it = pool(&[
            file("a.proto", &["b.proto"], Some(".b.It")),
            file("b.proto", &["a.proto"], Some(".a.It")),
            file("c.proto", &["c.proto"], None),
            file("d.proto", &[], None),
        ]);
        assert!(it.pool.get_message_by_name("d.It").is_some());
        assert!(it.pool.get_message_by_name("a.It").is_none());
        assert!(!it.refused.is_empty());
    }

    #[test]
    fn a_chain_of_a_thousand_imports_is_read() {
        let files: Vec<_> = (0..1000)
            .map(|at| {
                let next = format!("f{}.proto", at + 1);
                file(&format!("f{at}.proto"), &[&next], None)
            })
            .collect();
        let it = pool(&files);
        assert!(it.pool.get_message_by_name("f0.It").is_some());
        assert!(it.pool.get_message_by_name("f999.It").is_some());
    }

    /// `(validate.rules) = {…}` of a field, as bytes that no type here knows.
    #[test]
    fn options_that_nobody_knows_stay() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct File {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(message, optional, tag = "8")]
            options: Option<Options>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Options {
            #[prost(string, tag = "50001")]
            custom: String,
        }
        let file = File {
            name: "a.proto".to_owned(),
            options: Some(Options {
                custom: "kept".to_owned(),
            }),
        };
        let it = FilePool::new(&[file.encode_to_vec().into()]);
        let kept = it.pool.get_file_by_name("a.proto").unwrap().encode_to_vec();
        assert_eq!(File::decode(kept.as_slice()).unwrap(), file);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let it = FilePool::new(&[Bytes::from_static(b"\xff\xff")]);
        assert_eq!(it.refused.len(), 1);
    }
}
