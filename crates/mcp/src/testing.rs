//! The proto with every kind of field, for tests.

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

/// Its descriptors, with comments.
pub(crate) fn pool() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protos");
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("kinds.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

pub(crate) fn message(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(name).unwrap()
}

pub(crate) fn method(name: &str) -> MethodDescriptor {
    let service = pool().get_service_by_name("kinds.Kinds").unwrap();
    service
        .methods()
        .find(|method| method.name() == name)
        .unwrap()
}
