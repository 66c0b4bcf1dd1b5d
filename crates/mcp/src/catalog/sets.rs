//! Descriptors from files of the operator.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use bytes::Bytes;
use dynamic::FilePool;
use parking_lot::Mutex;
use prost::Message as _;
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The files of `mcp_descriptor_sets`, by name.
#[derive(Debug, Default)]
pub(super) struct DescriptorSets {
    files: HashMap<String, SetFile>,
}

/// The sets as the files say now. They are read again when one of them changes.
#[derive(Debug)]
pub(super) struct FollowedSets {
    paths: Vec<String>,
    sets: ArcSwap<DescriptorSets>,
    seen: Mutex<Vec<State>>,
}

/// What tells that a file has changed: when it was written, and its size. `None` while it is away.
type State = Option<(Option<SystemTime>, u64)>;

impl FollowedSets {
    /// As [`DescriptorSets::read`].
    ///
    /// # Errors
    /// As that.
    pub(super) fn read(paths: &[String]) -> anyhow::Result<Self> {
        let seen = states(paths);
        Ok(Self {
            paths: paths.to_vec(),
            sets: ArcSwap::from_pointee(DescriptorSets::read(paths)?),
            seen: Mutex::new(seen),
        })
    }

    /// The sets.
    pub(super) fn current(&self) -> Arc<DescriptorSets> {
        self.sets.load_full()
    }

    /// Waits until a file has changed and is read. Files that cannot be used change nothing. It never
    /// ends where there are none.
    pub(super) async fn changed(&self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            let now = states(&self.paths);
            if std::mem::replace(&mut *self.seen.lock(), now.clone()) == now {
                continue;
            }
            match DescriptorSets::read(&self.paths) {
                Ok(sets) => {
                    tracing::info!(files = sets.files.len(), "read mcp_descriptor_sets again");
                    self.sets.store(Arc::new(sets));
                    return;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "mcp_descriptor_sets stay as they were");
                }
            }
        }
    }
}

fn states(paths: &[String]) -> Vec<State> {
    let states = paths.iter().map(|path| {
        let state = std::fs::metadata(path).ok()?;
        Some((state.modified().ok(), state.len()))
    });
    states.collect()
}

#[derive(Debug)]
struct SetFile {
    bytes: Bytes,
    /// The file without its comments, to compare it with another.
    bare: Vec<u8>,
    /// Full names of its gRPC services.
    services: Vec<String>,
}

impl DescriptorSets {
    /// Reads the files at these paths. Of two files of one name the first counts.
    ///
    /// # Errors
    /// When one cannot be read, or is no `FileDescriptorSet`.
    pub(super) fn read(paths: &[String]) -> anyhow::Result<Self> {
        let mut sets = Self::default();
        for path in paths {
            let wanted = || format!("mcp_descriptor_sets: read {path}");
            let bytes = std::fs::read(Path::new(path)).with_context(wanted)?;
            let expected = || format!("mcp_descriptor_sets: {path} is no FileDescriptorSet");
            sets.add(&bytes).with_context(expected)?;
        }
        Ok(sets)
    }

    fn add(&mut self, set: &[u8]) -> Result<(), prost::DecodeError> {
        /// The set with its files left as bytes, so that options nobody here knows stay in them.
        #[derive(Clone, PartialEq, prost::Message)]
        struct Set {
            #[prost(bytes = "bytes", repeated, tag = "1")]
            files: Vec<Bytes>,
        }
        for bytes in Set::decode(set)?.files {
            let file = FileDescriptorProto::decode(bytes.clone())?;
            let full = |name: &str| match file.package() {
                "" => name.to_owned(),
                package => format!("{package}.{name}"),
            };
            let services = file.service.iter().map(|it| full(it.name())).collect();
            let name = file.name().to_owned();
            let bare = bare(file);
            let file = SetFile {
                bytes,
                bare,
                services,
            };
            self.files.entry(name).or_insert(file);
        }
        Ok(())
    }

    /// The files that an instance told, with the comments of the sets where a file is the same but for them.
    pub(super) fn with_comments(&self, told: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
        let files = told.map(|bytes| {
            if self.files.is_empty() {
                return bytes;
            }
            let Ok(file) = FileDescriptorProto::decode(bytes.clone()) else {
                return bytes;
            };
            match self.files.get(file.name()) {
                Some(known) if known.bare == bare(file) => known.bytes.clone(),
                _ => bytes,
            }
        });
        files.collect()
    }

    /// The files that describe a gRPC service, with all that they import; none when the sets lack it.
    pub(super) fn describing(&self, grpc_service: &str) -> Option<FilePool> {
        let mut services = self.files.values().flat_map(|file| &file.services);
        services.find(|name| *name == grpc_service)?;
        let files: Vec<Bytes> = self.files.values().map(|file| file.bytes.clone()).collect();
        Some(FilePool::new(&files))
    }
}

/// A file without its comments and what compilers write or leave out: JSON names as the field's name gives them.
fn bare(mut file: FileDescriptorProto) -> Vec<u8> {
    file.source_code_info = None;
    file.message_type.iter_mut().for_each(bare_message);
    file.extension.iter_mut().for_each(bare_field);
    file.encode_to_vec()
}

fn bare_message(message: &mut DescriptorProto) {
    message.field.iter_mut().for_each(bare_field);
    message.extension.iter_mut().for_each(bare_field);
    message.nested_type.iter_mut().for_each(bare_message);
}

fn bare_field(field: &mut FieldDescriptorProto) {
    if field.json_name() == json_name(field.name()) {
        field.json_name = None;
    }
}

/// `lowerCamelCase`, as compilers make it.
fn json_name(name: &str) -> String {
    let (mut json, mut upper) = (String::with_capacity(name.len()), false);
    for c in name.chars() {
        match (c, upper) {
            ('_', _) => upper = true,
            (c, true) => {
                json.push(c.to_ascii_uppercase());
                upper = false;
            }
            (c, false) => json.push(c),
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_added_to_a_file_that_is_else_the_same() {
        let mut sets = DescriptorSets::default();
        sets.add(proto::DESCRIPTORS).unwrap();
        let name = "agentplatform/agentplatform.proto";
        let commented = sets.files[name].bytes.clone();
        let mut told = FileDescriptorProto::decode(commented.clone()).unwrap();
        told.source_code_info = None;
        for message in &mut told.message_type {
            message.field.iter_mut().for_each(|it| it.json_name = None);
        }
        let with = |file: &FileDescriptorProto| {
            let bytes: Bytes = file.encode_to_vec().into();
            sets.with_comments([bytes].into_iter()).remove(0)
        };
        assert_eq!(with(&told), commented);
        told.message_type[0].field[0].number = Some(99);
        assert_ne!(with(&told), commented, "another version of the file");
    }

    #[test]
    fn sets_describe_their_services_and_no_others() {
        let mut sets = DescriptorSets::default();
        sets.add(proto::DESCRIPTORS).unwrap();
        let files = sets.describing("agentplatform.AgentService").unwrap();
        assert!(files.refused.is_empty());
        assert!(sets.describing("shop.Orders").is_none());
        assert!(sets.add(b"no set").is_err());
    }
}
